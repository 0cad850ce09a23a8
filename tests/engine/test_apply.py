from __future__ import annotations

from dataclasses import dataclass

import pytest

from ctckit import (
    Action,
    ClipLength,
    Finding,
    PluginError,
    SaveCheckpoint,
    ScaleLearningRate,
    SetDropout,
    ShiftPenalty,
    StopPhase,
    StopTraining,
)
from ctckit.engine.apply import Adjustments, apply

WHY = Finding(rule="test", severity="info", message="because")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (StopTraining(WHY), Adjustments(stop_training=True)),
        (StopPhase(WHY), Adjustments(stop_phase=True)),
        (ScaleLearningRate(WHY, 0.3), Adjustments(learning_rate_factor=0.3)),
        (ShiftPenalty(WHY, -0.5), Adjustments(shift_offset=-0.5)),
        (SetDropout(WHY, 0.2), Adjustments(dropout=0.2)),
        (ClipLength(WHY, 300), Adjustments(max_frames=300)),
        (SaveCheckpoint(WHY, "plateau_left"), Adjustments(keep=("plateau_left",))),
    ],
)
def test_each_action_has_its_one_effect(action: Action, expected: Adjustments) -> None:
    assert apply(action, Adjustments()) == expected


def test_effects_accumulate() -> None:
    adjusted = Adjustments()
    for action in (
        ScaleLearningRate(WHY, 0.5),
        ScaleLearningRate(WHY, 0.5),
        ShiftPenalty(WHY, -1),
        ShiftPenalty(WHY, 0.25),
    ):
        adjusted = apply(action, adjusted)
    assert adjusted == Adjustments(learning_rate_factor=0.25, shift_offset=-0.75)


@dataclass(frozen=True)
class Invented(Action):
    pass


@pytest.mark.parametrize(
    "action",
    [
        ScaleLearningRate(WHY, 0.0),
        SetDropout(WHY, 1.0),
        SetDropout(WHY, -0.1),
        ClipLength(WHY, 0),
        SaveCheckpoint(WHY, "../evil"),
        SaveCheckpoint(WHY, "best"),
        ScaleLearningRate(WHY, float("inf")),
        ShiftPenalty(WHY, float("nan")),
        Invented(WHY),
    ],
)
def test_an_action_out_of_range_or_unknown_is_refused(action: Action) -> None:
    with pytest.raises(PluginError, match="out of range or of no kind"):
        apply(action, Adjustments())
