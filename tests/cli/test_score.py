"""``ctckit score``: files against files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctckit.data import open_corpus

SCLITE = Path(__file__).parents[1] / "transcripts" / "sclite"
"""What sclite 2.10 (SCTK 1.3) counts: `sclite -s -r ref.trn trn -h hyp.trn trn -i spu_id -o pra`."""


def scored(cli: Any, *arguments: Any) -> dict[str, Any]:
    done = cli("score", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_counts_are_sclites(cli: Any) -> None:
    counts = [json.loads(line) for line in (SCLITE / "counts.jsonl").read_text().splitlines()]
    found = scored(cli, SCLITE / "ref.trn", SCLITE / "hyp.trn", "--sclite", "--details", 1000)
    assert {name: found["words"][name] for name in ("substitutions", "deletions", "insertions")} == {
        name: sum(one[name] for one in counts) for name in ("substitutions", "deletions", "insertions")
    }
    worst = {one["clip"]: one for one in found["worst"]}
    assert len(counts) == found["clips"]
    for one in counts:
        clip = worst.get(one["clip"], dict.fromkeys(one, 0))
        assert all(clip[name] == one[name] for name in ("substitutions", "deletions", "insertions")), one
    least = scored(cli, SCLITE / "ref.trn", SCLITE / "hyp.trn")["words"]
    assert sum(least[name] for name in ("substitutions", "deletions", "insertions")) <= sum(
        found["words"][name] for name in ("substitutions", "deletions", "insertions")
    )


def test_words_go_to_segments_by_their_times_as_in_sclite(cli: Any, tmp_path: Path) -> None:
    hard = SCLITE / "hard"
    rows = [re.findall(r"\w+", line) for line in (hard / "stm_ctm.rsum").read_text().splitlines()]
    table = {row[0]: list(map(int, row[1:])) for row in rows if len(row) == 9 and row[1].isdigit()}
    found = scored(cli, hard / "ref.stm", hard / "hyp.ctm", "--sclite")
    clips, words, _, *errors, _, _ = table.pop("Sum")
    assert (found["clips"], found["words"]["of"]) == (clips, words)
    names = ("substitutions", "deletions", "insertions")
    assert [found["words"][name] for name in names] == errors
    speakers = {who: [one["of"], *(one[name] for name in names)] for who, one in found["speakers"].items()}
    assert speakers == {who: [row[1], *row[3:6]] for who, row in table.items()}
    (tmp_path / "text").write_text("ada_rec wind\n")
    done = cli("score", hard / "ref.stm", tmp_path / "text")
    assert done.returncode == 3
    assert "'ada_rec' has a stretch that is not to be scored" in done.stderr


def test_missing_and_extra_clips_are_named(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "ref.stm").write_text("c1 1 anna 0 1 a b\nc2 1 ben 0 1 c\nc3 1 ben 0 1\n")
    (tmp_path / "hyp.txt").write_text("c1 a x\nc3 y\nc9 z\n")
    found = scored(cli, tmp_path / "ref.stm", tmp_path / "hyp.txt")
    assert (found["missing"], found["extra"]) == (["c2"], ["c9"])
    assert (found["reference"]["format"], found["hypothesis"]["format"]) == ("stm", "text")
    assert found["words"] == {"rate": 100.0, "substitutions": 1, "deletions": 1, "insertions": 1, "of": 3}
    assert set(found["speakers"]) == {"anna", "ben"}
    assert found["substituted"] == [["b", "x", 1]]
    said = cli("score", tmp_path / "ref.stm", tmp_path / "hyp.txt").stdout
    for text in (
        "'c2'",
        "'c9'",
        "read as stm by its name",
        "'b' as 'x' 1",
        "worst              c3",
        "speaker",
        "3 words",
    ):
        assert text in said
    bare = cli("score", tmp_path / "ref.stm", tmp_path / "hyp.txt", "--details", 0).stdout
    assert "worst" not in bare
    assert "speaker" not in bare


def test_nothing_in_common_is_an_error(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("c1 a\n")
    (tmp_path / "hyp.txt").write_text("C1 a\n")
    done = cli("score", tmp_path / "ref.txt", tmp_path / "hyp.txt")
    assert done.returncode == 3
    assert "it has 'C1', wanted is 'c1'" in done.stderr


def test_characters(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("c1 ab cd\n")
    tokens = [{"token": token} for token in "ab cx"]
    (tmp_path / "hyp.jsonl").write_text(json.dumps({"clip": "c1", "tokens": tokens}) + "\n")
    found = scored(cli, tmp_path / "ref.txt", tmp_path / "hyp.jsonl", "--unit", "character")
    assert (found["characters"]["rate"], found["words"]["rate"]) == (20.0, 50.0)
    assert found["substituted"] == [["d", "x", 1]]
    done = cli("score", tmp_path / "ref.txt", tmp_path / "hyp.jsonl")
    assert done.returncode == 3
    assert "give --unit character" in done.stderr


@pytest.fixture(scope="module")
def evaluated(cli: Any, recogniser: Path, tiny: Any) -> tuple[dict[str, Any], str]:
    """What evaluation says of the test corpus, and its transcripts as Kaldi's text."""
    scores = json.loads(cli("evaluate", recogniser, "--data", tiny.test, "--json").stdout)
    decoded = [json.loads(line) for line in cli("decode", recogniser, "--data", tiny.test).stdout.splitlines()]
    return scores, "".join(f"{one['clip']} {' '.join(one['reference'])}\n" for one in decoded)


