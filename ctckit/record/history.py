"""The history of a run: JSON lines, one row an epoch, after a first row with the provenance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctckit.actions import Action
from ctckit.errors import DataError
from ctckit.types import EpochResult, Finding, Scores

HISTORY = "history.jsonl"
"""In the folder of a run."""


class History:
    """What happened in a run, as JSON lines that are appended to and cut back to what a checkpoint knows of.

    Each row has a ``kind``: run (the provenance, first), resume, epoch, finding, action, end, test.

    Args:
        path: the file; created with its first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes written so far; a checkpoint stores them, so that resuming can drop what came after."""
        return self.path.stat().st_size if self.path.exists() else 0

    def truncate(self, size: int) -> None:
        """Drop the rows that were written after the checkpoint from which the run goes on.

        Raises:
            DataError: the file is shorter than the checkpoint says.
        """
        if self.size < size:
            raise DataError(f"{self.path}: has {self.size} bytes, the checkpoint expects {size}; it was changed")
        if self.size > size:
            os.truncate(self.path, size)

    def append(self, kind: str, **values: Any) -> None:
        """Write one row through to the file.

        Raises:
            DataError: the file cannot be written.
        """
        row = json.dumps(finite({"kind": kind, **values}), ensure_ascii=False, allow_nan=False)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(row + "\n")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}; make room and resume") from error

    def note(self, epoch: int, monitor: str, outcome: Finding | Action) -> None:
        """Write a finding, or an applied action with its finding; epoch 0 is before the first step.

        Raises:
            DataError: the file cannot be written.
        """
        if isinstance(outcome, Action):
            self.append("action", epoch=epoch, monitor=monitor, **action_row(outcome))
        else:
            self.append("finding", epoch=epoch, monitor=monitor, **finding_row(outcome))


def score_row(scores: Scores) -> dict[str, Any]:
    """Flatten the scores of a corpus."""
    return {
        "loss": scores.loss,
        "wer": scores.wer,
        "blank_ratio": scores.blank_ratio,
        "raw_blank_ratio": scores.raw_blank_ratio,
        "blank_reference": scores.blank_reference,
        "blank_mass": scores.blank_mass,
        "unique_nonblank": scores.unique_nonblank,
        "label_coverage": scores.label_coverage,
        "substitutions": scores.substitutions,
        "deletions": scores.deletions,
        "insertions": scores.insertions,
        "reference_tokens": scores.reference_tokens,
        "utterances": scores.utterances,
        "deletion_rate": scores.deletion_rate,
        "insertion_rate": scores.insertion_rate,
        "length_ratio": scores.length_ratio,
        "empty_share": scores.empty_share,
        "sentence_error_rate": scores.sentence_error_rate,
        "infeasible": scores.infeasible,
        "entropy": scores.entropy,
        **{f"coverage_{band}": share for band, share in scores.coverage_by_frequency.items()},
        "collapsed": scores.collapsed,
    }


def epoch_row(result: EpochResult) -> dict[str, Any]:
    """Flatten an epoch into the columns of its row.

    The founding document's names come as it has them: train_loss, val_loss, val_wer, blank_ratio,
    unique_nonblank, overfit_ratio. Scores without a prefix are those of dev.
    """
    at = result.at
    val = score_row(result.val)
    return {
        # first, so that no head's name can take the place of a column of ours
        **{f"{name}_loss": loss for name, loss in result.auxiliary_losses.items()},
        **{f"{name}_term": term for name, term in result.terms.items()},
        "epoch": at.epoch,
        "phase": at.phase,
        "phase_epoch": at.phase_epoch,
        "update": at.update,
        "frames": at.frames,
        "train_loss": result.train_loss,
        "train_eval_loss": result.train.loss,
        "train_wer": result.train.wer,
        "train_infeasible": result.train.infeasible,
        "val_loss": val.pop("loss"),
        "val_wer": val.pop("wer"),
        **val,
        "overfit_ratio": result.overfit_ratio,
        "plateau_loss": result.plateau_loss,
        "on_plateau": result.on_plateau,
        "gradient_norm": result.gradient_norm,
        "module_gradients": dict(result.module_gradients),
        "module_weights": dict(result.module_weights),
        "blank_bias": result.blank_bias,
        "blank_bias_start": result.blank_bias_start,
        "blank_bias_drift": result.blank_bias_drift,
        "learning_rate": result.learning_rate,
        "shift": result.shift,
        "domain": result.domain,
        "dropout": result.dropout,
        "max_frames": result.max_frames,
        "clips": result.clips,
        "cropped": result.cropped,
        "seconds": result.seconds,
    }


def finding_row(finding: Finding) -> dict[str, Any]:
    """Flatten a finding."""
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "message": finding.message,
        "evidence": dict(finding.evidence),
        "advice": finding.advice,
        "source": finding.source,
    }


def action_row(action: Action) -> dict[str, Any]:
    """Flatten an action with the finding behind it."""
    values = {name: getattr(action, name) for name in action.__dataclass_fields__ if name != "finding"}
    return {"action": type(action).__name__, **values, "finding": finding_row(action.finding)}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a history; row ``n`` is line ``n + 1``.

    Raises:
        DataError: missing, empty, or a line is not a row.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; give the folder of a run") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); is it the history of a run?") from error
    rows = []
    # not splitlines(): a clip id may hold one of the line separators that JSON leaves as they are
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
            raise DataError(f"{path}, line {number}: not a row of a history (an object with a 'kind')")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no rows; the run has not started")
    return rows


def finite(value: Any) -> Any:
    """Replace what JSON cannot hold, here and where rows are printed: no finite number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
