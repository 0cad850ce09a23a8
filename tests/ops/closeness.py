"""The rule for right: a kernel's error against float64 is at most the reference's own, plus a tolerance."""

from __future__ import annotations

import torch
from torch import Tensor

# Relative rounding of the types that results are returned in.
_ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def assert_right(name: str, kernel: Tensor, reference: Tensor, truth: Tensor, scale: float = 1.0) -> None:
    """``reference`` is the reference on the kernel's own input, ``truth`` the reference in float64."""
    if not kernel.dtype.is_floating_point:
        assert torch.equal(kernel, truth), f"{name}: {kernel} is not {truth}"
        return
    assert kernel.shape == truth.shape, name
    rounded = truth.to(kernel.dtype)  # what float16 cannot hold is infinite there
    special = ~torch.isfinite(rounded)
    assert torch.equal(kernel[special], rounded[special]), f"{name}: {kernel[special]} is not {truth[special]}"
    got, want = kernel.double().masked_fill(special, 0), truth.masked_fill(special, 0)
    own = (reference.double().masked_fill(special, 0) - want).abs()
    allowed = own + _ROUNDING[kernel.dtype] * (scale + want.abs())
    worst = ((got - want).abs() - allowed).max().item() if got.numel() else 0.0
    assert worst <= 0, f"{name}: off by {worst:.2e} more than allowed"
