"""What training does to a batch before the model sees it: cropping on the host, then repeating and masking."""

from __future__ import annotations

from dataclasses import replace

import torch

from ctckit import ops
from ctckit.interfaces import Model
from ctckit.recipe import Phase
from ctckit.types import Batch


def augment(batch: Batch, settings: Phase, *, views: int) -> Batch:
    """Repeat and mask a batch as a phase says, where it lies: after its copy to the device.

    Args:
        batch: cropped and copied.
        settings: of the phase.
        views: how often each clip is to be seen.
    """
    if views > 1:
        batch = repeat(batch, views)
    if settings.time_mask_prob:
        batch = mask_time(batch, settings.time_mask_prob, settings.time_mask_frames)
    return batch


def crop(batch: Batch, max_frames: int, model: Model) -> tuple[Batch, int]:
    """Cut clips to their first ``max_frames`` frames, except those that would lose their last CTC path.

    The labels stay whole although their frames may be gone, which is what makes cropping harmful; it is here
    because both strategies of the founding document name it (docs/founding-document.md 2.1, 3.3). Works on the
    host, where asking for lengths waits for nothing; what was pinned is pinned again.

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
    if batch.features_BTF.is_pinned():
        features_BTF, lengths_B = features_BTF.pin_memory(), lengths_B.pin_memory()
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
    device = batch.features_BTF.device
    if device.type == "cuda":  # from pinned memory, so that nobody waits for the copy
        masked_BT = masked_BT.pin_memory().to(device, non_blocking=True)
    return replace(batch, features_BTF=batch.features_BTF.masked_fill(masked_BT[:, :, None], 0.0))
