"""Which clips have a CTC path at all, by the model's own length map."""

from __future__ import annotations

import torch

from ctckit.data import Corpus, Infeasible, Targets
from ctckit.interfaces import Model


def infeasible_clips(model: Model, corpus: Corpus, targets: Targets) -> dict[int, Infeasible]:
    """Find the clips without a path, by number."""
    output_frames = model.output_lengths(torch.from_numpy(corpus.frame_counts)).numpy()
    return targets.infeasible(corpus.ids, corpus.frame_counts, output_frames)
