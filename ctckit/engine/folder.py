"""What lies where in the folder of a run, beside its history."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = "checkpoints"


def checkpoint_in(run: Path, name: str) -> Path:
    """Return the path of the checkpoint ``best``, ``last`` or ``interrupted`` in the folder of a run."""
    return run / CHECKPOINTS / f"{name}.pt"


def run_of(checkpoint: Path) -> Path:
    """Return the folder of the run that a checkpoint, or an export beside its history, belongs to."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == CHECKPOINTS else folder
