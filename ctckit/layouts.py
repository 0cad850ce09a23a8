"""What somebody else's loop calls a batch, laid out as ctckit has it: frames first, blank at 0, targets padded.

Every other habit is either converted or refused with what to give instead; none is taken for another in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ctckit.errors import DataError
from ctckit.types import BLANK, TARGET_PADDING, Batch

Lengths: TypeAlias = Tensor | Sequence[int] | None
"""Frames of each clip, or None where every frame is real."""

Labels: TypeAlias = Tensor | Sequence[Any]
"""Labels of each clip: a list of sequences; a padded tensor ``[B, S]``; or all of them in one row, as
``torch.nn.CTCLoss`` takes them, with their lengths."""

ROUNDING = 1e-3
"""How far from 1 the sum of a frame's probabilities may be, in half precision."""


def class_names(tokens: Sequence[str] | Mapping[str, int], blank: int) -> list[str]:
    """Return the name of each class.

    Args:
        tokens: by class, or the class of each, as a tokenizer's vocabulary has it.
        blank: index of the blank; its name is never emitted.

    Raises:
        DataError: there is no name for a class, or two classes have one.
    """
    if isinstance(tokens, str):
        raise DataError("tokens: one string; give a list with the name of each class, blank included")
    if isinstance(tokens, Mapping):
        names = {number: str(name) for name, number in tokens.items()}
        if len(names) != len(tokens) or sorted(names) != list(range(len(names))):
            raise DataError(
                "tokens: a vocabulary that does not number its tokens 0, 1, 2 ...; give a list of names"
            )
        tokens = [names[number] for number in range(len(names))]
    listed = [str(token) for token in tokens]
    index_of_blank(blank, len(listed))
    labels = [name for number, name in enumerate(listed) if number != blank % len(listed)]
    twice = (
        next((name for name in labels if labels.count(name) > 1), None) if len(set(labels)) < len(labels) else None
    )
    if twice is not None:
        raise DataError(f"tokens: '{twice}' is the name of two classes; errors could not be counted")
    return listed


def index_of_blank(blank: int, classes: int) -> int:
    """Return the blank counted from the first class; -1 is the last.

    Raises:
        DataError: there is no such class.
    """
    if isinstance(blank, bool) or not isinstance(blank, int) or not -classes <= blank < classes:
        raise DataError(f"blank: {blank!r} is none of {classes} classes, counted from 0")
    return blank % classes


def label_lists(targets: Labels, lengths: Lengths = None, blank: int | None = None) -> list[list[int]]:
    """Return the labels of each clip, without padding: negative ones, and blanks at the end of a tensor's row.

    Args:
        targets: in any of the forms of ``Labels``.
        lengths: labels of each clip, where the targets do not tell.
        blank: index of the blank, where it is known; no label is one, so that a row that ends in it is padded.

    Raises:
        DataError: they are no labels, or the lengths do not fit.
    """
    counts = None if lengths is None else whole_numbers(lengths, "target lengths")
    if isinstance(targets, (Tensor, np.ndarray)):
        numbers = torch.as_tensor(targets).detach().cpu()
        if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype is torch.bool:
            raise DataError(f"targets: {numbers.dtype}; give class numbers")
        if numbers.dim() == 1 and counts is not None:
            if sum(counts) != len(numbers):
                raise DataError(f"targets: {len(numbers)} labels in a row, target lengths of {sum(counts)} in all")
            return [part.tolist() for part in torch.split(numbers, counts)]
        if numbers.dim() != 2:
            raise DataError(
                f"targets: shape {tuple(numbers.shape)}; give [B, S], a list a clip, or a row with target lengths"
            )
        rows = numbers.tolist()
        if counts is None and blank is not None:
            rows = [_without_padding(row, blank) for row in rows]
    else:
        rows = [_row(row, number) for number, row in enumerate(targets)]
    if counts is not None:
        if len(counts) != len(rows) or any(count > len(row) for count, row in zip(counts, rows, strict=True)):
            raise DataError("target lengths: not one for each clip, or beyond its labels")
        rows = [row[:count] for count, row in zip(counts, rows, strict=True)]
    return [[label for label in row if label >= 0] for row in rows]


def renumbered(
    rows: Sequence[Sequence[int]], blank: int, classes: int | None, names: Sequence[str]
) -> list[list[int]]:
    """Number labels as where the blank is class 0 and the others keep their order.

    Args:
        rows: labels of each clip.
        blank: index of the blank among them.
        classes: how many there are, if that is known.
        names: of the clips, for messages.

    Raises:
        DataError: a label is the blank, or no class.
    """
    for name, row in zip(names, rows, strict=True):
        bad = next((label for label in row if label == blank or (classes is not None and label >= classes)), None)
        if bad is not None:
            kind = "the blank" if bad == blank else f"none of {classes} classes"
            raise DataError(f"targets: clip {name} has label {bad}, which is {kind}")
    return [[label + (label < blank) for label in row] for row in rows]


