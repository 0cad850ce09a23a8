"""What training does to a batch before the model sees it: cropping, repeating, time masking."""

from __future__ import annotations

from dataclasses import replace

import torch

from ctckit import ops
from ctckit.interfaces import Model
from ctckit.recipe import Phase
from ctckit.types import Batch


def augment(
    batch: Batch, settings: Phase, model: Model, *, max_frames: int | None, views: int
) -> tuple[Batch, int]:
    """Crop, repeat and mask a batch as a phase says.

    Args:
        batch: as it was loaded.
        settings: of the phase.
        model: whose length map says how far clips may be cropped.
        max_frames: length to crop to, or None.
        views: how often each clip is to be seen.

    Returns:
        The batch, and how many clips were cropped.
    """
    cropped = 0
    if max_frames is not None:
        batch, cropped = crop(batch, max_frames, model)
    if views > 1:
        batch = repeat(batch, views)
    if settings.time_mask_prob:
        batch = mask_time(batch, settings.time_mask_prob, settings.time_mask_frames)
    return batch, cropped


def crop(batch: Batch, max_frames: int, model: Model) -> tuple[Batch, int]:
    """Cut clips to their first ``max_frames`` frames, except those that would lose their last CTC path.

    The labels stay whole although their frames may be gone, which is what makes cropping harmful; it is here
    because both strategies of the founding document name it (docs/founding-document.md 2.1, 3.3).

    Returns:
        The batch, and how many clips were cut.
    """
    cut_B = batch.lengths_B.clamp(max=max_frames)
    allowed_B = ops.feasible(batch.targets_BS, model.output_lengths(cut_B), batch.target_lengths_B)
    lengths_B = torch.where(allowed_B, cut_B, batch.lengths_B)
    cropped = int((lengths_B < batch.lengths_B).sum())
    if not cropped:
        return batch, 0
    features_BTF = batch.features_BTF[:, : int(lengths_B.max())].clone()
    beyond_BT = torch.arange(features_BTF.shape[1])[None] >= lengths_B[:, None]
    features_BTF[beyond_BT] = 0.0
    return replace(batch, features_BTF=features_BTF, lengths_B=lengths_B), cropped


def repeat(batch: Batch, times: int) -> Batch:
    """Repeat all clips, in order, so that each can be masked in several ways."""
    return Batch(
        clip_ids=batch.clip_ids * times,
        features_BTF=batch.features_BTF.repeat(times, 1, 1),
        lengths_B=batch.lengths_B.repeat(times),
        targets_BS=batch.targets_BS.repeat(times, 1),
        target_lengths_B=batch.target_lengths_B.repeat(times),
    )


def mask_time(batch: Batch, share: float, span: int) -> Batch:
    """Set spans of ``span`` frames to zero, ``share`` of the frames in expectation before overlaps.

    Zero is the mean of normalised features. Draws from torch's CPU generator, which checkpoints save.
    Source: SpecAugment (arXiv 1904.08779), with span starts drawn as in wav2vec 2.0 (arXiv 2006.11477).
    """
    batch_size, frames, _ = batch.features_BTF.shape
    starts_BT = torch.rand(batch_size, frames) < share / span
    masked_BT = starts_BT.clone()
    for offset in range(1, min(span, frames)):
        masked_BT[:, offset:] |= starts_BT[:, :-offset]
    return replace(batch, features_BTF=batch.features_BTF.masked_fill(masked_BT[:, :, None], 0.0))
