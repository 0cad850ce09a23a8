"""The unigram plateau: the best CTC loss that a network reaches while it ignores its input.

Every CTC run starts there, and a run that "collapsed into blanks" has never left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ctckit.types import BLANK

CLIPS = 512
"""Clips used at most, evenly spaced over the corpus: the plateau is a mean, and 512 pin it well within 1 %."""

STATES = 1 << 22
"""States of all frames of the clips that are looked at together: 32 MB, however large the corpus is."""

TINY = 16
"""Clips up to which the fit is started from several distributions, since so few have local optima: with one start,
the plateau of one or two clips came out up to 64 % too high in 19 of 63 cases."""

BLANK_STARTS = (1e-3, 0.1, 1.0, 10.0)
"""Frames of blanks for each frame of a label, where a tiny corpus starts from."""

RESTARTS = 4

ITERATIONS = 60
TOLERANCE = 1e-5


def unigram_plateau(output_frames: Sequence[int], targets: Sequence[Sequence[int]], classes: int) -> float:
    """Fit one distribution for all frames to a corpus and return its CTC loss.

    Expectation maximisation: from the expected number of frames of each class under one distribution the next is
    made, whose probabilities are the shares of these frames.

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
    starts = [counts_C, *(_other_starts(counts_C) if len(chosen) <= TINY else ())]
    return min(_fitted(start_C, frames_B, chosen) for start_C in starts)


def _other_starts(counts_C: Tensor) -> Iterator[Tensor]:
    """Yield further distributions to start from, always the same: few blanks, many, and labels of other shares."""
    generator = torch.Generator().manual_seed(0)
    labels = float(counts_C[BLANK + 1 :].sum())
    for blanks in BLANK_STARTS:
        start_C = counts_C.clone()
        start_C[BLANK] = labels * blanks
        yield start_C
    for blanks in BLANK_STARTS * RESTARTS:
        start_C = counts_C * torch.rand(len(counts_C), generator=generator, dtype=torch.float64).pow(3.0)
        start_C[BLANK] = float(start_C[BLANK + 1 :].sum()) * blanks
        yield start_C


def _fitted(counts_C: Tensor, frames_B: Tensor, targets: list[list[int]]) -> float:
    """Return the loss that expectation maximisation ends at, from these frames of each class."""
    tokens = sum(map(len, targets))
    loss = previous = float("inf")
    for _ in range(ITERATIONS):
        total, counts_C = _occupancies((counts_C / counts_C.sum()).log(), frames_B, targets)
        loss = max(-total / tokens, 0.0)  # rounding may carry a certain clip below
        if previous - loss < TOLERANCE * loss:
            break
        previous = loss
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
    total, _ = _occupancies(log_probs_C, torch.tensor(list(output_frames)[::step]), chosen)
    return -total / sum(map(len, chosen))


def _occupancies(log_probs_C: Tensor, frames_B: Tensor, targets: list[list[int]]) -> tuple[float, Tensor]:
    """Sum of log P(target) when every frame has the same distribution, and the expected frames of each class."""
    total, counts_C = 0.0, torch.zeros_like(log_probs_C)
    for chosen in _slices(frames_B, 2 * max(map(len, targets)) + 1):
        states_BS = _states([targets[index] for index in chosen.tolist()])
        likelihood, occupancy_BS = _forward_backward(log_probs_C, states_BS, frames_B[chosen])
        total += likelihood
        counts_C.index_add_(0, states_BS.clamp_min(BLANK).flatten(), occupancy_BS.flatten())
    return total, counts_C


def _slices(frames_B: Tensor, states: int) -> Iterator[Tensor]:
    """Indices of clips of about the same length, so that hardly a frame is computed for clips that have ended."""
    order_B = frames_B.argsort(descending=True, stable=True)
    while len(order_B):
        clips = max(STATES // (int(frames_B[order_B[0]]) * states), 1)
        yield order_B[:clips]
        order_B = order_B[clips:]


def _states(targets: list[list[int]]) -> Tensor:
    """Blank, label, blank and so on of each target; -1 behind its end."""
    states_BS = torch.full((len(targets), 2 * max(map(len, targets)) + 1), -1)
    for row, target in zip(states_BS, targets, strict=True):
        row[: 2 * len(target) + 1] = BLANK
        row[1 : 2 * len(target) : 2] = torch.tensor(target)
    return states_BS


def _forward_backward(log_probs_C: Tensor, states_BS: Tensor, frames_B: Tensor) -> tuple[float, Tensor]:
    """Sum of log P(target) over the clips, and the frames that each state is expected to take."""
    real_BS = states_BS >= 0
    emit_BS = log_probs_C[states_BS.clamp_min(BLANK)].masked_fill(~real_BS, -torch.inf)
    skip_BS = torch.zeros_like(emit_BS)
    skip_BS[:, :2] = -torch.inf
    skip_BS[:, 2:].masked_fill_((states_BS[:, 2:] == BLANK) | (states_BS[:, 2:] == states_BS[:, :-2]), -torch.inf)

    # two columns that are never reached stand before the first state, and behind the last on the way back
    alpha_TBS = nn.functional.pad(emit_BS, (2, 0), value=-torch.inf).repeat(int(frames_B.max()), 1, 1)
    alpha_TBS[0, :, 4:] = -torch.inf
    for before_BS, here_BS in pairwise(alpha_TBS):
        entered_BS = torch.logaddexp(before_BS[:, 1:-1], before_BS[:, :-2] + skip_BS)
        here_BS[:, 2:] += torch.logaddexp(before_BS[:, 2:], entered_BS)

    last_B1 = real_BS.sum(1, keepdim=True) - 1
    ends_BS = torch.full_like(emit_BS, -torch.inf).scatter(1, torch.cat([last_B1, last_B1 - 1], 1), 0.0)
    final_BS = alpha_TBS[frames_B - 1, torch.arange(len(frames_B)), 2:] + ends_BS
    total_B1 = final_BS.logsumexp(1, keepdim=True)

    leave_BS = nn.functional.pad(skip_BS[:, 2:], (0, 2), value=-torch.inf)
    ahead_BS = torch.full_like(alpha_TBS[0], -torch.inf)
    beta_BS, occupancy_BS = torch.full_like(emit_BS, -torch.inf), torch.zeros_like(emit_BS)
    for frame in reversed(range(len(alpha_TBS))):
        ahead_BS[:, :-2] = beta_BS + emit_BS
        left_BS = torch.logaddexp(ahead_BS[:, 1:-1], ahead_BS[:, 2:] + leave_BS)
        stayed_BS = torch.logaddexp(ahead_BS[:, :-2], left_BS)
        beta_BS = torch.where(frames_B[:, None] == frame + 1, ends_BS, stayed_BS)
        occupancy_BS += (alpha_TBS[frame, :, 2:] + beta_BS - total_B1).exp()
    return float(total_B1.sum()), occupancy_BS
