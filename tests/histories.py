"""Small histories to make reports from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PLATEAU = 4.31


def run_row(**changes: Any) -> dict[str, Any]:
    row = {
        "kind": "run",
        "ctckit": "0.1.0",
        "plateau_loss": PLATEAU,
        "config": {
            "recipe": "toy",
            "phases": {"warmup": {"epochs": 2}, "main_phase": {"epochs": 4}},
            "gradient_clip": 5.0,
            "target_wer": 30.0,
        },
        "dropped": [],
    }
    return {**row, **changes}


def epoch_row(epoch: int, loss: float | None, errors: tuple[int, int, int], **changes: Any) -> dict[str, Any]:
    """A row as the training loop writes it; ``errors`` are S, D, I of 1000 reference tokens."""
    substitutions, deletions, insertions = errors
    row = {
        "kind": "epoch",
        "epoch": epoch,
        "phase": "warmup" if epoch <= 2 else "main_phase",
        "phase_epoch": epoch if epoch <= 2 else epoch - 2,
        "update": 10 * epoch,
        "frames": 1000 * epoch,
        "train_loss": loss,
        "train_eval_loss": loss,
        "train_wer": 50.0,
        "val_loss": loss,
        "val_wer": sum(errors) / 10.0,
        "blank_ratio": 92.0,
        "raw_blank_ratio": 92.0,
        "blank_reference": 91.0,
        "blank_mass": 0.9,
        "unique_nonblank": 17,
        "label_coverage": 60.0,
        "overfit_ratio": 1.2,
        "substitutions": substitutions,
        "deletions": deletions,
        "insertions": insertions,
        "reference_tokens": 1000,
        "deletion_rate": deletions / 10.0,
        "insertion_rate": insertions / 10.0,
        "length_ratio": (1000 - deletions + insertions) / 1000.0,
        "empty_share": 3.0,
        "sentence_error_rate": 80.0,
        "infeasible": 0,
        "plateau_loss": PLATEAU,
        "on_plateau": loss is None or loss >= 0.97 * PLATEAU,
        "collapsed": deletions >= 900,
        "gradient_norm": 1.5,
        "learning_rate": 1e-3,
        "shift": -0.5,
        "domain": "path",
        "dropout": 0.1,
        "max_frames": None,
        "cropped": 0,
        "frame_head_loss": loss,
        "seconds": 30.0,
    }
    return {**row, **changes}


def end_row(reason: str, epoch: int) -> dict[str, Any]:
    return {"kind": "end", "reason": reason, "epoch": epoch}


def finding(**changes: Any) -> dict[str, Any]:
    row = {
        "rule": "loss_stalls",
        "severity": "warning",
        "message": "dev loss stalls",
        "evidence": {"val_loss": 4.0},
        "advice": "wait",
        "source": "docs/founding-document.md 5.2",
    }
    return {**row, **changes}


SILENT = (0, 990, 0)
LEFT = [
    run_row(),
    epoch_row(1, 4.40, SILENT),
    epoch_row(2, 4.30, SILENT),
    epoch_row(3, 4.02, (100, 700, 20)),
    epoch_row(4, 2.50, (121, 140, 51)),
    epoch_row(5, 2.00, (130, 150, 60)),
    epoch_row(6, 1.90, (140, 150, 60)),
    end_row("finished", 6),
]
"""A run that leaves the plateau in epoch 3 and is best in epoch 4."""


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "history.jsonl").write_text(text, encoding="utf-8")
    return folder
