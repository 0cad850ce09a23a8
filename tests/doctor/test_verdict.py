from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from histories import LEFT, SILENT, end_row, epoch_row, finding, run_row, write

from ctckit.ablation.outcome import _course
from ctckit.bootstrap import Comparison, Estimate
from ctckit.cli import main
from ctckit.cli.compare import _nobody_recognises, _row
from ctckit.doctor.course import Course
from ctckit.doctor.verdict import Verdict, as_json, blank_reading, judge
from ctckit.record.history import Recorded, read_history, recorded


def read(rows: list[dict[str, Any]]) -> tuple[Recorded, Verdict]:
    summary = recorded(rows, Path("runs/toy-1/history.jsonl"))
    return summary, judge(summary)


def state(verdict: Verdict) -> str:
    assert verdict.diagnosis is not None
    return verdict.diagnosis.state


def test_left_plateau_names_epoch_losses_errors_and_blanks() -> None:
    summary, verdict = read(LEFT)
    # 31.2 % of errors where 30 were wanted: no mere note, once the run is over
    assert (state(verdict), verdict.severity) == ("HEALTHY", "warning")
    assert verdict.headline == "HEALTHY since epoch 5 (2 epochs): labels are recognised."
    assert verdict.evidence == (
        "training loss 1.90 of 4.31, 35.0 % word errors, 92.0 % of frames are blank where one-frame spikes have "
        "91.0 %.",
        "Left the unigram plateau in epoch 3; best WER 31.2 % in epoch 4.",
        "Epoch 3 (main_phase): training loss 4.02 of 4.31 nats per token (7 % below), "
        "with learning rate 0.001, path blank shift -0.5, auxiliary CTC loss on frame_head.",
        "Last epoch 6: training loss 1.90 of 4.31 nats per token (56 % below).",
        "Best epoch 4: 31.2 % WER (S 12.1, D 14.0, I 5.1) on dev; target 30 % missed by 1.2 points.",
        "92.0 % of dev frames are blank where 1 - U/T is 91.0 %: healthy spikes.",
        "Finished after 6 epochs.",
    )
    assert summary.target_reached is False
    assert [(phase.name, phase.planned, len(phase.epochs)) for phase in summary.phases] == [
        ("warmup", 2, 2),
        ("main_phase", 4, 4),
    ]


def test_never_left() -> None:
    rows = [run_row(), *(epoch_row(n, 4.30, (0, 500, 0)) for n in range(1, 7)), end_row("finished", 6)]
    _, verdict = read(rows)
    assert (state(verdict), verdict.severity) == ("PLATEAU", "warning")
    assert "the network still ignores its input" in verdict.headline
    assert verdict.evidence[1] == "Never left the unigram plateau in 6 epochs."


def test_never_left_and_all_collapsed_has_no_best_epoch() -> None:
    rows = [run_row(), *(epoch_row(n, 4.30, SILENT) for n in range(1, 7)), end_row("finished", 6)]
    summary, verdict = read(rows)
    assert verdict.evidence[1] == "Never left the unigram plateau in 6 epochs, and every epoch was collapsed."
    assert summary.best is None
    assert summary.target_reached is False
    assert any(
        sentence.startswith(
            "Nothing counts as a best epoch, because every epoch was collapsed: the last has 99.0 % WER"
        )
        for sentence in verdict.evidence
    )


def test_collapsed_although_the_loss_left_the_plateau() -> None:
    rows = [run_row(), epoch_row(1, 4.4, SILENT), epoch_row(2, 3.0, SILENT), end_row("stopped by a monitor", 2)]
    _, verdict = read(rows)
    assert state(verdict) == "ESCAPING"
    assert "every epoch was collapsed: next to nothing is emitted" in verdict.evidence[1]
    assert verdict.evidence[-1] == "Stopped by a monitor after 2 of 6 epochs."


def test_collapse_at_the_end_is_said() -> None:
    _, verdict = read([*LEFT[:5], epoch_row(5, 2.0, SILENT), end_row("finished", 5)])
    assert state(verdict) == "DIVERGED"
    assert "the last epoch is collapsed" in verdict.evidence[1]


def test_falling_back_is_no_escape() -> None:
    summary, verdict = read([*LEFT[:5], epoch_row(5, 4.3, SILENT), end_row("finished", 5)])
    assert state(verdict) == "PLATEAU"
    assert verdict.evidence[1] == "Left the unigram plateau in epoch 3 and fell back onto it by epoch 5."
    assert summary.left_plateau is None


