"""Courses of runs, made by hand or drawn."""

from __future__ import annotations

import random
from collections.abc import Callable

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


def random_run(seed: int, epochs: int = 60) -> list[Epoch]:
    """Epochs in which anything may be missing, tie, fall or rise."""
    draw = random.Random(seed)
    drift = draw.choice([0.99, 0.95, 1.01])

    def value(scale: float, missing: float) -> float | None:
        return None if draw.random() < missing else round(scale * draw.random() * drift**epoch, 1)

    run = []
    missing = draw.choice([0.0, 0.1, 0.5])
    for epoch in range(1, epochs + 1):
        run.append(
            Epoch(
                epoch=epoch,
                not_finite=("val_loss",) if draw.random() < 0.05 else (),
                train_eval_loss=value(6.0, missing),
                val_loss=value(6.0, missing),
                val_wer=value(110.0, missing),
                deletion_rate=value(100.0, missing),
                insertion_rate=value(40.0, missing),
                length_ratio=value(1.2, missing),
                blank_ratio=value(100.0, missing),
                blank_reference=91.6,
                plateau_loss=4.2,
                shift=-1.0,
                learning_rate=1e-3,
            )
        )
    return run
