"""What the plateau looks like in the figures of an epoch; `spiky`, beside it, is what a healthy run looks like."""

from __future__ import annotations

from typing import Any

import pytest
from courses import Make

from ctckit.record.epoch import Epoch

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
def silent(spiky: Make) -> Make:
    def make(epoch: int = 3, **changes: Any) -> Epoch:
        return spiky(epoch, **{**SILENT, **changes})

    return make
