"""Histories for ``ctckit diagnose``, and the verb in this process."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ctckit.cli import main

FAILED_RUN = [
    # the figures of docs/founding-document.md 1 and 6.2; the training losses of epochs 30 and 55
    # follow from dev loss and overfit ratio
    {"epoch": 1, "stage": 1, "train_loss": 12.90, "gradient_norm": 20.56},
    {"epoch": 2, "stage": 1, "train_loss": 5.24, "gradient_norm": 2.84},
    {
        "epoch": 30,
        "stage": 1,
        "train_loss": 8.28 / 19.73,
        "val_loss": 8.28,
        "val_wer": 89.0,
        "blank_ratio": 95.65,
        "unique_nonblank": 132,
        "overfit_ratio": 19.73,
    },
    {
        "epoch": 55,
        "stage": 2,
        "train_loss": 10.59 / 67.29,
        "val_loss": 10.59,
        "val_wer": 87.0,
        "blank_ratio": 95.66,
        "unique_nonblank": 162,
        "overfit_ratio": 67.29,
    },
]

RUN_ROW: dict[str, Any] = {
    "kind": "run",
    "plateau_loss": 4.2,
    "config": {
        "model": {"name": "hierarchical_bilstm", "temporal_conv": False, "subsampling": 1},
        "batch_size": 16,
        "phases": {"main": {"epochs": 40}},
        "data": {"train": "train.h5", "dev": "dev.h5", "normalize": "none"},
    },
    "remedies": [
        {"ailment": "plateau", "change": "--set model.temporal_conv=true", "why": "measured", "source": "a page"},
        {"ailment": "overfit", "change": "--set model.hidden_size=64", "why": "smaller", "source": "a page"},
        {"ailment": "plateau", "change": "--set model.auxiliary_weight=1", "why": "measured", "source": "a page"},
    ],
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["diagnose", *map(str, arguments)])


def history(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def epoch(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "kind": "epoch",
        "epoch": number,
        "phase": "main",
        "train_loss": 4.2,
        "train_eval_loss": 4.15,
        "train_wer": 100.0,
        "val_loss": 4.1,
        "val_wer": 100.0,
        "blank_ratio": 100.0,
        "raw_blank_ratio": 100.0,
        "blank_reference": 97.9,
        "deletion_rate": 100.0,
        "insertion_rate": 0.0,
        "length_ratio": 0.0,
        "unique_nonblank": 0,
        "label_coverage": 0.0,
        "overfit_ratio": 1.0,
        "plateau_loss": 4.2,
        "gradient_norm": 5.0,
        "learning_rate": 1e-3,
        "shift": -3.0,
        "domain": "logit",
        "dropout": None,
    }
    return {**row, **changes}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# AN4 words, subsampling 4, batch 8, 50 epochs, every third epoch from the one that left the plateau on: training
# loss, word errors, deletions; without the auxiliary head, and with it
SLOW = [
    (7, 3.99, 96.9, 87.6), (10, 3.67, 96.6, 83.2), (13, 3.45, 93.1, 76.0), (16, 3.38, 92.6, 72.4),
    (19, 3.13, 90.5, 71.3), (22, 2.96, 89.8, 67.6), (25, 2.92, 87.6, 65.5), (28, 2.60, 85.2, 59.8),
    (31, 2.44, 80.2, 57.6), (34, 2.32, 78.2, 53.7), (37, 2.24, 77.1, 50.8), (40, 2.12, 75.0, 49.8),
    (43, 2.06, 72.7, 49.0), (46, 2.02, 72.6, 48.9), (49, 1.97, 72.9, 49.5),
]  # fmt: skip
QUICK = [
    (4, 3.88, 96.6, 91.9), (7, 3.47, 92.3, 73.7), (10, 3.34, 88.9, 72.3), (13, 2.92, 87.4, 71.5),
    (16, 2.42, 84.4, 71.8), (19, 1.55, 56.1, 37.9), (22, 0.90, 36.3, 20.0), (25, 0.62, 29.0, 14.8),
    (28, 0.44, 26.0, 11.5), (31, 0.37, 28.1, 14.8), (34, 0.29, 22.4, 7.1), (40, 0.26, 22.3, 9.0),
    (49, 0.19, 19.5, 7.6),
]  # fmt: skip
AN4_CONFIG = {
    "model": {"name": "hierarchical_bilstm", "temporal_conv": True, "subsampling": 4, "auxiliary_weight": 0.0},
    "batch_size": 8,
    "phases": {"warmup": {"epochs": 5}, "exploration": {"epochs": 20}, "rest": {"epochs": 25}},
    "data": {"train": "train.h5", "dev": "dev.h5", "normalize": "clip_mean"},
}


def an4(folder: Path, figures: list[tuple[int, float, float, float]], until: int = 50, **config: Any) -> Path:
    """A history with the epochs between those of ``figures`` filled in on straight lines."""
    first = figures[0][0]
    rows = [epoch(n, shift=0.0, blank_reference=91.6) for n in range(1, first)]
    for (a, *start), (b, *end) in itertools.pairwise([*figures, (until + 1, *figures[-1][1:])]):
        for n in range(a, b):
            loss, errors, deletions = (x + (y - x) * (n - a) / (b - a) for x, y in zip(start, end, strict=True))
            values = {"train_eval_loss": loss, "val_wer": errors, "deletion_rate": deletions, "blank_ratio": 95.3}
            values["label_coverage"] = 100.0 - deletions
            rows.append(epoch(n, train_wer=errors, insertion_rate=1.0, shift=0.0, blank_reference=91.6, **values))
    kept = [row for row in rows if row["epoch"] <= until]
    remedies = config.pop("remedies", RUN_ROW["remedies"])
    return history(folder, [{**RUN_ROW, "config": {**AN4_CONFIG, **config}, "remedies": remedies}, *kept])
