"""What a monitor may ask for, as frozen data.

A monitor returns actions; ``engine/apply.py`` alone turns them into effects, and every applied action becomes
a history row that names its finding. An effect lasts until the phase ends, because the next phase states its
own values.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctckit.types import Finding


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all actions.

    Attributes:
        finding: why; written into the history beside the effect.
    """

    finding: Finding


@dataclass(frozen=True, slots=True)
class StopTraining(Action):
    """End the run after this epoch. The last and the best checkpoint stay."""


@dataclass(frozen=True, slots=True)
class StopPhase(Action):
    """End the phase after this epoch and go on with the next one."""


@dataclass(frozen=True, slots=True)
class ScaleLearningRate(Action):
    """Multiply what the schedule returns by ``factor`` (> 0)."""

    factor: float


@dataclass(frozen=True, slots=True)
class ShiftPenalty(Action):
    """Add ``by`` nats to what the penalty returns; negative is stronger. The sum is kept at 0 or below."""

    by: float


@dataclass(frozen=True, slots=True)
class SetDropout(Action):
    """Set the model's dropout probability."""

    probability: float


@dataclass(frozen=True, slots=True)
class ClipLength(Action):
    """Crop training clips to ``max_frames`` input frames, never below what their labels need."""

    max_frames: int


@dataclass(frozen=True, slots=True)
class SaveCheckpoint(Action):
    """Keep the state after this epoch as ``checkpoints/<name>.pt``."""

    name: str