def test_the_escape_that_counts_is_the_last_one() -> None:
    summary, verdict = read([*LEFT[:4], epoch_row(4, 4.3, SILENT), epoch_row(5, 3.0, (0, 500, 0))])
    assert summary.left_plateau is not None
    assert summary.left_plateau.epoch == 5
    assert "in epoch 5 for good (first in epoch 3)" in verdict.evidence[1]


def test_unfinished_run_is_still_on_the_plateau_not_never_off_it() -> None:
    _, verdict = read(LEFT[:3])
    assert verdict.evidence[1] == (
        "Still on the unigram plateau after 2 of 6 epochs, and every epoch was collapsed."
    )
    assert verdict.severity == "info"
    assert verdict.evidence[-1].startswith("Unfinished: 2 of 6 epochs done and no closing row")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("interrupted", "Interrupted after 3 of 6 epochs"),
        ("out of time", "Ran out of time after 3 of 6 epochs"),
        ("out of updates", "Took the updates it was given in 3 of 6 epochs"),
    ],
)
def test_interrupted(reason: str, words: str) -> None:
    _, verdict = read([*LEFT[:4], end_row(reason, 4)])
    assert verdict.evidence[-1] == f"{words}; it can be resumed."


def test_resumed_several_times() -> None:
    resume = [{"kind": "resume", "epoch": epoch, "update": 0} for epoch in (2, 4)]
    rows = [*LEFT[:3], resume[0], *LEFT[3:5], resume[1], *LEFT[5:]]
    summary, verdict = read(rows)
    assert summary.resumed == (2, 4)
    assert "Resumed at epochs 2, 4." in verdict.evidence


def test_resuming_after_an_end_makes_the_run_unfinished_again() -> None:
    summary, _ = read([*LEFT[:4], end_row("interrupted", 3), {"kind": "resume", "epoch": 3, "update": 30}])
    assert summary.ending is None


def test_actions_come_with_their_values_and_findings() -> None:
    action = {
        "kind": "action",
        "epoch": 4,
        "monitor": "contingency",
        "action": "ScaleLearningRate",
        "factor": 0.3,
        "finding": finding(),
    }
    summary, verdict = read([*LEFT[:5], action, *LEFT[5:]])
    (event,) = summary.actions
    assert event.finding is not None
    assert (event.action, event.values, event.finding.rule) == ("ScaleLearningRate", {"factor": 0.3}, "loss_stalls")
    assert "Monitors changed the course of the run: ScaleLearningRate after epoch 4." in verdict.evidence
    told = as_json(summary, verdict)
    assert told["actions"] == [{"epoch": 4, "action": "ScaleLearningRate", "factor": 0.3, "rule": "loss_stalls"}]
    assert (told["left_plateau"], told["best"]["epoch"], told["target_reached"]) == (3, 4, False)


def test_test_scores() -> None:
    row = epoch_row(4, 2.6, (200, 100, 50))
    row |= {"kind": "test", "corpus": "test.h5", "wer": row.pop("val_wer"), "loss": 2.6, "unknown": ["X"]}
    summary, verdict = read([*LEFT, row])
    assert summary.tests[0].unknown == ("X",)
    assert "Test corpus test.h5, checkpoint of epoch 4: 35.0 % WER (S 20.0, D 10.0, I 5.0)." in verdict.evidence


def test_no_epochs() -> None:
    summary, verdict = read([run_row()])
    assert (verdict.diagnosis, verdict.severity) == (None, "info")
    assert as_json(summary, verdict)["best"] is None


def test_best_epoch_is_the_training_loops_rule() -> None:
    rows = [
        run_row(),
        epoch_row(1, 3.0, (0, 899, 0)),
        epoch_row(2, 2.0, (0, 899, 0)),
        epoch_row(3, 1.0, (0, 900, 0)),
        epoch_row(4, 0.5, (0, 0, 0), val_wer=None),
        epoch_row(5, 4.3, (0, 100, 0)),  # fewer errors by chance, on the unigram plateau
    ]
    summary, _ = read(rows)
    assert summary.best is not None
    assert summary.best.epoch == 2


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({}, "healthy spikes"),
        ({"blank_ratio": 97.7, "blank_reference": 97.7}, "healthy spikes"),
        ({"blank_ratio": 97.0}, "more blanks than the labels leave room for"),
        ({"blank_ratio": 60.0}, "labels are held over several frames"),
        ({"blank_ratio": 5.0, "insertion_rate": 60.0}, "too few blanks, labels are inserted"),
        ({"deletion_rate": 90.0}, "blanks swallow the labels"),
        ({"blank_ratio": None}, ""),
    ],
)
def test_blank_share_is_read_beside_its_reference(changes: dict[str, Any], reading: str) -> None:
    summary, _ = read([run_row(), epoch_row(1, 1.0, (100, 100, 50), **changes)])
    assert blank_reading(summary.epochs[0]) == reading


