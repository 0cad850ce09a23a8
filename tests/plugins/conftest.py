"""Epoch results to feed to schedules and monitors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctckit import EpochResult, Hypothesis, Progress, Scores

SCORES = Scores(
    loss=2.0,
    substitutions=1,
    deletions=2,
    insertions=0,
    reference_tokens=10,
    hypothesis_tokens=8,
    utterances=2,
    wrong_utterances=1,
    empty_hypotheses=0,
    frames=100,
    blank_frames=90,
    raw_blank_frames=90,
    blank_mass=0.9,
    unique_nonblank=5,
    covered_labels=4,
    reference_labels=6,
)


@pytest.fixture
def make_epoch() -> Callable[..., EpochResult]:
    import dataclasses

    def make(
        epoch: int = 1,
        phase: str = "exploration",
        phase_epoch: int | None = None,
        phase_epochs: int = 20,
        train_loss: float = 1.0,
        samples: tuple[Hypothesis, ...] = (),
        max_frames: int | None = None,
        plateau_loss: float = 4.0,
        **val: Any,
    ) -> EpochResult:
        at = Progress(epoch, phase, phase_epoch or epoch, phase_epochs, 50, batch=3, batches=3)
        return EpochResult(
            at=at,
            train_loss=train_loss,
            train=dataclasses.replace(SCORES, loss=train_loss),
            val=dataclasses.replace(SCORES, **val),
            auxiliary_losses={},
            plateau_loss=plateau_loss,
            gradient_norm=1.0,
            learning_rate=1e-3,
            shift=-1.0,
            domain="logit",
            dropout=0.1,
            max_frames=max_frames,
            cropped=0,
            seconds=1.0,
            samples=samples,
        )

    return make
