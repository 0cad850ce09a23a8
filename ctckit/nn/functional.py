"""The CTC loss with the signature of ``torch.nn.functional.ctc_loss``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ctckit import ops
from ctckit.ops import checks
from ctckit.scoring import blank_first
from ctckit.types import BLANK, Domain

Reduction = Literal["none", "mean", "sum"]
"""What becomes of the losses of a batch."""

Lengths = Tensor | Sequence[int]
"""One whole number a clip, on any device."""


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = BLANK,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    shift: float = 0.0,
    domain: Domain = "logit",
) -> Tensor:
    """CTC loss (Graves et al., ICML 2006) as torch computes it, on ctckit's kernels; differentiable once.

    It differs from torch's on purpose where torch's would be no help: logits are taken as well as log-probabilities
    (both are normalised, which leaves the latter as they are); a clip without a path has a gradient of 0, not NaN,
    while its loss is infinite all the same; a target that is the blank, or none of the classes, is an error; half
    precision works on the CPU, with a loss in float32.

    Args:
        log_probs: log-probabilities or logits, [T, B, C], or [T, C] of one clip.
        targets: whole numbers, [B, S] padded with anything, or all targets one after another, [sum of lengths].
        input_lengths: frames of each clip, at most T.
        target_lengths: labels of each clip.
        blank: class of the blank.
        reduction: ``none``, ``sum``, or ``mean``: each loss over its target length (at least 1), then over clips.
        zero_infinity: losses without a path count 0.
        shift: nats added to each blank; negative penalises it.
        domain: where the shift acts, see `ctckit.ops.ctc_loss`.

    Returns:
        Nats: [B] or, of one clip and reduced, []. Where log-probabilities within a length are NaN or +inf, loss and
        gradient of the clip are NaN, as a gradient scaler wants to see.

    Raises:
        RuntimeError: a size, a length, a class or a type does not fit, as in torch.
        TypeError: a length is no whole number, an argument no tensor.
        ValueError: there is no such reduction, or the shift or domain is none.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    shift = checks.check_shift(shift)
    if domain not in get_args(Domain):
        raise ValueError(f"domain: expected 'logit' or 'path', not {domain!r}")
    for name, value in (("log_probs", log_probs), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: expected a tensor, not {type(value).__name__}")
    one = log_probs.dim() == 2
    if one:
        log_probs, targets = log_probs.unsqueeze(1), targets.reshape(1, -1)
    if not log_probs.is_floating_point():
        raise NotImplementedError(f"log_probs: {log_probs.dtype} has no CTC loss")
    if log_probs.dim() != 3 or 0 in log_probs.shape:
        raise RuntimeError(f"log_probs: expected [T, B, C] or [T, C], none of them 0, not {list(log_probs.shape)}")
    frames, clips, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range, 0 to {classes - 1}, not {blank}")
    if classes == 1:  # the kernels want a label; this one never occurs
        log_probs = torch.nn.functional.pad(log_probs, (0, 1), value=-torch.inf)
    lengths_B = _lengths("input_lengths", input_lengths, clips, frames).to(log_probs.device)
    target_lengths_B = _lengths("target_lengths", target_lengths, clips, None)
    targets_BS = _targets(targets, target_lengths_B, blank, classes).to(log_probs.device)
    target_lengths_B = target_lengths_B.to(log_probs.device)
    logits_TBC = blank_first(log_probs, blank)
    try:
        losses_B = ops.ctc_loss(logits_TBC, targets_BS, lengths_B, target_lengths_B, shift, domain)
    except ValueError:  # the kernels refuse NaN and +inf
        spoilt_B = _spoilt(logits_TBC.detach(), lengths_B)
        if not bool(spoilt_B.any()):
            raise
        spared_TBC: Tensor = _Spare.apply(logits_TBC, spoilt_B)  # type: ignore[no-untyped-call]
        losses_B = ops.ctc_loss(spared_TBC, targets_BS, lengths_B, target_lengths_B, shift, domain)
        losses_B = losses_B * torch.where(spoilt_B, torch.nan, 1.0)
    if zero_infinity:
        losses_B = torch.where(losses_B == torch.inf, torch.zeros_like(losses_B), losses_B)
    if reduction == "none":
        return losses_B[0] if one else losses_B
    if reduction == "sum":
        return losses_B.sum()
    return (losses_B / target_lengths_B.clamp_min(1)).mean()


def _lengths(name: str, lengths: Lengths, clips: int, most: int | None) -> Tensor:
    """Return lengths as int64 [B] where they were."""
    if isinstance(lengths, Tensor):
        if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
            raise RuntimeError(f"{name} must be integral, not {lengths.dtype}")
        lengths_B = lengths.to(torch.int64).reshape(-1)
    else:
        if any(isinstance(length, bool) or not hasattr(length, "__index__") for length in lengths):
            raise TypeError(f"{name}: expected whole numbers, not {list(lengths)}")
        lengths_B = torch.tensor([int(length) for length in lengths], dtype=torch.int64)
    if len(lengths_B) != clips:
        raise RuntimeError(f"{name} must be of size batch_size, {clips}, not {len(lengths_B)}")
    least, largest = int(lengths_B.min()), int(lengths_B.max())
    if least < 0 or (most is not None and largest > most):
        limit = "" if most is None else f" and at most {most}"
        raise RuntimeError(f"{name}: expected at least 0{limit}, got {least if least < 0 else largest}")
    return lengths_B


def _targets(targets: Tensor, target_lengths_B: Tensor, blank: int, classes: int) -> Tensor:
    """Return targets as int64 [B, S], padded, with the blank at class 0."""
    if targets.dim() not in (1, 2):
        raise RuntimeError(f"targets: expected 1 or 2 dimensions, not {list(targets.shape)}")
    lengths = target_lengths_B.tolist()
    longest = max(lengths)
    labels = targets.to(torch.int64)
    if labels.dim() == 1:
        if len(labels) != sum(lengths):
            raise RuntimeError(f"targets: {len(labels)} labels, but the target_lengths add up to {sum(lengths)}")
        padded_BS = torch.nn.utils.rnn.pad_sequence(list(torch.split(labels, lengths)), batch_first=True)
    else:
        if len(labels) != len(lengths) or labels.shape[1] < longest:
            raise RuntimeError(
                f"targets: expected [{len(lengths)}, {longest} or more] by target_lengths, not {list(labels.shape)}"
            )
        padded_BS = labels[:, :longest]
    real_BS = torch.arange(longest, device=labels.device) < target_lengths_B.to(labels.device).unsqueeze(1)
    wrong_BS = real_BS & ((padded_BS < 0) | (padded_BS >= classes) | (padded_BS == blank))
    if bool(wrong_BS.any()):
        clip, place = wrong_BS.nonzero()[0].tolist()
        label = int(padded_BS[clip, place])
        kind = "the blank" if label == blank else f"none of the classes 0 to {classes - 1}"
        raise RuntimeError(f"targets: label {label} of clip {clip}, place {place}, is {kind}")
    return padded_BS + (padded_BS < blank) if blank != BLANK else padded_BS


def _spoilt(logits_TBC: Tensor, lengths_B: Tensor) -> Tensor:
    """Which clips hold NaN or +inf within their lengths, [B]."""
    largest_TB = logits_TBC.amax(-1)  # both come through
    real_TB = ops.real_frames(lengths_B, len(logits_TBC))
    return ((largest_TB.isnan() | largest_TB.isposinf()) & real_TB).any(0)


class _Spare(torch.autograd.Function):
    """Zeros in the place of spoilt clips, through which a NaN gradient passes on to whoever made them."""

    @staticmethod
    def forward(ctx: Any, logits_TBC: Tensor, spoilt_B: Tensor) -> Tensor:  # noqa: ARG004, torch passes it
        return torch.where(spoilt_B[:, None], torch.zeros_like(logits_TBC), logits_TBC)

    @staticmethod
    def backward(ctx: Any, gradient_TBC: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradient_TBC, None
