"""``ctckit diagnose``: the failed run of the founding document, targets, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from diagnosed import FAILED_RUN, RUN_ROW, call, epoch, history, written


def test_the_failed_run_of_the_document_is_overfit_and_not_collapsed(tmp_path: Path) -> None:
    result = call(written(tmp_path / "history.json", FAILED_RUN), "--json")
    assert result.exit_code == 10, result.output
    found = json.loads(result.stdout)
    assert (found["state"], found["since"], found["reason"]) == ("OVERFIT", 30, "gap")
    assert "67.3 times the training loss" in found["why"]
    assert {"blank_ratio_high", "overfit_ratio_high", "fits_without_generalising"} <= {
        flag["rule"] for flag in found["findings"]
    }
    assert {"deletion_rate", "plateau_loss", "blank_reference"} <= set(found["missing"])
    changes = [one["change"] for one in found["advice"]]
    assert changes[0].startswith("ctckit audit")
    assert changes.index("no blank penalty") == len(changes) - 1
    text = call(tmp_path / "history.json").stdout
    assert "OVERFIT since epoch 30" in text
    assert "Not recorded, so not judged:" in text


def test_a_healthy_document_run_with_97_per_cent_blanks(tmp_path: Path) -> None:
    rows = [
        {"train_loss": 2 / n, "val_loss": 3 / n, "val_wer": 40 - n, "blank_ratio": 97.0, "unique_nonblank": 400}
        for n in range(1, 21)
    ]
    result = call(written(tmp_path / "h.json", rows))
    assert result.exit_code == 0
    assert "HEALTHY since epoch 1" in result.stdout
    assert "Nothing to change." in result.stdout


NEVER_NOTHING: dict[str, dict[str, Any]] = {
    "deletions that a sweep would mend": {"deletion_rate": 18.0, "val_wer": 19.0, "insertion_rate": 0.2},
    "insertions that a sweep would mend": {"deletion_rate": 0.2, "val_wer": 19.0, "insertion_rate": 15.0},
    "a gap, at many errors": {"val_loss": 3.37, "train_eval_loss": 0.76, "val_wer": 78.0, "overfit_ratio": 4.4},
    "between the thresholds": {"val_loss": 2.6, "train_eval_loss": 1.0, "val_wer": 45.0, "overfit_ratio": 2.6},
    "far from the target": {"val_wer": 48.0},
    "losses that are hidden": {"infeasible": 3.0, "utterances": 100.0},
}


@pytest.mark.parametrize("figures", NEVER_NOTHING.values(), ids=NEVER_NOTHING)
def test_something_stands_against_nothing_to_change(spiky: Any, tmp_path: Path, figures: dict[str, Any]) -> None:
    rows = [{"kind": "epoch", **spiky(n, **{**figures, "update": 200.0 * n}).state_dict()} for n in range(1, 21)]
    for row in rows:
        row.pop("not_finite")
    result = call(history(tmp_path / "run", [RUN_ROW, *rows]))
    assert "Nothing to change" not in result.stdout
    assert "Try, in this order:" in result.stdout or "warning:" in result.stdout
    assert result.exit_code == (10 if "warning:" in result.stdout or "OVERFIT since" in result.stdout else 0)


def test_a_target_that_was_missed_is_said_and_counts(spiky: Any, tmp_path: Path) -> None:
    row = {"kind": "epoch", **spiky(1, val_wer=19.0).state_dict()}
    row.pop("not_finite")
    config = {**RUN_ROW["config"], "target_wer": 15.0}
    rows = [{**RUN_ROW, "config": config}, row]
    assert call(history(tmp_path / "going", rows)).exit_code == 0
    over = call(history(tmp_path / "over", [*rows, {"kind": "end", "reason": "out of time", "epoch": 1}]))
    assert over.exit_code == 10
    assert "target 15 % missed by 4.0 points" in over.stdout
    assert "Nothing to change" not in over.stdout


def test_a_ratio_and_blanks_are_enough_to_tell_an_overfitted_run(tmp_path: Path) -> None:
    rows = [{"train_loss": 0.16, "val_loss": 10.6, "blank_ratio": 95.65}] * 4
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    assert (found["state"], found["severity"]) == ("OVERFIT", "warning")
    assert found["last"]["overfit_ratio"] == pytest.approx(10.6 / 0.16)
    assert "overfit_ratio" not in found["missing"]


def test_figures_of_sentences_are_formatted(tmp_path: Path) -> None:
    rows = [{"val_wer": 99.65517520904541, "train_loss": 5.1, "val_loss": 5.2}] * 3
    assert "99.7 % word errors" in call(written(tmp_path / "h.json", rows)).stdout


def test_a_nan_in_the_history_is_broken(tmp_path: Path) -> None:
    result = call(history(tmp_path / "run", [RUN_ROW, epoch(1, train_loss=None)]))
    assert result.exit_code == 11
    assert "BROKEN since epoch 1" in result.stdout
    assert "train_loss of epoch 1 is not finite" in result.stdout


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.json", "{", "not JSON"),
        ("h.json", "[]", "holds no epochs"),
        ("h.json", "3", "neither a list of epochs nor an object of columns"),
        ("h.json", '[{"speed": 1}]', "none of the columns train_loss"),
        ("h.json", '[{"val_wer": "high"}]', "'val_wer' is \"high\", not a number"),
        ("h.json", '{"val_wer": [1, 2], "val_loss": [1]}', "different lengths (val_wer 2, val_loss 1)"),
        ("h.json", '[{"train_loss": 1.0}]', "no epoch records an error rate"),
        ("h.jsonl", '{"kind": "epoch"}\n', "starts with a row 'epoch'"),
        ("h.jsonl", "", "holds no rows"),
        ("h.jsonl", '{"kind": "run"}\n', "no epoch has been finished yet"),
        ("h.jsonl", '{"kind": "run"}\n{"kind": "epoch", "epoch": "one"}\n', "line 2: 'epoch' is \"one\""),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    result = call(path)
    assert result.exit_code == 3, result.output
    assert message in result.output
    assert result.output.strip().count("\n") == 0
    assert str(path) in result.output


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none.json"):
        result = call(path)
        assert result.exit_code == 3
        assert "cannot be read" in result.output
