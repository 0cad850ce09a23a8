"""``ctckit diagnose``: both kinds of history, the failed run of the founding document, and bad input."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctckit.cli import main

FAILED_RUN = [
    # the figures of docs/founding-document.md 1 and 6.2; the training losses of epochs 30 and 55
    # follow from dev loss and overfit ratio
    {"epoch": 1, "stage": 1, "train_loss": 12.90, "gradient_norm": 20.56},
    {"epoch": 2, "stage": 1, "train_loss": 5.24, "gradient_norm": 2.84},
    {
        "epoch": 30,
        "stage": 1,
        "train_loss": 8.28 / 19.73,
        "val_loss": 8.28,
        "val_wer": 89.0,
        "blank_ratio": 95.65,
        "unique_nonblank": 132,
        "overfit_ratio": 19.73,
    },
    {
        "epoch": 55,
        "stage": 2,
        "train_loss": 10.59 / 67.29,
        "val_loss": 10.59,
        "val_wer": 87.0,
        "blank_ratio": 95.66,
        "unique_nonblank": 162,
        "overfit_ratio": 67.29,
    },
]

RUN_ROW: dict[str, Any] = {
    "kind": "run",
    "plateau_loss": 4.2,
    "config": {
        "model": {"name": "hierarchical_bilstm", "temporal_conv": False, "subsampling": 1},
        "batch_size": 16,
        "phases": {"main": {"epochs": 40}},
        "data": {"train": "train.h5", "dev": "dev.h5", "normalize": "none"},
    },
    "remedies": [
        {"ailment": "plateau", "change": "--set model.temporal_conv=true", "why": "measured", "source": "a page"},
        {"ailment": "overfit", "change": "--set model.hidden_size=64", "why": "smaller", "source": "a page"},
        {"ailment": "plateau", "change": "--set model.auxiliary_weight=1", "why": "measured", "source": "a page"},
    ],
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["diagnose", *map(str, arguments)])


def history(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def epoch(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "kind": "epoch",
        "epoch": number,
        "phase": "main",
        "train_loss": 4.2,
        "train_eval_loss": 4.15,
        "train_wer": 100.0,
        "val_loss": 4.1,
        "val_wer": 100.0,
        "blank_ratio": 100.0,
        "raw_blank_ratio": 100.0,
        "blank_reference": 97.9,
        "deletion_rate": 100.0,
        "insertion_rate": 0.0,
        "length_ratio": 0.0,
        "unique_nonblank": 0,
        "label_coverage": 0.0,
        "overfit_ratio": 1.0,
        "plateau_loss": 4.2,
        "gradient_norm": 5.0,
        "learning_rate": 1e-3,
        "shift": -3.0,
        "domain": "logit",
        "dropout": None,
    }
    return {**row, **changes}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


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


def test_columns_are_as_good_as_rows(tmp_path: Path) -> None:
    rows = FAILED_RUN[2:]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for content in (columns, {"history": rows}, {"config": {}, "epochs": columns}):
        found = json.loads(call(written(tmp_path / "h.json", content), "--json").stdout)
        assert (found["state"], found["since"]) == ("OVERFIT", 30)


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


@pytest.mark.parametrize(
    ("rows", "unit"),
    [
        # word errors as shares beside blanks in per cent
        ([{"val_wer": 0.87, "blank_ratio": 95.65, "overfit_ratio": 67.0, "val_loss": 10.6}] * 3, "share"),
        # one epoch above 150 % does not turn the others into per cent
        ([{"val_wer": wer, "val_loss": 2.0} for wer in (3.2, 0.95, 0.9, 0.88)], "share"),
        ([{"val_wer": wer, "val_loss": 2.0} for wer in (87.0, 4.2, 3.1, 2.5)], "percent"),
    ],
)
def test_a_unit_is_told_from_its_own_column(tmp_path: Path, rows: list[dict[str, Any]], unit: str) -> None:
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    factor = 100.0 if unit == "share" else 1.0
    assert found["last"]["val_wer"] == pytest.approx(factor * rows[-1]["val_wer"])
    assert any("val_wer" in note and "share" in note for note in found["notes"]) == (unit == "share")
    if "blank_ratio" in rows[0]:
        assert found["last"]["blank_ratio"] == rows[0]["blank_ratio"]
        assert found["state"] == "OVERFIT"


def test_a_unit_that_may_be_either_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "h.json", [{"val_wer": wer} for wer in (1.9, 1.6, 1.4, 1.3)])
    asked = call(path)
    assert asked.exit_code == 3
    assert "--unit val_wer=percent or --unit val_wer=share" in asked.output
    for unit, value in (("percent", 1.3), ("share", 130.0)):
        told = json.loads(call(path, "--unit", f"val_wer={unit}", "--json").stdout)
        assert told["last"]["val_wer"] == pytest.approx(value)
    assert "write FIGURE=share" in call(path, "--unit", "val_wer=%").output
    assert "which is not there" in call(path, "--unit", "train_wer=share").output


def test_a_ratio_and_blanks_are_enough_to_tell_an_overfitted_run(tmp_path: Path) -> None:
    rows = [{"train_loss": 0.16, "val_loss": 10.6, "blank_ratio": 95.65}] * 4
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    assert (found["state"], found["severity"]) == ("OVERFIT", "warning")
    assert found["last"]["overfit_ratio"] == pytest.approx(10.6 / 0.16)
    assert "overfit_ratio" not in found["missing"]


def test_figures_of_sentences_are_formatted(tmp_path: Path) -> None:
    rows = [{"val_wer": 99.65517520904541, "train_loss": 5.1, "val_loss": 5.2}] * 3
    assert "99.7 % word errors" in call(written(tmp_path / "h.json", rows)).stdout


def test_shares_of_one_are_understood_and_said(tmp_path: Path) -> None:
    rows = [{"train_loss": 0.5, "val_loss": 0.8, "wer": 0.2, "blank_ratio": 0.97, "extra": 1}] * 3
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    assert found["evidence"]["val_wer"] == 20.0
    assert "wer as val_wer" in found["notes"][0]
    assert "extra" in found["notes"][1]
    assert found["notes"][2:] == [
        "val_wer: between 0.2 and 0.2, read as a share of one.",
        "blank_ratio: between 0.97 and 0.97, read as a share of one.",
    ]


def test_epochs_that_start_again_are_counted_on(tmp_path: Path) -> None:
    rows = [{"epoch": n, "stage": stage, "train_loss": 1.0, "val_wer": 30.0} for stage in (1, 2) for n in (1, 2)]
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    assert found["epochs"] == 4
    assert "counted anew" in found["notes"][0]


def test_a_stuck_run_is_sent_to_its_front_end_before_any_penalty(tmp_path: Path) -> None:
    run = history(tmp_path / "stuck", [RUN_ROW, *(epoch(n) for n in range(1, 16))])
    result = call(run, "--json")
    assert result.exit_code == 11
    found = json.loads(result.stdout)
    assert (found["run"], found["state"], found["since"], found["epochs"]) == ("stuck", "PLATEAU", 1, 15)
    changes = [one["change"] for one in found["advice"]]
    assert changes == [
        "ctckit audit train.h5 --dev dev.h5",
        "--set model.temporal_conv=true",
        "--set model.auxiliary_weight=1",
        "--set batch_size=8",
        "--set data.normalize=clip_mean",
        "no blank penalty before these",
    ]
    assert all(one["source"] for one in found["advice"])


# AN4 words, subsampling 4, batch 8, 50 epochs, every third epoch from the one that left the plateau on: training
# loss, word errors, deletions; without the auxiliary head, and with it
SLOW = [
    (7, 3.99, 96.9, 87.6), (10, 3.67, 96.6, 83.2), (13, 3.45, 93.1, 76.0), (16, 3.38, 92.6, 72.4),
    (19, 3.13, 90.5, 71.3), (22, 2.96, 89.8, 67.6), (25, 2.92, 87.6, 65.5), (28, 2.60, 85.2, 59.8),
    (31, 2.44, 80.2, 57.6), (34, 2.32, 78.2, 53.7), (37, 2.24, 77.1, 50.8), (40, 2.12, 75.0, 49.8),
    (43, 2.06, 72.7, 49.0), (46, 2.02, 72.6, 48.9), (49, 1.97, 72.9, 49.5),
]  # fmt: skip
QUICK = [
    (4, 3.88, 96.6, 91.9), (7, 3.47, 92.3, 73.7), (10, 3.34, 88.9, 72.3), (13, 2.92, 87.4, 71.5),
    (16, 2.42, 84.4, 71.8), (19, 1.55, 56.1, 37.9), (22, 0.90, 36.3, 20.0), (25, 0.62, 29.0, 14.8),
    (28, 0.44, 26.0, 11.5), (31, 0.37, 28.1, 14.8), (34, 0.29, 22.4, 7.1), (40, 0.26, 22.3, 9.0),
    (49, 0.19, 19.5, 7.6),
]  # fmt: skip
AN4_CONFIG = {
    "model": {"name": "hierarchical_bilstm", "temporal_conv": True, "subsampling": 4, "auxiliary_weight": 0.0},
    "batch_size": 8,
    "phases": {"warmup": {"epochs": 5}, "exploration": {"epochs": 20}, "rest": {"epochs": 25}},
    "data": {"train": "train.h5", "dev": "dev.h5", "normalize": "clip_mean"},
}


def an4(folder: Path, figures: list[tuple[int, float, float, float]], until: int = 50, **config: Any) -> Path:
    """A history with the epochs between those of ``figures`` filled in on straight lines."""
    first = figures[0][0]
    rows = [epoch(n, shift=0.0, blank_reference=91.6) for n in range(1, first)]
    for (a, *start), (b, *end) in itertools.pairwise([*figures, (until + 1, *figures[-1][1:])]):
        for n in range(a, b):
            loss, errors, deletions = (x + (y - x) * (n - a) / (b - a) for x, y in zip(start, end, strict=True))
            values = {"train_eval_loss": loss, "val_wer": errors, "deletion_rate": deletions, "blank_ratio": 95.3}
            values["label_coverage"] = 100.0 - deletions
            rows.append(epoch(n, train_wer=errors, insertion_rate=1.0, shift=0.0, blank_reference=91.6, **values))
    kept = [row for row in rows if row["epoch"] <= until]
    remedies = config.pop("remedies", RUN_ROW["remedies"])
    return history(folder, [{**RUN_ROW, "config": {**AN4_CONFIG, **config}, "remedies": remedies}, *kept])


@pytest.mark.parametrize("until", [16, 25, 40, 50])
def test_a_run_that_will_not_get_there_in_time_is_told_what_is_really_wrong(tmp_path: Path, until: int) -> None:
    result = call(an4(tmp_path / "slow", SLOW, until), "--json")
    assert result.exit_code == 10
    found = json.loads(result.stdout)
    assert (found["state"], found["since"], found["slow"], found["stalled"]) == ("ESCAPING", 7, True, False)
    assert "too slowly for its plan" in found["headline"]
    assert 60 <= found["outlook"]["val_wer"] <= 80  # it ended at 72.9 %
    assert found["advice"][0]["change"] == "--set model.temporal_conv=true"
    assert not [one for one in found["advice"] if "blank share" in one["change"] + one["why"]]
    assert ("over" if until == 50 else f"the plan of 50 ends at {found['outlook']['val_wer']:.0f} %") in found[
        "why"
    ]


def test_a_flat_line_arrives_nowhere(tmp_path: Path) -> None:
    flat = [(7, 2.5, 90.0, 60.0), (30, 2.2, 89.97, 60.0)]
    found = json.loads(call(an4(tmp_path / "flat", flat, 25), "--json").stdout)
    assert (found["slow"], found["outlook"]["needed"]) == (True, None)
    assert found["why"].endswith("; word errors hardly fall.")
    assert not [one for one in found["advice"] if "more epochs" in one["change"]]


@pytest.mark.parametrize("until", [11, 13, 16, 18, 25, 50])
def test_a_run_that_will_get_there_is_left_alone(tmp_path: Path, until: int) -> None:
    result = call(an4(tmp_path / "quick", QUICK, until), "--json")
    found = json.loads(result.stdout)
    assert (found["state"], found["slow"]) == ("HEALTHY" if until >= 19 else "ESCAPING", False)
    assert result.exit_code == 0
    changes = [one["change"].split(",")[0] for one in found["advice"]]
    # 29 % of errors, most of them deletions, are not to be left at that; a sweep costs no training
    assert changes[:1] == (["ctckit sweep RUN --store"] if until >= 19 else [])


def test_what_a_slow_run_lacks_is_named_in_the_order_of_its_effect(tmp_path: Path) -> None:
    run = an4(tmp_path / "bare", SLOW, 30, batch_size=16)
    changes = [one["change"] for one in json.loads(call(run, "--json").stdout)["advice"]]
    assert changes[:3] == ["--set model.temporal_conv=true", "--set model.auxiliary_weight=1", "--set batch_size=8"]
    run = an4(tmp_path / "fine", SLOW, 30, remedies=[])
    changes = [one["change"] for one in json.loads(call(run, "--json").stdout)["advice"]]
    assert changes == ["more epochs: at this pace at least 55 in all", "ctckit audit train.h5 --dev dev.h5"]
    # a history of ctckit 0.1.0 does not say what its model lacks; nothing is made up
    run = an4(tmp_path / "old", SLOW, 30, remedies=None)
    assert [one["change"] for one in json.loads(call(run, "--json").stdout)["advice"]] == changes


def test_a_plan_that_ends_on_the_way_was_too_short(tmp_path: Path) -> None:
    run = an4(tmp_path / "short", QUICK, 8, phases={"main": {"epochs": 8}})
    found = json.loads(call(run, "--json").stdout)
    assert (found["state"], found["slow"]) == ("ESCAPING", False)
    assert [one["change"] for one in found["advice"]] == ["more epochs (--set phases.NAME.epochs=N)"]


def test_without_a_plan_nobody_is_late(tmp_path: Path) -> None:
    run = an4(tmp_path / "planless", SLOW, 40, phases={})
    found = json.loads(call(run, "--json").stdout)
    assert (found["slow"], found["outlook"], found["advice"]) == (False, None, [])


def test_a_young_run_is_told_to_wait(tmp_path: Path) -> None:
    result = call(history(tmp_path / "young", [RUN_ROW, *(epoch(n) for n in range(1, 4))]))
    assert result.exit_code == 0
    assert "1. wait until epoch 11 or so" in result.stdout
    assert "Nothing to change" not in result.stdout


def test_a_starved_run_is_told_to_keep_its_learning_rate(tmp_path: Path) -> None:
    rows = [epoch(n, learning_rate=1e-3 * 0.5 ** (n // 3)) for n in range(1, 13)]
    assert "keep the learning rate at 0.001 until" in call(history(tmp_path / "run", [RUN_ROW, *rows])).stdout


def test_a_nan_in_the_history_is_broken(tmp_path: Path) -> None:
    result = call(history(tmp_path / "run", [RUN_ROW, epoch(1, train_loss=None)]))
    assert result.exit_code == 11
    assert "BROKEN since epoch 1" in result.stdout
    assert "train_loss of epoch 1 is not finite" in result.stdout


@pytest.mark.parametrize("number", range(8))
def test_every_state_has_its_advice(spiky: Any, number: int) -> None:
    from ctckit.doctor.course import Diagnosis
    from ctckit.doctor.prescriptions import prescribe
    from ctckit.doctor.states import State
    from ctckit.record.history import Recorded

    state = list(State)[number]
    diagnosis = Diagnosis(state, 1, 20, "info", "on_plateau", "", {}, stalled=False)
    recorded = Recorded("x", (spiky(1),))
    advice = prescribe(diagnosis, recorded)
    assert bool(advice) == (state not in (State.HEALTHY, State.ESCAPING, State.STARTING))
    for one in advice:
        assert one.change
        assert one.why
    penalties = [n for n, one in enumerate(advice) if "penalty" in one.change]
    assert all(n == len(advice) - 1 for n in penalties)


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
