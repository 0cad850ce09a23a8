"""Every check of the audit has a planted case that fires it and a healthy corpus that does not."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import ctckit
from ctckit.audit.features import survey
from ctckit.audit.initial_loss import check_initial_loss
from ctckit.audit.model import check_learning_rates, check_model
from ctckit.cli import main
from ctckit.data import Alphabet, CorpusWriter, FeaturePipeline, open_corpus
from ctckit.plateau import uniform_loss

Clip = tuple[Any, str]
Corpus = dict[str, Clip]

WORDS = ("ant", "bee", "cat", "dog", "eel")
SMALL = ("--set", "model.hidden_size=8")


def features(seed: int, frames: int = 40, width: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def healthy(count: int = 40, seed: int = 0) -> Corpus:
    random = np.random.default_rng(seed)
    return {
        f"{seed}-clip{n:02d}": (features(1000 * seed + n + 100), " ".join(random.permutation(WORDS)[:4]))
        for n in range(count)
    }


def write(path: Path, clips: Corpus) -> Path:
    with h5py.File(path, "w") as file:
        for name, (array, transcript) in clips.items():
            group = file.create_group(name)
            group["features"] = array
            group.attrs["transcript"] = transcript
    return path


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["audit", *map(str, arguments), *SMALL])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def audit(tmp_path: Path, train: Corpus, *options: str, dev: Corpus | None = None) -> dict[str, dict[str, Any]]:
    """Findings by rule; of several with one rule, the gravest."""
    arguments: list[object] = [write(tmp_path / "train.h5", train), *options]
    if dev is not None:
        arguments += ["--dev", write(tmp_path / "dev.h5", dev)]
    result = call(*arguments, "--json")
    outcome = json.loads(result.stdout)
    assert result.exit_code == {"clean": 0, "warnings": 10, "errors": 11}[outcome["verdict"]]
    assert all(
        set(one) == {"rule", "severity", "message", "evidence", "advice", "source"} for one in outcome["findings"]
    )
    return {one["rule"]: one for one in reversed(outcome["findings"])}


def test_a_healthy_corpus_is_clean(tmp_path: Path) -> None:
    found = audit(tmp_path, healthy(), dev=healthy(10, seed=1))
    assert set(found) == {"label_tail", "frames_per_label", "unigram_plateau", "initial_loss", "untrained_loss"}
    assert {one["severity"] for one in found.values()} == {"info"}
    assert found["frames_per_label"]["evidence"]["blank_reference"] == pytest.approx(90.0)
    assert found["frames_per_label"]["evidence"]["q50"] == pytest.approx(10.0)


def edited(**changes: Clip) -> Corpus:
    return {**healthy(), **changes}


BUSY = " ".join(WORDS * 9)

PLANTED: list[tuple[str, str, Corpus, tuple[str, ...], Corpus | None]] = [
    ("infeasible_clips", "error", edited(short=(features(7), BUSY)), (), None),
    ("infeasible_clips", "warning", edited(short=(features(7), BUSY)), ("--set", "data.infeasible=drop"), None),
    ("infeasible_clips", "warning", healthy(), (), {"short": (features(7), BUSY)}),
    (
        "frames_per_label",
        "warning",
        {k: (features(n, 6), t) for n, (k, (_, t)) in enumerate(healthy().items())},
        (),
        None,
    ),
    ("label_tail", "warning", edited(rare=(features(7), " ".join(map(str, range(8))))), (), None),
    ("blank_like_label", "warning", edited(odd=(features(7), "ant <pad>")), (), None),
    ("padding_in_transcripts", "warning", {k: (x, t + " eel eel") for k, (x, t) in healthy().items()}, (), None),
    ("transcripts_alike", "error", {k: (x, "ant bee") for k, (x, _) in healthy().items()}, (), None),
    ("case_in_train", "warning", edited(odd=(features(7), "Ant bee")), (), None),
    ("case_mismatch", "error", healthy(), (), {"odd": (features(7), "ANT bee")}),
    ("unseen_labels", "error", healthy(), (), {"odd": (features(7), "ant fox")}),
    ("shared_ids", "warning", healthy(), (), {"0-clip01": (features(7), "ant")}),
    ("duplicates_across_splits", "error", healthy(), (), {"leak": healthy()["0-clip01"]}),
    ("duplicate_clips", "warning", edited(again=healthy()["0-clip01"]), (), None),
    ("contradicting_duplicates", "error", edited(again=(healthy()["0-clip01"][0], "eel")), (), None),
    ("features_refused", "error", edited(bad=(np.full((40, 3), np.nan, np.float32), "ant")), (), None),
    (
        "features_constant",
        "error",
        {k: (np.zeros((40, 3), np.int64), t) for k, (_, t) in healthy().items()},
        (),
        None,
    ),
    (
        "columns_constant",
        "warning",
        {k: (x * np.float32([1, 0, 0]), t) for k, (x, t) in healthy().items()},
        (),
        None,
    ),
    ("clips_constant", "warning", edited(still=(np.ones((40, 3), np.float32), "ant")), (), None),
    (
        "features_integer",
        "warning",
        {k: ((20 * x).astype(np.int16), t) for k, (x, t) in healthy().items()},
        ("--set", "data.normalize=none"),
        None,
    ),
    (
        "features_unscaled",
        "warning",
        {k: (50 * x, t) for k, (x, t) in healthy().items()},
        ("--set", "data.normalize=none"),
        None,
    ),
    ("features_saturated", "warning", edited(big=(np.full((9, 3), 6.5e4), "ant")), (), None),
    ("features_differ", "warning", healthy(), (), {k: (x / 255, t) for k, (x, t) in healthy(10, 1).items()}),
    ("feature_width", "error", healthy(), (), {"wide": (features(7, width=4), "ant")}),
    ("clips_refused", "error", edited(empty=(np.zeros((0, 3), np.float32), "ant")), (), None),
    ("clips_refused", "error", edited(mute=(features(7), " ")), (), None),
    ("clips_refused", "error", edited(blank=(features(7), "ant <blank>")), (), None),
    ("clips_refused", "error", {"mute": (features(7), " ")}, (), None),
    ("learning_rate_high", "warning", healthy(), ("--set", "phases.exploration.schedule.lr=0.1"), None),
]


@pytest.mark.parametrize(
    ("rule", "severity", "train", "options", "dev"), PLANTED, ids=[f"{p[0]}-{n}" for n, p in enumerate(PLANTED)]
)
def test_each_planted_fault_fires_its_check(
    tmp_path: Path, rule: str, severity: str, train: Corpus, options: tuple[str, ...], dev: Corpus | None
) -> None:
    if rule == "features_saturated":
        train = {name: (np.asarray(array, np.float16), text) for name, (array, text) in train.items()}
    found = audit(tmp_path, train, *options, dev=dev)
    assert rule in found
    assert found[rule]["severity"] == severity
    assert "\n" not in found[rule]["message"]
    assert found[rule]["advice"]
    assert found[rule]["source"].startswith("docs/founding-document.md ")


HARMLESS: list[tuple[str, Corpus, tuple[str, ...]]] = [
    ("infeasible_clips", edited(tight=(features(7, 10), "ant bee ant bee ant bee ant bee ant bee")), ()),
    ("padding_in_transcripts", edited(once=(features(7), "ant eel eel")), ()),
    ("features_unscaled", {k: (50 * x, t) for k, (x, t) in healthy().items()}, ()),
    ("columns_constant", {k: (np.float32([1, 1, 2]) * x, t) for k, (x, t) in healthy().items()}, ()),
]


@pytest.mark.parametrize(("rule", "train", "options"), HARMLESS, ids=[case[0] for case in HARMLESS])
def test_what_comes_near_a_fault_does_not_fire(
    tmp_path: Path, rule: str, train: Corpus, options: tuple[str, ...]
) -> None:
    assert rule not in audit(tmp_path, train, *options)


def test_clips_that_cannot_be_used_hide_no_other_fault(tmp_path: Path) -> None:
    train = edited(
        mute=(features(7), " "),
        empty=(np.zeros((0, 3), np.float32), "ant"),
        wide=(features(8, width=4), "ant"),
        still=(np.ones((40, 3), np.float32), "ant"),
        twin=healthy()["0-clip00"],
    )
    found = audit(tmp_path, train, dev={"mute": (features(9), ""), **healthy(10, 1)})
    assert {"clips_refused", "clips_constant", "frames_per_label"} < set(found)
    assert found["clips_refused"]["evidence"] == {"corpus": "train", "clips": 3}
    for clip, what in (("mute", "empty transcript"), ("empty", "features are empty"), ("wide", "4 wide")):
        assert f"{clip!r}: " in found["clips_refused"]["message"], clip
        assert what in found["clips_refused"]["message"]


def test_feasibility_follows_the_models_own_subsampling(tmp_path: Path) -> None:
    train = edited(tight=(features(7, 16), "ant ant bee bee"))
    assert "infeasible_clips" not in audit(tmp_path, train)
    found = audit(tmp_path, train, "--set", "model.subsampling=4")["infeasible_clips"]
    assert found["evidence"]["clips"] == 1
    assert found["evidence"]["ids"] == "tight"
    assert found["evidence"]["loss_share"] == pytest.approx(100 * 4 / 164)


def test_the_blank_id_in_a_corpus_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "packed.h5"
    with CorpusWriter(path, 3, dtype="float32") as writer:
        for name, (array, text) in healthy().items():
            writer.add(name, array, text.split())
    assert call(path).exit_code == 0
    for bad in (0, 77):
        with h5py.File(path, "r+") as file:
            file["targets"][5] = bad
        result = call(path, "--json")
        assert result.exit_code == 11
        (finding,) = json.loads(result.stdout)["findings"]
        assert finding["rule"] == "corpus_refused"
        assert f"target {bad} is" in finding["message"]


@pytest.mark.parametrize(("extra", "severity"), [(0, None), (5, "info"), (6, "warning")])
def test_classes_that_train_never_uses_are_found(tmp_path: Path, extra: int, severity: str | None) -> None:
    alphabet = Alphabet([*WORDS, *(f"never{n}" for n in range(extra))])
    path = tmp_path / "packed.h5"
    with CorpusWriter(path, 3, dtype="float32", alphabet=alphabet) as writer:
        for name, (array, text) in healthy().items():
            writer.add(name, array, text.split())
    found = {one["rule"]: one for one in json.loads(call(path, "--json").stdout)["findings"]}
    if severity is None:
        assert "unused_classes" not in found
        return
    assert found["unused_classes"]["severity"] == severity
    assert found["unused_classes"]["evidence"]["unused"] == extra
    assert "'never0'" in found["unused_classes"]["message"]
    assert bool(found["unused_classes"]["advice"]) == (severity == "warning")


def test_the_untrained_loss_is_that_of_the_model_itself(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "train.h5", healthy()))
    alphabet, pipeline = Alphabet(WORDS), FeaturePipeline(3)

    def measured(change: Callable[[torch.nn.Linear], None]) -> Any:
        model = Wide("")
        change(model.linear)
        (finding,) = check_initial_loss(corpus, alphabet, model, pipeline)
        return finding

    def zero(linear: torch.nn.Linear) -> None:
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)

    def flat_start(linear: torch.nn.Linear) -> None:
        zero(linear)
        linear.bias.data[0] = 4.0

    def loud(linear: torch.nn.Linear) -> None:
        torch.nn.init.constant_(linear.weight, 20.0)
        linear.weight.data[0] = -20.0

    def broken(linear: torch.nn.Linear) -> None:
        torch.nn.init.constant_(linear.bias, float("nan"))

    exact = measured(zero)
    assert exact.severity == "info"
    assert exact.evidence["loss"] == pytest.approx(exact.evidence["uniform_loss"], rel=1e-5)
    assert exact.evidence["excess_per_frame"] == pytest.approx(0.0, abs=1e-4)
    biased = measured(flat_start)
    assert biased.severity == "info"
    assert biased.evidence["plateau_loss"] < biased.evidence["loss"] < 0.5 * exact.evidence["loss"]
    for fault in (loud, broken):
        assert measured(fault).severity == "warning"
        assert "out of scale" in measured(fault).advice


def test_integer_features_are_a_note_where_they_are_normalised(tmp_path: Path) -> None:
    train = {k: ((20 * x).astype(np.int16), t) for k, (x, t) in healthy().items()}
    assert audit(tmp_path, train)["features_integer"]["severity"] == "info"


def test_text_says_rule_and_advice(tmp_path: Path) -> None:
    result = call(write(tmp_path / "train.h5", edited(odd=(features(7), "Ant bee"))))
    assert result.exit_code == 10
    assert "[case_in_train]" in result.stdout
    assert "unless case carries meaning" in result.stdout
    assert result.stdout.rstrip().endswith("train.h5: warnings")


def test_a_missing_file_is_an_error_and_no_finding(tmp_path: Path) -> None:
    result = call(tmp_path / "none.h5")
    assert result.exit_code == 3
    assert "no such file" in result.output
    result = call(write(tmp_path / "train.h5", healthy()), "--dev", tmp_path / "none.h5")
    assert result.exit_code == 3


def test_unknown_settings_are_refused_as_in_training(tmp_path: Path) -> None:
    result = call(write(tmp_path / "train.h5", healthy()), "--set", "model.subsample=4")
    assert result.exit_code == 2
    assert "subsampling" in result.output


def test_clips_bounds_what_is_read(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "train.h5", healthy()))
    assert survey(corpus, clips=7).clips == 7
    assert survey(corpus).clips == 40


def test_figures_of_the_survey_are_those_of_numpy(tmp_path: Path) -> None:
    clips = {name: (1000 + array, text) for name, (array, text) in healthy().items()}
    found = survey(open_corpus(write(tmp_path / "train.h5", clips)))
    everything = np.concatenate([array for array, _ in clips.values()]).astype(np.float64)
    np.testing.assert_allclose(found.mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, everything.var(0), rtol=1e-9)
    assert (found.low, found.high) == (everything.min(), everything.max())


def test_features_stream_in_constant_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 200):
        path = tmp_path / f"{count}.h5"
        with CorpusWriter(path, 64, dtype="float32") as writer:
            for n in range(count):
                writer.add(f"clip{n}", features(n, 400, 64), ["ant"])
        corpus = open_corpus(path)
        survey(corpus)
        tracemalloc.start()
        survey(corpus)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # ten times the features (19 MB more), at most what 180 more digests take
    assert peaks[1] - peaks[0] < 180 * 1000


def test_the_uniform_loss_by_hand() -> None:
    # 2 frames, 1 label: paths aa, a-, -a; each has probability (1/3)^2
    assert uniform_loss([2], [[1]], 3) == pytest.approx(-np.log(3 / 9))


class Plain(ctckit.Model):
    """A model that keeps its contract, with a flaw to order."""

    def __init__(self, flaw: str) -> None:
        super().__init__()
        self.flaw = flaw
        self.linear = torch.nn.Linear(3, 5)

    def forward(self, features_BTF: torch.Tensor, lengths_B: torch.Tensor) -> ctckit.Emissions:
        logits = self.linear(features_BTF).transpose(0, 1)
        if self.flaw == "probabilities":
            logits = logits.softmax(-1)
        if self.flaw == "log_probabilities":
            logits = logits.log_softmax(-1)
        if self.flaw == "finite":
            logits = logits * float("nan")
        if self.flaw == "padding":
            logits = logits + features_BTF.shape[1]
        if self.flaw == "width":
            logits = logits[..., 1:]
        if self.flaw == "lengths":
            lengths_B = lengths_B - 1
        return ctckit.Emissions(logits, lengths_B)

    def output_lengths(self, lengths_B: torch.Tensor) -> torch.Tensor:
        return lengths_B


class Wide(Plain):
    """The same with the classes of WORDS."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.linear = torch.nn.Linear(3, 1 + len(WORDS))


