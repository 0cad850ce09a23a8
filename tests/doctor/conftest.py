"""Courses of runs, made by hand: what each state looks like in the figures of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctckit.record.epoch import Epoch

Make = Callable[..., Epoch]

SPIKY = {
    "train_loss": 0.5,
    "train_eval_loss": 0.4,
    "train_wer": 10.0,
    "val_loss": 0.6,
    "val_wer": 12.0,
    "blank_ratio": 97.2,
    "raw_blank_ratio": 97.2,
    "blank_reference": 97.7,
    "unique_nonblank": 60.0,
    "label_coverage": 90.0,
    "deletion_rate": 5.0,
    "insertion_rate": 1.0,
    "length_ratio": 0.96,
    "empty_share": 0.0,
    "infeasible": 0.0,
    "utterances": 100.0,
    "overfit_ratio": 1.5,
    "plateau_loss": 4.2,
    "gradient_norm": 5.0,
    "learning_rate": 1e-3,
    "shift": 0.0,
}
"""A healthy epoch with 97 % blanks."""

SILENT = {
    "train_loss": 4.3,
    "train_eval_loss": 4.15,
    "train_wer": 100.0,
    "val_loss": 4.1,
    "val_wer": 100.0,
    "blank_ratio": 100.0,
    "raw_blank_ratio": 100.0,
    "unique_nonblank": 0.0,
    "label_coverage": 0.0,
    "deletion_rate": 100.0,
    "insertion_rate": 0.0,
    "length_ratio": 0.0,
    "empty_share": 100.0,
    "overfit_ratio": 0.99,
}
"""What differs on the plateau."""


@pytest.fixture
def spiky() -> Make:
    def make(epoch: int = 20, **changes: Any) -> Epoch:
        return Epoch(epoch=epoch, phase="main", domain="logit", **{**SPIKY, **changes})

    return make


@pytest.fixture
def silent(spiky: Make) -> Make:
    def make(epoch: int = 3, **changes: Any) -> Epoch:
        return spiky(epoch, **{**SILENT, **changes})

    return make


@pytest.fixture
def make_quick() -> Callable[..., list[str]]:
    """Options of a run over the tiny corpora that takes two seconds."""

    def make(corpora: Any, folder: Any) -> list[str]:
        phases = ("warmup", "exploration", "consolidation", "fine_tuning")
        options = ["--data", str(corpora.train), "--dev", str(corpora.dev), "--out", str(folder), "--threads", "1"]
        for setting in ("model.hidden_size=8", *(f"phases.{name}.epochs=1" for name in phases)):
            options += ["--set", setting]
        return options

    return make
