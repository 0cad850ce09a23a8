"""Which clips have a CTC path at all, by the model's own length map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from ctckit.interfaces import Model


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A clip that is too short for its labels.

    Attributes:
        clip_id: the clip.
        frames: input frames.
        output_frames: frames after the model's subsampling.
        labels: length of the target.
        repeats: adjacent equal labels, each of which needs a blank between.
    """

    clip_id: str
    frames: int
    output_frames: int
    labels: int
    repeats: int

    def __str__(self) -> str:
        return (
            f"clip '{self.clip_id}' has no CTC path: T={self.output_frames} output frames "
            f"(of {self.frames}), U={self.labels} labels, {self.repeats} repeats, and T >= U + repeats must hold"
        )


def infeasible_clips(
    model: Model, clip_ids: Sequence[str], frame_counts: Sequence[int], targets: Sequence[Sequence[int]]
) -> dict[int, Infeasible]:
    """Find the clips without a path, by index.

    A path exists iff the output has at least as many frames as the target has labels plus adjacent repeats.
    Other toolkits use ``T >= U``, ``T >= 2U + 1`` or the length before subsampling; all three are wrong.
    """
    output_frames = model.output_lengths(torch.tensor(list(frame_counts), dtype=torch.int64)).tolist()
    found = {}
    for index, (clip_id, frames, out_frames, target) in enumerate(
        zip(clip_ids, frame_counts, output_frames, targets, strict=True)
    ):
        labels = list(target)
        repeats = sum(a == b for a, b in pairwise(labels))
        if out_frames < len(labels) + repeats:
            found[index] = Infeasible(clip_id, int(frames), int(out_frames), len(labels), repeats)
    return found