@pytest.mark.parametrize("flaw", ["probabilities", "log_probabilities", "finite", "padding", "width", "lengths"])
def test_a_model_that_breaks_its_contract_is_found(flaw: str) -> None:
    (finding,) = check_model(Plain(flaw), 3, 5)
    assert finding.rule == f"model_{flaw}"
    assert finding.severity == ("warning" if flaw == "log_probabilities" else "error")


def test_a_model_that_keeps_it_is_left_as_it_was() -> None:
    model = Plain("").train()
    state = torch.get_rng_state()
    assert list(check_model(model, 3, 5)) == []
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("rates", "rule"),
    [
        ([1e-3, 6e-3], "learning_rate_high"),
        ([1e-6, 9e-6], "learning_rate_low"),
        ([1e-3, 1e-3], "no_warmup"),
        ([1e-4, 1e-3], None),
        ([5e-4, 5e-4], None),
        ([], None),
    ],
)
def test_learning_rates(rates: list[float], rule: str | None) -> None:
    assert [finding.rule for finding in check_learning_rates(rates)] == ([rule] if rule else [])


def test_training_runs_the_cheap_part_by_itself(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch, make_quick: Callable[..., list[str]]
) -> None:
    folder = tmp_path / "run"
    result = CliRunner().invoke(main, ["train", *make_quick(tiny, folder), "--set", "phases.*.schedule.lr=0.02"])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    early = [row for row in rows if row["kind"] == "finding" and row["monitor"] == "audit"]
    assert [row["kind"] for row in rows[: len(early) + 1]] == ["run"] + ["finding"] * len(early)
    by_rule = {row["rule"]: row for row in early}
    assert {"frames_per_label", "label_tail", "learning_rate_high"} <= set(by_rule)
    assert by_rule["learning_rate_high"]["epoch"] == 0
    assert "the learning rate reaches 0.02" in result.stderr
    assert "T/U is" not in result.stderr  # notes go to the history alone
    report = CliRunner().invoke(main, ["report", str(folder)])
    assert report.exit_code == 0, report.output
