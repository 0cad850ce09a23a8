"""Logits without what stands in padding."""

from __future__ import annotations

import torch
from torch import Tensor


def clean(logits_TBC: Tensor, real_TB: Tensor) -> Tensor:
    """Return logits in float32 or better, zero in padding: what is there must not be heard, not even as a NaN."""
    logits_TBC = logits_TBC.to(torch.promote_types(logits_TBC.dtype, torch.float32))
    return logits_TBC.masked_fill(~real_TB[..., None], 0.0)
