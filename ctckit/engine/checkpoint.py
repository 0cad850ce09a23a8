"""Checkpoints: written whole or not at all, read strictly, never executing code."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ctckit.errors import CheckpointError
from ctckit.files import atomic

FORMAT = 2
"""Raised when the layout changes; an older ctckit then says so instead of guessing."""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: where it ends up.
        state: tensors and plain values.

    Raises:
        CheckpointError: the disk is full or not writable; an earlier checkpoint is untouched.
    """
    with atomic(path, CheckpointError) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Raises:
        CheckpointError: missing, truncated, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint; it is damaged, or of another program") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path}: not a checkpoint of ctckit")
    found = state.pop("format")
    if found == 1:
        raise CheckpointError(f"{path}: was written by an earlier ctckit, whose checkpoints lack state; train anew")
    if found != FORMAT:
        raise CheckpointError(
            f"{path}: not format {FORMAT}, which this ctckit reads; use the version that wrote it"
        )
    return state


def change_checkpoint(path: Path, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Replace entries of a checkpoint by what ``change`` returns for it; the file is replaced whole or not at all.

    Raises:
        CheckpointError: it cannot be read or written.
    """
    state = load_checkpoint(path)
    save_checkpoint(path, {**state, **change(state)})
