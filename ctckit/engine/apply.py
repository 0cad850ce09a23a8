"""Turns actions into effects. Nothing else does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ctckit.actions import (
    Action,
    ClipLength,
    SaveCheckpoint,
    ScaleLearningRate,
    SetDropout,
    ShiftPenalty,
    StopPhase,
    StopTraining,
)
from ctckit.errors import PluginError

CHECKPOINTS = frozenset({"best", "last", "interrupted"})
"""Names of checkpoints that the loop itself writes."""


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What actions have changed about the phase under way; a new phase starts from none.

    Attributes:
        learning_rate_factor: multiplies what the schedule returns.
        shift_offset: nats added to what the penalty returns.
        dropout: replaces the phase's, or None.
        max_frames: replaces the phase's, or None.
        stop_phase: end the phase after this epoch.
        stop_training: end the run after this epoch.
        keep: names under which to keep the state after this epoch.
    """

    learning_rate_factor: float = 1.0
    shift_offset: float = 0.0
    dropout: float | None = None
    max_frames: int | None = None
    stop_phase: bool = False
    stop_training: bool = False
    keep: tuple[str, ...] = ()


def apply(action: Action, adjustments: Adjustments) -> Adjustments:
    """Return the adjustments with the effect of ``action``.

    Raises:
        PluginError: a value is out of range, or the action is of no known kind.
    """
    match action:
        case StopTraining():
            return replace(adjustments, stop_training=True)
        case StopPhase():
            return replace(adjustments, stop_phase=True)
        case ScaleLearningRate(factor=factor) if 0 < factor < math.inf:
            return replace(adjustments, learning_rate_factor=adjustments.learning_rate_factor * factor)
        case ShiftPenalty(by=by) if math.isfinite(by):
            return replace(adjustments, shift_offset=adjustments.shift_offset + by)
        case SetDropout(probability=probability) if 0 <= probability < 1:
            return replace(adjustments, dropout=probability)
        case ClipLength(max_frames=max_frames) if max_frames > 0:
            return replace(adjustments, max_frames=max_frames)
        case SaveCheckpoint(name=name) if name.isidentifier() and name not in CHECKPOINTS:
            return replace(adjustments, keep=(*adjustments.keep, name))
    raise PluginError(f"a monitor asked for {action!r}, which is out of range or of no kind that ctckit knows")
