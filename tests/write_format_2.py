"""Writes the stored run that ``test_state.py`` resumes; run once, with the code of commit 116b8ed.

    git archive 116b8ed | tar x -C OLD
    PYTHONPATH=OLD:OLD/plugins python tests/write_format_2.py tests/engine/format_2

It trains a tiny run whole and keeps its history, then once more, interrupted between two steps of its second
phase, and keeps history and last checkpoint of that.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ctckit.assemble import assemble
from ctckit.config import nest, resolve
from ctckit.data import CorpusWriter
from ctckit.engine.loop import fit
from ctckit.plugin_host import load_plugins

PLUGINS = ("hierarchical_fixed", "cures")

SETTINGS: dict[str, Any] = {
    "data.train": "train.h5",  # relative, so that the configuration says the same everywhere
    "data.dev": "dev.h5",
    "model.hidden_size": 2,
    "batch_size": 4,
    "phases.*.epochs": 2,
    "phases.*.penalty": {"name": "blank_mass_controller", "target": 0.1},
    "phases.*.regularizers": [{"name": "path_entropy"}],
    "phases.*.time_mask_prob": 0.1,
    "monitors": [
        {"name": "success_table"},
        {
            "name": "conditional_clipping",
            "val_loss_below": 99.0,
            "overfit_ratio_above": 0.1,
            "max_frames": 9,
            "phases": ["exploration"],
        },
    ],
}

STOP_AFTER = 11
"""Optimiser steps of the interrupted run: 3 make an epoch, so this is within the second of the second phase."""


def write_corpora(folder: Path) -> None:
    """Write clips of small fractions, exact in float32 and drawn from nowhere, so that they never change."""
    for name, count in (("train", 12), ("dev", 4)):
        with CorpusWriter(folder / f"{name}.h5", 3, dtype="float32") as writer:
            for clip in range(count):
                labels = ["ab"[(clip + place) % 2] for place in range(1 + clip % 3)]
                values = np.arange(3 * (8 + clip % 4)) * (7 + clip) % 31
                writer.add(f"{name}-{clip}", (values / 16).astype(np.float32).reshape(-1, 3), labels)


class Display:
    """Interrupts after some steps, says nothing."""

    def __init__(self, stop_after: int | None) -> None:
        self.stop_after = stop_after

    def step(self, result: Any) -> None:
        """Stop as Ctrl-C would."""
        if result.at.update + 1 == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    def epoch(self, result: Any, best: bool) -> None:
        """Say nothing."""

    def finding(self, finding: Any, action: Any) -> None:
        """Say nothing."""


def train(folder: Path, stop_after: int | None = None) -> None:
    """Train the run whose corpora lie in the working directory."""
    folder.mkdir()
    registry, sources = load_plugins(PLUGINS)
    config = resolve(registry.recipes["hierarchical_fixed"].value, [("stored", nest(SETTINGS))])
    run = assemble(config, registry, sources, folder, torch.device("cpu")).run
    fit(run, Display(stop_after))


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    torch.set_num_threads(1)
    with TemporaryDirectory() as work:
        os.chdir(work)
        write_corpora(Path())
        train(Path("whole"))
        train(Path("parts"), STOP_AFTER)
        shutil.copy("whole/history.jsonl", target / "whole.jsonl")
        shutil.copy("parts/history.jsonl", target / "history.jsonl")
        shutil.copy("parts/checkpoints/last.pt", target / "last.checkpoint")
