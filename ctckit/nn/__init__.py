"""The CTC loss as a module, in the place of ``torch.nn.CTCLoss``."""

from __future__ import annotations

import torch
from torch import Tensor

from ctckit.nn import functional
from ctckit.types import BLANK, Domain

__all__ = ["CTCLoss", "functional"]


class CTCLoss(torch.nn.Module):
    """``torch.nn.CTCLoss`` on ctckit's kernels, with a shift of the blank.

    Args:
        blank: class of the blank.
        reduction: ``none``, ``sum``, or ``mean``: each loss over its target length (at least 1), then over clips.
        zero_infinity: losses without a path count 0.
        shift: nats added to each blank; negative penalises it.
        domain: where the shift acts, see `ctckit.ops.ctc_loss`.
    """

    def __init__(
        self,
        blank: int = BLANK,
        reduction: functional.Reduction = "mean",
        zero_infinity: bool = False,
        *,
        shift: float = 0.0,
        domain: Domain = "logit",
    ) -> None:
        super().__init__()
        self.blank = blank
        self.reduction: functional.Reduction = reduction
        self.zero_infinity = zero_infinity
        self.shift = shift
        self.domain: Domain = domain

    def forward(
        self,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: functional.Lengths,
        target_lengths: functional.Lengths,
    ) -> Tensor:
        """Return the loss; arguments, shapes and errors are those of `ctckit.nn.functional.ctc_loss`."""
        return functional.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            shift=self.shift,
            domain=self.domain,
        )

    def extra_repr(self) -> str:
        """Show the settings."""
        return (
            f"blank={self.blank}, reduction={self.reduction!r}, zero_infinity={self.zero_infinity}, "
            f"shift={self.shift}, domain={self.domain!r}"
        )
