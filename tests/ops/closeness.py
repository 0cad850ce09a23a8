"""The rule for right: a kernel's error against float64 is at most the reference's own, plus a tolerance.

The tolerance is what the kernel's own arithmetic explains, in three parts.

1. Rounding of the result, relative to it and to ``scale``: how many terms of size 1 were summed on the way (an
   exponential or a logarithm is good to some 1e-7 in float32). ``_RESULT`` has a few units in the last place of
   each type.
2. Cancellation. A log-probability is ``(logit + shift - maximum) - log(sum)``: each step rounds a number as large
   as the logits, whatever is left of it at the end. A rounding costs at most ``unit * magnitude``, and there are
   ``_ROUNDINGS`` of them: shift added, maximum subtracted, logarithm subtracted, and the same number once more
   where it serves as maximum. ``magnitude`` is `magnitude_of` the problem, times the frames where they are summed.
3. The truth's own error. It is float64, not exact, and where the kernel is float64 too nothing else is left: sums
   over frames round at ``unit(float64) * summed``, ``summed`` being the largest partial sum times how many follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RESULT = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}
_UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}
_ROUNDINGS = 4


def magnitude_of(logits: Tensor, shift: float = 0.0) -> float:
    """The largest finite number that the kernels meet before any result: a logit, shifted."""
    finite = logits.double().masked_fill(~torch.isfinite(logits), 0.0)
    return (float(finite.abs().amax()) if logits.numel() else 0.0) + abs(shift)


def assert_right(
    name: str,
    kernel: Tensor,
    reference: Tensor,
    truth: Tensor,
    *,
    scale: float = 1.0,
    magnitude: float = 0.0,
    summed: float = 0.0,
) -> None:
    """``reference`` is the reference on the kernel's own input, ``truth`` the reference in float64."""
    if not kernel.dtype.is_floating_point:
        assert torch.equal(kernel, truth), f"{name}: {kernel} is not {truth}"
        return
    assert kernel.shape == truth.shape, name
    special = ~torch.isfinite(truth)
    assert torch.equal(kernel[special].double(), truth[special]), (
        f"{name}: {kernel[special]} is not {truth[special]}"
    )
    # Beyond the largest number of its type a result is infinite; on which side of that edge it falls is rounding.
    edge = torch.finfo(kernel.dtype).max
    got, own, want = (
        values.double().masked_fill(special, 0.0).clamp(-edge, edge) for values in (kernel, reference, truth)
    )
    working = _UNIT.get(kernel.dtype, _UNIT[torch.float32])
    allowed = (own - want).abs() + _RESULT[kernel.dtype] * (scale + want.abs())
    allowed += _ROUNDINGS * (working * magnitude + _UNIT[torch.float64] * (magnitude + summed))
    worst = ((got - want).abs() - allowed).max().item() if got.numel() else 0.0
    assert worst <= 0, f"{name}: off by {worst:.2e} more than allowed"