def _row(row: Any, number: int) -> list[int]:
    values = row.tolist() if isinstance(row, (Tensor, np.ndarray)) else row
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise DataError(f"targets: clip {number} is {row!r}; give its labels as a list of class numbers")
    if not all(isinstance(label, (int, np.integer)) and not isinstance(label, bool) for label in values):
        raise DataError(f"targets: clip {number} holds something else than class numbers: {values!r}")
    return [int(label) for label in values]


def whole_numbers(lengths: Tensor | Sequence[int], name: str) -> list[int]:
    """Return lengths as plain numbers.

    Raises:
        DataError: they are no whole numbers, or below 0.
    """
    values = lengths.detach().cpu() if isinstance(lengths, Tensor) else torch.as_tensor(list(lengths))
    if values.numel() and (values.is_floating_point() or values.dtype is torch.bool):
        raise DataError(f"{name}: {values.dtype}; give whole numbers (a share of the longest: multiply by it)")
    if values.dim() != 1 or bool((values < 0).any()):
        raise DataError(f"{name}: shape {tuple(values.shape)}; give one number a clip, none below 0")
    found: list[int] = values.long().tolist()
    return found


def laid_out(
    logits: Tensor,
    lengths: Lengths,
    targets: Labels,
    target_lengths: Lengths,
    *,
    blank: int,
    batch_first: bool,
    clip_ids: Sequence[str],
) -> tuple[Tensor, Batch]:
    """Lay out a batch, detached.

    Args:
        logits: ``[T, B, C]`` or batch first; log-probabilities are logits too, as their softmax is themselves.
        lengths: frames of each clip in them.
        targets: labels of each clip, as the loop numbers classes.
        target_lengths: of each clip, where the targets do not tell.
        blank: index of the blank.
        batch_first: whether logits are ``[B, T, C]``.
        clip_ids: one a clip, for messages.

    Returns:
        Logits ``[T, B, C]`` with the blank at 0, and the batch; what goes into it are the logits themselves, so
        that times of decoded tokens are in their frames.

    Raises:
        DataError: something does not fit; says what.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 3 or not logits.is_floating_point():
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"logits: {shape}; give a floating-point tensor [{'B, T' if batch_first else 'T, B'}, C]")
    logits_TBC = logits.detach().transpose(0, 1) if batch_first else logits.detach()
    frames, clips, classes = logits_TBC.shape
    other = "" if batch_first else " (batch_first=True, if the clips come first)"
    counts = [frames] * clips if lengths is None else whole_numbers(lengths, "lengths")
    if len(counts) != clips:
        raise DataError(f"lengths: {len(counts)} for {clips} clips{other}")
    if max(counts, default=0) > frames:
        raise DataError(f"lengths: {max(counts)} frames in logits of {frames}; give output frames{other}")
    if len(clip_ids) != clips:
        raise DataError(f"clip ids: {len(clip_ids)} for {clips} clips{other}")
    where = index_of_blank(blank, classes)
    rows = label_lists(targets, target_lengths, where)
    if len(rows) != clips:
        raise DataError(f"targets: of {len(rows)} clips, the logits have {clips}{other}")
    rows = renumbered(rows, where, classes, clip_ids)
    if frames and counts and _are_probabilities(logits_TBC[: counts[0], 0]):
        raise DataError("logits: these are probabilities; give what goes into the softmax, or their logarithms")
    if where != BLANK:
        order = [where, *(number for number in range(classes) if number != where)]
        logits_TBC = logits_TBC[:, :, order]
    targets_BS = torch.full((clips, max(map(len, rows), default=0)), TARGET_PADDING)
    for target_S, row in zip(targets_BS, rows, strict=True):
        target_S[: len(row)] = torch.tensor(row, dtype=torch.int64)
    batch = Batch(
        clip_ids=tuple(clip_ids),
        features_BTF=logits_TBC.transpose(0, 1),
        lengths_B=torch.tensor(counts, device=logits.device),
        targets_BS=targets_BS.to(logits.device),
        target_lengths_B=torch.tensor([len(row) for row in rows], device=logits.device),
    )
    return logits_TBC, batch


def _without_padding(row: list[int], blank: int) -> list[int]:
    end = len(row)
    while end and row[end - 1] == blank:
        end -= 1
    return row[:end]


def _are_probabilities(frames_TC: Tensor) -> bool:
    if not len(frames_TC):
        return False
    frames_TC = frames_TC.float()
    return bool((frames_TC >= 0).all()) and bool(((frames_TC.sum(-1) - 1.0).abs() < ROUNDING).all())
