"""Alignment of clips that are too long for `ctckit.ops.align`, in memory that grows with the root of the frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ctckit.types import BLANK

Span = tuple[int, int]
"""First output frame of a label, and the frame after its last."""


def long_spans(logits_TC: Tensor, classes_U: Tensor, shift: float) -> list[Span] | None:
    """Return where the labels of a clip lie on its best path, the one of `ctckit.ops.align`; None if there is none.

    The scores of the 2 U + 1 states are kept of every sqrt(T)-th frame; the moves between two such frames are found
    anew when the path is traced back through them. So each frame is computed twice, in plain torch, and about
    17 sqrt(T) (2 U + 1) bytes are held instead of 8 T (2 U + 1).

    Args:
        logits_TC: of the clip's real frames.
        classes_U: of its transcript; none of them the blank.
        shift: on the blank, nats.
    """
    trellis = _Trellis(logits_TC, classes_U, shift)
    frames = len(logits_TC)
    block = max(math.isqrt(frames), 1)
    firsts = range(0, frames, block)
    kept = [trellis.begin()]
    for first in firsts:
        *_, (scores, _) = trellis.steps(kept[-1], first, min(first + block, frames))
        kept.append(scores)
    states = len(kept[-1])
    state = states - 1
    if len(classes_U) and float(kept[-1][-2]) >= float(kept[-1][-1]):
        state = states - 2
    if float(kept[-1][state]) == -math.inf:
        return None
    starts, ends = [0] * len(classes_U), [0] * len(classes_U)
    for first, scores in zip(reversed(firsts), reversed(kept[:-1]), strict=True):
        last = min(first + block, frames)
        moves = torch.stack([move for _, move in trellis.steps(scores, first, last)]).cpu()
        for frame in range(last - 1, first - 1, -1):
            label, within = divmod(state, 2)
            if within:
                starts[label] = frame
                ends[label] = max(ends[label], frame + 1)
            state -= int(moves[frame - first, state])
    return list(zip(starts, ends, strict=True))


class _Trellis:
    """The states of a transcript: a blank before, between and after the labels."""

    def __init__(self, logits_TC: Tensor, classes_U: Tensor, shift: float) -> None:
        self._logits_TC = logits_TC
        self._shift = shift
        self._classes = classes_U.new_full((2 * len(classes_U) + 1,), BLANK)
        self._classes[1::2] = classes_U
        # what a skip costs: nothing into a label that differs from the one before
        self._barrier = self.begin().fill_(-math.inf)
        self._barrier[3::2] = torch.where(classes_U[1:] == classes_U[:-1], -math.inf, 0.0).double()

    def begin(self) -> Tensor:
        """Scores before the first frame, which may enter the first two states."""
        scores = torch.full((len(self._classes),), -math.inf, dtype=torch.float64, device=self._classes.device)
        scores[0] = 0.0
        return scores

    def steps(self, scores: Tensor, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for each frame, the score of each state and by how many states the best path into it has moved.

        Of equally good predecessors the nearest is taken.
        """
        emissions = self._logits_TC[first:last][:, self._classes].double()
        emissions[:, ::2] += self._shift
        padded = scores.new_full((len(scores) + 2,), -math.inf)
        for emission in emissions:
            padded[2:] = scores
            step, skip = padded[1:-1], padded[:-2] + self._barrier
            near = torch.maximum(scores, step)
            scores = torch.maximum(near, skip) + emission
            yield scores, torch.where(skip > near, 2, (step > padded[2:]).long()).to(torch.uint8)


def cut(spans: list[Span], frames: int, most: int) -> list[tuple[slice, slice]]:
    """Part a clip between labels, in the middle of what lies between them, into pieces of bounded size.

    Args:
        spans: of the labels on a path.
        frames: of the clip.
        most: frames times labels of a piece, where one label has no more by itself.

    Returns:
        Frames and labels of each piece, in order; the path goes through every piece's labels within its frames.
    """
    middles = [(end + start) // 2 for (_, end), (start, _) in pairwise(spans)]
    pieces: list[tuple[slice, slice]] = []
    frame, label = 0, 0
    for number, (middle, following) in enumerate(zip(middles, [*middles, frames][1:], strict=True), 1):
        if (following - frame) * (number + 1 - label) > most:
            pieces.append((slice(frame, middle), slice(label, number)))
            frame, label = middle, number
    return [*pieces, (slice(frame, frames), slice(label, len(spans)))]
