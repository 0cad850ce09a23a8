"""Beam search and language models, from the command line and from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import ctckit
from ctckit.data import open_corpus
from ctckit.lm import LanguageModel


@pytest.fixture(scope="module")
def lm(cli: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    done = cli("lm", "train", tiny.train, "--order", 2, "--dev", tiny.dev, "--out", path)
    assert done.returncode == 0, done.stderr
    assert "order 2 from 48 sentences" in done.stdout
    assert "perplexity" in done.stdout
    return Path(path)


@pytest.fixture
def run(recogniser: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recogniser, tmp_path / "run"))


def scores(cli: Any, run: Path, data: Path, *options: object) -> dict[str, Any]:
    done = cli("evaluate", run, "--data", data, "--json", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_decode_gives_the_n_best_with_their_scores(cli: Any, recogniser: Path, tiny: Any, lm: Path) -> None:
    done = cli("decode", recogniser, "--data", tiny.test, "--lm", lm, "--beam", 8, "--best", 4, "--lm-weight", 0.3)
    assert done.returncode == 0, done.stderr
    several = 0
    for line in map(json.loads, done.stdout.splitlines()):
        found = line["alternatives"]
        several += len(found) > 1
        assert [token["token"] for token in line["tokens"]] == found[0]["tokens"]
        totals = [one["total"] for one in found]
        assert totals == sorted(totals, reverse=True)
        for one in found:
            assert one["total"] == pytest.approx(one["acoustic"] + 0.3 * one["language"], abs=1e-3)
        starts = [token["start"] for token in line["tokens"]]
        assert starts == sorted(starts)
    assert several


def test_evaluate_counts_what_decode_gives(cli: Any, recogniser: Path, tiny: Any, lm: Path) -> None:
    options = ("--lm", lm, "--beam", 8, "--best", 6, "--lm-weight", 0.3, "--insertion-bonus", 0.5)
    lines = cli("decode", recogniser, "--data", tiny.test, *options).stdout.splitlines()
    errors = sum(
        sum(json.loads(line)[kind] for kind in ("substitutions", "deletions", "insertions")) for line in lines
    )
    found = scores(cli, recogniser, tiny.test, *options)
    assert errors == round(found["wer"] * found["reference_tokens"] / 100)
    assert found["oracle_errors"] <= errors
    assert "oracle_errors" not in scores(cli, recogniser, tiny.test)
    text = cli("evaluate", recogniser, "--data", tiny.test, *options).stdout
    assert "the best of up to 6 hypotheses a clip" in text


def test_a_sweep_is_stored_and_taken(cli: Any, run: Path, tiny: Any, lm: Path) -> None:
    done = cli("sweep", run, "--dev", tiny.dev, "--lm", lm, "--beam", 8, "--range", 0, 0, "--store", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    best = found["best"]
    assert best["language"] == LanguageModel.read(lm).fingerprint
    assert min(row["wer"] for row in found["weights"]) <= found["greedy_wer"]
    tuned = ctckit.load(run, "cpu").trained.tuned
    assert tuned is not None
    assert (tuned.width, tuned.weight, tuned.bonus) == (8, best["weight"], best["bonus"])
    assert scores(cli, run, tiny.dev, "--lm", lm)["wer"] == pytest.approx(found["wer"])
    refused = cli("sweep", run, "--dev", tiny.dev, "--lm", lm, "--lm-weight", 0.5)
    assert refused.returncode == 2
    assert "--lm-weight is what the sweep finds" in refused.stderr


def test_from_python(recogniser: Path, tiny: Any, lm: Path) -> None:
    loaded = ctckit.load(recogniser, "cpu")
    corpus = open_corpus(tiny.test)
    clips = [corpus.features(number) for number in range(4)]
    model = LanguageModel.read(lm)
    found = loaded(clips, beam=8, lm=model, lm_weight=0.3, best=3)
    assert [one.tokens for one in found] == [one.alternatives[0].tokens for one in found]
    again = loaded(clips, beam=8, lm=str(lm), lm_weight=0.3, best=3)
    assert found == again
    assert loaded(clips)[0].alternatives == ()
    label = loaded.tokens[1]
    favoured = loaded(clips, beam=8, hotwords={label: 50.0})
    assert all(label in one.tokens for one in favoured)
    assert all(one.log_probability is not None for one in found)


def test_hotwords_from_the_command_line(cli: Any, recogniser: Path, tiny: Any) -> None:
    label = ctckit.load(recogniser, "cpu").tokens[1]
    done = cli("decode", recogniser, "--data", tiny.test, "--hotword", f"{label}=50")
    assert done.returncode == 0, done.stderr
    for line in map(json.loads, done.stdout.splitlines()):
        assert label in [token["token"] for token in line["tokens"]]
    refused = cli("decode", recogniser, "--data", tiny.test, "--hotword", "nowhere")
    assert refused.returncode == 2
    assert "hotword 'nowhere' holds 'nowhere', which the alphabet lacks" in refused.stderr


def test_lm_score_and_texts(cli: Any, tiny: Any, lm: Path, tmp_path: Path) -> None:
    text = tmp_path / "said.txt"
    corpus = open_corpus(tiny.dev)
    text.write_text("".join(" ".join(corpus.transcript(n)) + "\n\n" for n in range(len(corpus))))
    by_text, by_corpus = (cli("lm", "score", lm, source).stdout for source in (text, tiny.dev))
    assert by_text.partition(": ")[2] == by_corpus.partition(": ")[2]
    assert cli("lm", "train", text, "--out", "-", "--unit", "character").stdout.startswith("\\data\\")
    for bad, said in ((tmp_path / "none", "no such file"), (tmp_path, "")):
        done = cli("lm", "train", bad, "--out", tmp_path / "out.arpa")
        assert done.returncode == 3, done.stderr
        assert said in done.stderr
        assert not (tmp_path / "out.arpa").exists()
    marked = tmp_path / "marked.txt"
    marked.write_text("a <s> b\n")
    done = cli("lm", "train", marked, "--out", tmp_path / "out.arpa")
    assert "token '<s>' cannot stand in an ARPA file" in done.stderr
