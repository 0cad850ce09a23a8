"""Which frames are real, and logits without what stands in padding."""

from __future__ import annotations

import torch
from torch import Tensor

from ctckit import Emissions


def clean(logits_TBC: Tensor, real_TB: Tensor) -> Tensor:
    """Return logits in float32 or better, zero in padding: what is there must not be heard, not even as a NaN."""
    logits_TBC = logits_TBC.to(torch.promote_types(logits_TBC.dtype, torch.float32))
    return logits_TBC.masked_fill(~real_TB[..., None], 0.0)


def real_frames(emissions: Emissions) -> Tensor:
    """Return ``[T, B]``, true within each clip."""
    frames = torch.arange(len(emissions.logits_TBC), device=emissions.lengths_B.device)
    return frames[:, None] < emissions.lengths_B[None]