@pytest.mark.parametrize("kind", ["ctm", "stm", "trn", "text", "jsonl"])
def test_what_decode_writes_scores_as_evaluate_does(
    cli: Any, recogniser: Path, tiny: Any, evaluated: Any, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "decoded"
    done = cli("decode", recogniser, "--data", tiny.test, "--format", kind, "--frame-rate", 25, "--out", out)
    assert done.returncode == 0, done.stderr
    scores, text = evaluated
    (tmp_path / "text").write_text(text)
    found = scored(cli, tmp_path / "text", out, "--hyp-format", kind)
    for name in ("words", "characters", "substituted", "deleted", "inserted", "worst"):
        assert found[name] == scores[name]
    assert (found["missing"], found["extra"]) == ([], [])


def test_a_format_without_what_it_needs_is_refused_before_decoding(cli: Any, recogniser: Path, tiny: Any) -> None:
    for kind in ("ctm", "stm", "textgrid"):
        done = cli("decode", recogniser, "--data", tiny.test, "--format", kind)
        assert done.returncode == 2
        assert "give --frame-rate" in done.stderr
    done = cli("decode", recogniser, "--data", tiny.test, "--format", "textgrid", "--frame-rate", 25)
    assert done.returncode == 2
    assert "name a folder with --out" in done.stderr


def test_a_textgrid_is_a_file_a_clip_and_ids_that_are_no_names_are_refused(
    cli: Any, recogniser: Path, tiny: Any, tmp_path: Path
) -> None:
    corpus = open_corpus(tiny.test)
    np.savez(tmp_path / "clips.npz", **{"../up": corpus.features(0), "day/one": corpus.features(1)})
    options = ["--features", tmp_path / "clips.npz", "--frame-rate", 25]
    done = cli("decode", recogniser, *options, "--format", "textgrid", "--out", tmp_path / "grids")
    assert done.returncode == 3
    assert "clip '../up' cannot be written as textgrid" in done.stderr
    assert [path.name for path in (tmp_path / "grids").rglob("*.TextGrid")] == ["one.TextGrid"]
    assert not (tmp_path / "up.TextGrid").exists()
    spaced = cli("decode", recogniser, *options, "--format", "text")
    assert spaced.returncode == 0


def test_evaluate_shows_what_errors_are_made_of(cli: Any, recogniser: Path, tiny: Any, evaluated: Any) -> None:
    scores, _ = evaluated
    assert scores["words"]["rate"] == scores["wer"]
    assert scores["unit"] == "word"
    assert scores["characters"]["of"] > scores["words"]["of"]
    said = cli("evaluate", recogniser, "--data", tiny.test).stdout
    assert f"word errors        {scores['wer']:.2f} %" in said
    assert "words, the tokens)" in said
    assert f"character errors   {scores['characters']['rate']:.2f} %" in said
    assert f"worst              {scores['worst'][0]['clip']}" in said
    assert "worst" not in cli("evaluate", recogniser, "--data", tiny.test, "--details", 0).stdout
