"""The unigram plateau: the best CTC loss that a network reaches while it ignores its input.

Every CTC run starts there, and a run that "collapsed into blanks" has never left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctckit.types import BLANK

CLIPS = 512
"""Clips used at most, evenly spaced over the corpus: the plateau is a mean, and 512 pin it well within 1 %."""

ITERATIONS = 60
TOLERANCE = 1e-5


def unigram_plateau(output_frames: Sequence[int], targets: Sequence[Sequence[int]], classes: int) -> float:
    """Fit one distribution for all frames to a corpus and return its CTC loss.

    Expectation maximisation on the posterior occupancies: the gradient of the log-likelihood with respect to the
    log-probability of a class is its expected number of frames, and the best distribution is their share.

    Args:
        output_frames: frames of each clip after subsampling; every clip must have a path.
        targets: labels of each clip.
        classes: number of classes with blank.

    Returns:
        Nats per label.
    """
    step = -(-len(targets) // CLIPS)
    frames_B = torch.tensor(list(output_frames)[::step])
    chosen = [list(target) for target in targets[::step]]
    tokens = sum(map(len, chosen))
    # start from the frame shares of one-frame spikes, where networks are found on the plateau
    counts_C = torch.full((classes,), 1e-3, dtype=torch.float64)
    for target in chosen:
        counts_C += torch.bincount(torch.tensor(target), minlength=classes)
    counts_C[BLANK] = max(float(frames_B.sum()) - tokens, 1.0)
    loss = previous = float("inf")
    for _ in range(ITERATIONS):
        log_probs_C = (counts_C / counts_C.sum()).log().requires_grad_()
        total = _log_likelihood(log_probs_C, frames_B, chosen)
        loss = -total.item() / tokens
        if previous - loss < TOLERANCE * loss:
            break
        previous = loss
        (counts_C,) = torch.autograd.grad(total, log_probs_C)
        counts_C = counts_C.clamp_min(1e-12)
    return loss


def uniform_loss(output_frames: Sequence[int], targets: Sequence[Sequence[int]], classes: int) -> float:
    """CTC loss of a network that gives every class the same probability: about where training starts.

    Args:
        output_frames: frames of each clip after subsampling; every clip must have a path.
        targets: labels of each clip.
        classes: number of classes with blank.

    Returns:
        Nats per label.
    """
    step = -(-len(targets) // CLIPS)
    chosen = [list(target) for target in targets[::step]]
    log_probs_C = torch.full((classes,), 1.0 / classes, dtype=torch.float64).log()
    total = _log_likelihood(log_probs_C, torch.tensor(list(output_frames)[::step]), chosen)
    return -total.item() / sum(map(len, chosen))


def _log_likelihood(log_probs_C: Tensor, frames_B: Tensor, targets: list[list[int]]) -> Tensor:
    """Sum of log P(target) when every frame has the same distribution, in one pass over all clips."""
    # A finite stand-in for log 0 keeps the gradient of logaddexp free of inf - inf.
    floor = -1e30
    states_BS = torch.full((len(targets), 2 * max(map(len, targets)) + 1), BLANK)
    for row, target in zip(states_BS, targets, strict=True):
        row[1 : 2 * len(target) : 2] = torch.tensor(target)
    last_B = torch.tensor([2 * len(target) for target in targets])
    skip_BS = torch.zeros_like(states_BS, dtype=torch.bool)
    skip_BS[:, 2:] = (states_BS[:, 2:] != BLANK) & (states_BS[:, 2:] != states_BS[:, :-2])
    emit_BS = log_probs_C[states_BS]
    start_BS = torch.full_like(emit_BS, floor)
    start_BS[:, :2] = 0.0
    alpha_BS = start_BS + emit_BS
    rows = torch.arange(len(targets))
    ends = []
    for frame in range(1, int(frames_B.max()) + 1):
        ending = rows[frames_B == frame]
        if len(ending):
            final_E = last_B[ending]
            ends.append(torch.logaddexp(alpha_BS[ending, final_E], alpha_BS[ending, final_E - 1]).sum())
        pad_B1 = alpha_BS.new_full((len(targets), 1), floor)
        one_BS = torch.cat([pad_B1, alpha_BS[:, :-1]], 1)
        two_BS = torch.cat([pad_B1, pad_B1, alpha_BS[:, :-2]], 1).masked_fill(~skip_BS, floor)
        alpha_BS = torch.logaddexp(torch.logaddexp(alpha_BS, one_BS), two_BS) + emit_BS
    return torch.stack(ends).sum()
