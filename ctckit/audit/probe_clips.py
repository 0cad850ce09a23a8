"""Which clips the probes work on, chosen by length and transcript alone, so that no feature is read for it.

All come longest first, which is the order in which a batch holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ctckit.data import Targets

Indices = npt.NDArray[np.int64]

BATCH: Final = 8
"""Clips of the batch that is to be learnt by heart."""

KNOWN: Final = 128
"""Clips to train on: enough to generalise from, few enough to be learnt by heart within minutes."""

PAIRS: Final = 128
FEWEST_PAIRS: Final = 8
"""Below it a mean difference has no standard error worth the name."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """What is known of the clips of a corpus without their features.

    Attributes:
        frames: int64 [N], input frames.
        output_frames: int64 [N], by the model's own length map.
        targets: labels.
    """

    frames: Indices
    output_frames: Indices
    targets: Targets

    def usable(self) -> Indices:
        """Clips that have labels and a path, shortest first."""
        needed = self.targets.needed_frames
        order = np.argsort(self.frames, kind="stable")
        return order[(needed[order] > 0) & (needed[order] <= self.output_frames[order])]


def one_batch(lengths: Lengths) -> Indices:
    """Choose clips for learning by heart: short, not the shortest, with distinct transcripts of two labels or more.

    Each clip's labels have a path in the shortest of them too, so that features can be exchanged. May be empty.
    """
    usable = lengths.usable()
    long_enough = usable[lengths.targets.lengths[usable] >= 2]
    if len({lengths.targets[index].tobytes() for index in long_enough}) > 1:
        usable = long_enough
    # the shortest quarter of a corpus is where cut and mislabelled clips gather
    ordered = usable[len(usable) // 4 :]
    chosen: dict[bytes, int] = {}
    for index in ordered.tolist():
        if lengths.targets.needed_frames[index] <= lengths.output_frames[ordered[0]]:
            chosen.setdefault(lengths.targets[index].tobytes(), index)
        if len(chosen) == BATCH:
            break
    return np.array(list(chosen.values())[::-1], dtype=np.int64)


def known_clips(lengths: Lengths, most: int) -> Indices:
    """Choose clips to train on: at most ``most`` and at most half, none of the longest quarter."""
    usable = lengths.usable()
    usable = usable[: max(3 * len(usable) // 4, 2)]
    return _spread(usable, min(most, KNOWN, len(usable) // 2))[::-1]


def pairs(lengths: Lengths, known: Indices, vocabulary: frozenset[int], most: int) -> Indices:
    """Choose pairs of clips as long as each other, with different transcripts, each with a path in either clip.

    Args:
        lengths: of the corpus.
        known: clips of it that are not to be chosen.
        vocabulary: classes that the clips trained on hold; clips with others are left out, as they tell nothing.
        most: clips in all.

    Returns:
        int64 [2P]; clips 2k and 2k + 1 are a pair.
    """
    taken = set(known.tolist())
    needed, out = lengths.targets.needed_frames, lengths.output_frames
    candidates = [
        index
        for index in lengths.usable().tolist()
        if index not in taken and vocabulary.issuperset(lengths.targets[index].tolist())
    ]
    found: list[tuple[int, int]] = []
    at = 0
    while at + 1 < len(candidates):
        a, b = candidates[at : at + 2]
        near = out[b] - out[a] <= max(1, out[a] // 20)
        differ = not np.array_equal(lengths.targets[a], lengths.targets[b])
        if near and differ and max(needed[a], needed[b]) <= min(out[a], out[b]):
            found.append((b, a))
            at += 1
        at += 1
    return _spread(np.array(found, dtype=np.int64).reshape(-1, 2), min(PAIRS, most // 2))[::-1].reshape(-1)


def batches_of(indices: Indices, frames: Indices, batch_size: int, max_batch_frames: int | None) -> list[Indices]:
    """Cut clips, longest first, into batches of an even number of clips within the limits of the run."""
    batches: list[Indices] = []
    start = 0
    while start < len(indices):
        size = max(batch_size // 2 * 2, 2)
        if max_batch_frames is not None:
            while size > 2 and size * int(frames[indices[start]]) > max_batch_frames:
                size -= 2
        batches.append(indices[start : start + size])
        start += size
    return batches


def _spread(indices: Indices, count: int) -> Indices:
    if not len(indices) or count < 1:
        return indices[:0]
    return indices[np.unique(np.linspace(0, len(indices) - 1, count).round().astype(np.int64))]