def test_null_figures_are_said_to_be_not_finite() -> None:
    rows = [run_row(plateau_loss=None), epoch_row(1, None, SILENT, val_wer=None, plateau_loss=None)]
    _, verdict = read(rows)
    assert verdict.evidence[0] == "train_loss, train_eval_loss, val_loss of epoch 1 is not finite."
    assert verdict.severity == "error"


def updates(rows: list[dict[str, Any]], each: int) -> list[dict[str, Any]]:
    return [{**row, "update": each * row["epoch"]} if row["kind"] == "epoch" else row for row in rows]


OVERFIT = [
    run_row(),
    *(
        epoch_row(
            n, 4.0 * 0.6**n, (600, 150, 30), val_loss=2.5 + 0.2 * n, overfit_ratio=(2.5 + 0.2 * n) / (4.0 * 0.6**n)
        )
        for n in range(1, 9)
    ),
]
LEARNT = [run_row(), *(epoch_row(n, max(4.0 * 0.7**n, 0.15), (400 // n, 300 // n, 10)) for n in range(1, 13))]
PLANTED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "overfit": (OVERFIT, "OVERFIT"),
    "untrained": ([run_row(), epoch_row(1, 45.6, (0, 30, 900), blank_ratio=0.0)], "STARTING"),
    "stuck": (updates([run_row(), *(epoch_row(n, 4.3, SILENT) for n in range(1, 13))], 200), "PLATEAU"),
    "few updates, falling": (
        updates([run_row(), *(epoch_row(n, 12.6 - 0.16 * n, SILENT) for n in range(1, 30))], 3),
        "STARTING",
    ),
    "97 per cent blanks": (
        [
            run_row(),
            *(epoch_row(n, 0.4, (50, 40, 20), blank_ratio=97.2, blank_reference=97.7) for n in range(1, 20)),
        ],
        "HEALTHY",
    ),
    "deletions": (
        [run_row(), *(epoch_row(n, 0.8, (5, 383, 2), train_wer=10.0) for n in range(1, 10))],
        "BLANK-BIASED",
    ),
    "fell back": ([*LEFT[:5], epoch_row(5, 4.3, SILENT)], "PLATEAU"),
    "diverged from the start": (
        [run_row(), *(epoch_row(n, loss, SILENT) for n, loss in enumerate((5.0, 8.0, 15.0, 33.0), 1))],
        "DIVERGED",
    ),
    "lost what it knew": ([*LEARNT, epoch_row(13, 1.2, (300, 250, 30))], "DIVERGED"),
    "emits nothing any more": ([*LEARNT, epoch_row(13, 0.2, SILENT)], "DIVERGED"),
    "exploded": ([*LEARNT, epoch_row(13, 20.0, SILENT)], "DIVERGED"),
    "no worse than by chance": ([*LEARNT, epoch_row(13, 0.3, (60, 60, 10))], "HEALTHY"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_everybody_asks_the_same_judge(tmp_path: Path, name: str) -> None:
    rows, expected = PLANTED[name]
    folder = write(tmp_path / "run", rows)
    run = read_history(folder)
    verdict = judge(run)
    assert state(verdict) == expected
    told = {
        "diagnose": json.loads(CliRunner().invoke(main, ["diagnose", str(folder), "--json"]).stdout),
        "report": json.loads(CliRunner().invoke(main, ["report", str(folder), "--json"]).stdout),
    }
    assert {told[verb]["state"] for verb in told} == {expected}
    assert {told[verb]["headline"] for verb in told} == {verdict.headline}
    assert {told[verb]["severity"] for verb in told} == {verdict.severity}
    estimates = tuple(Estimate(1.0, 0.5, 1.5) for _ in range(2))
    assert _row(folder, run, Comparison(estimates, estimates, (0.5, 0.5)), 1)["state"] == expected  # compare
    course = _course(run)  # ablate
    assert course is not None
    assert course.state == expected
    watched = Course()  # the monitor
    for epoch in run.epochs:
        watched.add(epoch)
    assert watched.diagnose(run.planned_epochs) == verdict.diagnosis


def test_of_two_runs_that_ignore_their_input_none_is_better() -> None:
    stuck = [run_row(), epoch_row(1, 4.3, (0, 950, 0)), epoch_row(2, 10.8, (600, 300, 57), blank_ratio=0.0)]
    run, _ = read(stuck)
    assert run.best is None  # 95.7 % errors by chance are no better than 99
    assert _nobody_recognises(run, run)
    left, _ = read(LEFT)
    assert not _nobody_recognises(run, left)
