"""What the stored files of one run say: how it ended, what it learnt when, and its errors on each utterance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctckit.ablation.job import Status, status_of
from ctckit.ablation.plan import Plan
from ctckit.ablation.scoring import Scored, scores_of
from ctckit.doctor.verdict import judge
from ctckit.errors import CtckitError, DataError
from ctckit.record.history import HISTORY, Recorded, read_history


@dataclass(frozen=True, slots=True)
class Course:
    """What training was like.

    Attributes:
        epochs: finished.
        updates: optimiser steps in them.
        seconds: of training, judging of epochs included.
        left_plateau: the epoch from which on no epoch is on the unigram plateau, or None.
        left_plateau_update: optimiser steps at the end of that epoch.
        best_epoch: the one that was kept, or None where no epoch left the plateau and emitted labels.
        best_dev_wer: of that epoch, per cent.
        state: of the last epoch, as ``ctckit diagnose`` tells it.
    """

    epochs: int
    updates: int | None
    seconds: float
    left_plateau: int | None
    left_plateau_update: int | None
    best_epoch: int | None
    best_dev_wer: float | None
    state: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of an ablation.

    Attributes:
        variant: its name.
        seed: of the plan.
        status: how far it is.
        reason: why it ended, or with which error.
        course: None where there is no epoch.
        scored: errors on the test corpus; None while the run has not ended.
        provenance: first row of its history.
        off_budget: how the time or updates that it took differ from the plan's budget, if they clearly do.
    """

    variant: str
    seed: int
    status: Status
    reason: str
    course: Course | None
    scored: Scored | None
    provenance: Mapping[str, Any]
    off_budget: str = ""


def read_outcome(folder: Path, plan: Plan, variant: str, seed: int, device: str) -> Outcome:
    """Read a run, and score it where it has ended and has not been scored.

    Raises:
        DataError: the run in the folder has another seed.
    """
    try:
        status, reason = status_of(folder)
        if not (folder / HISTORY).is_file():
            return Outcome(variant, seed, status, reason, None, None, {})
        run = read_history(folder)
        course = _course(run)
        scored = (
            scores_of(folder, run.config, plan.plugins_of(variant), device)
            if status == "ended" and course
            else None
        )
    except CtckitError as error:
        return Outcome(variant, seed, "failed", str(error), None, None, {})
    trained = run.provenance.get("seed")
    if trained != seed:
        raise DataError(f"{folder}: was trained with seed {trained}, its name says {seed}; delete the folder")
    off_budget = _off_budget(run, plan, reason) if status == "ended" else ""
    return Outcome(variant, seed, status, reason, course, scored, run.provenance, off_budget)


def _off_budget(run: Recorded, plan: Plan, reason: str) -> str:
    """Say how a run that has ended left the budget, as one may that was resumed by hand.

    An epoch more is none: a run ends with the epoch in which its budget does.
    """
    if {"out of time": plan.minutes, "out of updates": plan.updates}.get(reason, 0) is None:
        return f"ended {reason}, which is not the plan's budget"
    updates = [_whole(epoch.update) or 0 for epoch in run.epochs]
    if plan.updates is not None and updates:
        short = reason == "out of updates" and updates[-1] < plan.updates
        if short or (len(updates) > 1 and updates[-2] >= plan.updates):
            return f"took {updates[-1]} updates, the plan gives {plan.updates}"
    seconds = [epoch.seconds or 0.0 for epoch in run.epochs]
    if plan.minutes is not None and seconds:
        spent, given = sum(seconds), 60.0 * plan.minutes
        # of an epoch that was left in the middle, nobody has recorded the time; saving takes time as well
        whole = (run.ending or {}).get("epoch") == len(seconds)
        short = reason == "out of time" and whole and spent + max(seconds) < 0.5 * given
        if short or spent > given + max(seconds):
            return f"took {spent / 60.0:.1f} minutes, the plan gives {plan.minutes:g}"
    return ""


def _course(run: Recorded) -> Course | None:
    if not run.epochs:
        return None
    left, best, last = run.left_plateau, run.best, run.epochs[-1]
    diagnosis = judge(run).diagnosis
    return Course(
        epochs=len(run.epochs),
        updates=_whole(last.update),
        seconds=sum(epoch.seconds or 0.0 for epoch in run.epochs),
        left_plateau=left.epoch if left else None,
        left_plateau_update=_whole(left.update) if left else None,
        best_epoch=best.epoch if best else None,
        best_dev_wer=best.val_wer if best else None,
        state=None if diagnosis is None else str(diagnosis.state),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
