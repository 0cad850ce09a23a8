"""The whole audit through the verb: a planted case fires each check, and a healthy corpus does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audited import WORDS, Corpus, audit, call, edited, features, healthy, write
from click.testing import CliRunner

from ctckit.cli import main


def test_a_healthy_corpus_is_clean(tmp_path: Path) -> None:
    found = audit(tmp_path, healthy(), dev=healthy(10, seed=1))
    without_features = {"label_tail", "frames_per_label", "unigram_plateau", "initial_loss", "shared_sentences"}
    assert set(found) == without_features | {"untrained_loss", "file_contents"}
    assert {one["severity"] for one in found.values()} == {"info"}
    assert found["frames_per_label"]["evidence"]["blank_reference"] == pytest.approx(90.0)
    assert found["frames_per_label"]["evidence"]["q50"] == pytest.approx(10.0)


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
    ("unseen_labels", "info", healthy(), (), {"odd": (features(7), "ant bee " * 11 + "fox")}),
    ("unseen_labels", "warning", healthy(), (), {"odd": (features(7), "ant fox")}),
    ("unseen_labels", "error", healthy(), (), {"odd": (features(7), "fox gnu hen")}),
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
