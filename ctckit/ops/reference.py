"""The truth: every op in plain torch, with the signatures of the compiled ops.

Rows are reduced in float32 (float64 for float64 logits); everything behind the rows, the dynamic programmes
above all, runs in float64. Given float64 logits these functions are what the tests measure kernels against;
without a compiler they are what runs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctckit.types import real_frames

BLANK = 0
_INF = float("inf")


def working_type(logits: Tensor) -> torch.dtype:
    """What rows are reduced in, and scores returned in."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def refuse(bad_TB: Tensor) -> None:
    """Raise for the first utterance with a bad frame."""
    if bool(bad_TB.any()):
        utterance, frame = bad_TB.t().nonzero()[0].tolist()
        raise ValueError(f"logits: utterance {utterance} holds NaN or +inf at frame {frame}")


def check_lengths(name: str, lengths: Tensor, limit: int) -> None:
    """Raise for the first utterance whose length is out of range."""
    for utterance, length in enumerate(lengths.tolist()):
        if not 0 <= length <= limit:
            raise ValueError(f"{name}: {length} of utterance {utterance} is outside 0..{limit}")


def _check_targets(targets: Tensor, target_lengths: Tensor, classes: int) -> None:
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths.unsqueeze(1)
    bad = inside & ((targets <= BLANK) | (targets >= classes))
    if bool(bad.any()):
        utterance, position = bad.nonzero()[0].tolist()
        label = int(targets[utterance, position])
        raise ValueError(f"targets: label {label} of utterance {utterance} is outside 1..{classes - 1}")


def _difference(logits: Tensor, normaliser: Tensor) -> Tensor:
    """Logits minus their log-normaliser; -inf, not NaN, where a frame holds nothing but -inf."""
    return torch.where(logits == -_INF, logits, logits - normaliser)


def frame_stats(logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best non-blank class, its logit, logsumexp over non-blanks, blank logit; each [T, B]."""
    check_lengths("lengths", lengths, logits.shape[0])
    alive = real_frames(lengths, logits.shape[0])
    wide = logits.to(working_type(logits))
    # max, not argmax: torch documents neither as taking the first of equals, so ask for it explicitly.
    best_logit = wide[..., 1:].amax(-1)
    best = (wide[..., 1:] == best_logit.unsqueeze(-1)).to(torch.uint8).argmax(-1) + 1
    logsumexp = torch.logsumexp(wide[..., 1:], -1)
    blank_logit = wide[..., BLANK].clone()
    refuse(alive & ~((logsumexp < _INF) & (blank_logit < _INF)))
    return (
        best.masked_fill(~alive, 0),
        best_logit.masked_fill(~alive, -_INF),
        logsumexp.masked_fill(~alive, -_INF),
        blank_logit.masked_fill(~alive, 0.0),
    )


def _is_blank(best_logit: Tensor, blank_logit: Tensor, shift: float | Tensor) -> Tensor:
    """The blank wins ties. Compared in float64, where adding the shift to a float32 logit rounds nothing."""
    return blank_logit.double() + shift >= best_logit.double()


def _runs(path_BT: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Collapse: each frame's token index (``count``, a bin to drop, for blanks), first frames, counts."""
    previous = torch.nn.functional.pad(path_BT[:, :-1], (1, 0), value=-1)
    starts = (path_BT > BLANK) & (path_BT != previous)
    index = starts.cumsum(1) - 1
    return index.masked_fill(path_BT <= BLANK, count), starts, starts.sum(1)


def _tokens(path_BT: Tensor, index_BT: Tensor, begins_BT: Tensor) -> Tensor:
    """The class at each token's first frame, [B, T] padded with -1."""
    batch, frames = path_BT.shape
    padded = path_BT.new_full((batch, frames + 1), -1)
    padded = padded.scatter(1, index_BT.masked_fill(~begins_BT, frames), path_BT)
    return padded[:, :frames].contiguous()


def _spans(index_BT: Tensor, score_BT: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts, ends, mean scores [B, width] of the tokens that frames belong to; bin ``width`` is dropped."""
    batch, frames = index_BT.shape
    if frames == 0:
        empty = index_BT.new_full((batch, width), -1)
        return empty, empty.clone(), score_BT.new_zeros(batch, width)
    time = torch.arange(frames, device=index_BT.device).expand(batch, frames)
    bins = index_BT.new_zeros(batch, width + 1)
    starts = (bins + frames).scatter_reduce(1, index_BT, time, "amin")[:, :width]
    lengths = bins.scatter_add(1, index_BT, torch.ones_like(index_BT))[:, :width]
    sums = score_BT.new_zeros(batch, width + 1).scatter_add(1, index_BT, score_BT)[:, :width]
    empty = lengths == 0
    means = (sums / lengths.clamp(min=1)).masked_fill(empty, 0.0)
    return starts.masked_fill(empty, -1), (starts + lengths).masked_fill(empty, -1), means


def greedy(logits: Tensor, lengths: Tensor, shift: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Tokens, counts, starts, ends, scores [B, T] and utterance scores [B] of the best path."""
    return _best_path(frame_stats(logits, lengths), lengths, shift)


def _best_path(
    stats: tuple[Tensor, ...], lengths: Tensor, shift: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    best, best_logit, logsumexp, blank_logit = (x.t() for x in stats)
    frames, working = best.shape[1], best_logit.dtype
    alive = real_frames(lengths, frames).t()
    path = best.masked_fill(_is_blank(best_logit, blank_logit, shift), BLANK).masked_fill(~alive, -1)
    shifted = blank_logit.double() + shift
    normaliser = torch.logaddexp(logsumexp.double(), shifted)
    score = _difference(torch.maximum(best_logit.double(), shifted), normaliser).masked_fill(~alive, 0.0)
    index, begins, counts = _runs(path, frames)
    tokens = _tokens(path, index, begins)
    starts, ends, means = _spans(index, score, frames)
    return tokens, counts, starts, ends, means.to(working), score.sum(1).to(working)


def greedy_with_stats(logits: Tensor, lengths: Tensor, shift: float) -> tuple[Tensor, ...]:
    """Outputs of `greedy`, of `frame_stats`, and the entropy [T, B] of the distribution over non-blanks alone."""
    stats = frame_stats(logits, lengths)
    labels = logits.to(working_type(logits))[..., 1:]
    # from differences to the best: log-probabilities would round numbers as large as the logits
    below = labels - labels.amax(-1, keepdim=True)
    weights = below.exp()
    total = weights.sum(-1)
    entropy = total.log() - torch.where(below == -_INF, 0.0, weights * below).sum(-1) / total
    alive = real_frames(lengths, logits.shape[0]) & (stats[1] > -_INF)
    return *_best_path(stats, lengths, shift), *stats, entropy.clamp(min=0.0).masked_fill(~alive, 0.0)


def sweep(
    best: Tensor, best_logit: Tensor, blank_logit: Tensor, lengths: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens [K, B, T] and counts [K, B] of the best paths under each of K shifts."""
    frames, batch = best.shape
    check_lengths("lengths", lengths, frames)
    blank = _is_blank(best_logit, blank_logit, shifts.double().view(-1, 1, 1))
    path = torch.where(blank, BLANK, best).masked_fill(~real_frames(lengths, frames), -1)
    kinds = shifts.shape[0]
    path = path.transpose(1, 2).reshape(kinds * batch, frames)
    index, begins, counts = _runs(path, frames)
    return _tokens(path, index, begins).view(kinds, batch, frames), counts.view(kinds, batch)


def _row_norms(logits: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """[T, B] maximum of the shifted row and the sum of exp(row - maximum); (0, 0) where all is -inf."""
    wide = logits.to(working_type(logits))
    shifted = wide[..., BLANK] + shift
    top = torch.maximum(wide[..., 1:].amax(-1), shifted)
    top = top.masked_fill(top == -_INF, 0.0)
    return top, (wide[..., 1:] - top.unsqueeze(-1)).exp().sum(-1) + (shifted - top).exp()


def log_normalisers(logits: Tensor, shift: float) -> Tensor:
    """float64 [T, B] logsumexp of the shifted rows; -inf where all is -inf, NaN for a row with NaN or +inf."""
    top, total = _row_norms(logits, shift)
    return top.double() + total.double().log()


def penalized_log_softmax(logits: Tensor, shift: float) -> Tensor:
    """Normalised logits + shift on blank, [T, B, C] in the dtype of the logits."""
    top, total = _row_norms(logits, shift)
    refuse(~(total < _INF))
    wide = logits.to(working_type(logits), copy=True)
    wide[..., BLANK] += shift
    normaliser = top + total.log()
    return _difference(wide, normaliser.unsqueeze(-1)).to(logits.dtype)


def penalized_log_softmax_backward(grad: Tensor, log_probs: Tensor) -> Tensor:
    """Gradient: grad - softmax * sum(grad), rounded once to the dtype of the log-probabilities."""
    wide = grad.to(working_type(log_probs))
    probs = log_probs.to(working_type(log_probs)).exp()
    return (wide - probs * wide.sum(-1, keepdim=True)).to(log_probs.dtype)


def penalized_log_softmax_with_path(
    logits: Tensor, lengths: Tensor, shift: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities of every frame and, of the frames within the lengths, the greedy path."""
    path = greedy(logits, lengths, shift)  # first: it names the utterance, and forgives NaN in padding
    top, total = _row_norms(logits, shift)
    wide = logits.to(working_type(logits), copy=True)
    wide[..., BLANK] += shift
    return (_difference(wide, (top + total.log()).unsqueeze(-1)).to(logits.dtype), *path)


def _columns(logits: Tensor, targets: Tensor, target_lengths: Tensor, shift: float) -> Tensor:
    """float64 [T, B, S + 1]: the shifted blank logit, then the logit of each label (-inf as padding)."""
    frames, batch, _ = logits.shape
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths.unsqueeze(1)
    classes = targets.masked_fill(~inside, BLANK).expand(frames, batch, -1)
    labels = logits.gather(2, classes).double().masked_fill(~inside, -_INF)
    return torch.cat([(logits[..., BLANK].double() + shift).unsqueeze(-1), labels], -1)


def _states(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Column of each of the 2S + 1 states, and which states may be entered from two states before."""
    batch, width = targets.shape
    column = torch.zeros(2 * width + 1, dtype=torch.int64, device=targets.device)
    column[1::2] = torch.arange(1, width + 1, device=targets.device)
    may_skip = torch.zeros(batch, 2 * width + 1, dtype=torch.bool, device=targets.device)
    if width > 1:
        may_skip[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    return column, may_skip


def _forward_variables(emissions: Tensor, may_skip: Tensor) -> Tensor:
    """float64 log alphas [T, B, states], each including its own frame's emission."""
    alphas = torch.empty_like(emissions)
    states = emissions.shape[2]
    alpha = torch.full_like(emissions[0], -_INF)
    alpha[:, 0] = 0.0  # so that the first frame may enter states 0 and 1
    padded = emissions.new_full((emissions.shape[1], states + 2), -_INF)
    for frame in range(emissions.shape[0]):
        padded[:, 2:] = alpha
        skipped = torch.where(may_skip, padded[:, :-2], -_INF)
        alpha = torch.logaddexp(torch.logaddexp(alpha, padded[:, 1:-1]), skipped) + emissions[frame]
        alphas[frame] = alpha
    return alphas


def _mean_costs(emissions: Tensor, may_skip: Tensor) -> tuple[Tensor, Tensor]:
    """Log alphas [T, B, states], and the mean cost, -sum(emissions), of the paths into each state."""
    alphas, means = torch.empty_like(emissions), torch.empty_like(emissions)
    states = emissions.shape[2]
    alpha = torch.full_like(emissions[0], -_INF)
    alpha[:, 0] = 0.0
    mean = torch.zeros_like(alpha)
    entered = emissions.new_full((emissions.shape[1], states + 2), -_INF)
    costs = torch.zeros_like(entered)
    for frame in range(emissions.shape[0]):
        entered[:, 2:], costs[:, 2:] = alpha, mean
        skipped = torch.where(may_skip, entered[:, :-2], -_INF)
        candidates = torch.stack([alpha, entered[:, 1:-1], skipped])
        alpha = candidates.logsumexp(0) + emissions[frame]
        # Weights that sum to 1 exactly: a mean cost is large, and what is sought is a difference of such.
        weights = torch.where(candidates > -_INF, candidates.softmax(0), 0.0)
        mean = (weights * torch.stack([mean, costs[:, 1:-1], costs[:, :-2]])).sum(0)
        mean = torch.where(alpha > -_INF, mean - emissions[frame], 0.0)
        alphas[frame], means[frame] = alpha, mean
    return alphas, means


def _reversal(lengths: Tensor, size: int) -> Tensor:
    """[B, size] indices that turn the first ``length`` entries round (the rest stay in range)."""
    return (lengths.unsqueeze(1) - 1 - torch.arange(size, device=lengths.device)).clamp(min=0)


def _both_ways(
    emissions: Tensor, may_skip: Tensor, lengths: Tensor, last: Tensor
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """The problem and the reversed one as one batch, and what turns a result [T, B, states] of the latter back.

    Backward variables are the forward variables of the reversed problem: both run in one loop.
    """
    frames, _, states = emissions.shape
    in_time = _reversal(lengths, frames).t().unsqueeze(-1).expand(-1, -1, states)
    in_state = _reversal(last + 1, states)
    backwards = emissions.gather(0, in_time).gather(2, in_state.expand(frames, -1, -1))
    # Entering reversed state r from r - 2 is entering the state that was two before, seen from the other end.
    skip_back = torch.nn.functional.pad(may_skip, (0, 2))[:, 2:].gather(1, in_state)
    return (
        torch.cat([emissions, backwards], 1),
        torch.cat([may_skip, skip_back], 0),
        lambda turned: turned.gather(2, in_state.expand(frames, -1, -1)).gather(0, in_time),
    )


def _ends(alphas: Tensor, lengths: Tensor, last: Tensor) -> Tensor:
    """[2, B] log alphas that end a path: of the last blank and of the last label, in the last frame."""
    ends = alphas[(lengths - 1).clamp(min=0), torch.arange(lengths.shape[0], device=lengths.device)]
    label = ends.gather(1, (last - 1).clamp(min=0).unsqueeze(1)).squeeze(1).masked_fill(last == 0, -_INF)
    return torch.stack([ends.gather(1, last.unsqueeze(1)).squeeze(1), label])


def _check_loss(logits: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor) -> None:
    check_lengths("lengths", lengths, logits.shape[0])
    check_lengths("target_lengths", target_lengths, targets.shape[1])
    _check_targets(targets, target_lengths, logits.shape[2])


def ctc_loss(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    shift: float,
    path_domain: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [B]; and for the gradient row norms [T, B, 2] and occupancies [B, T, S + 1].

    A norm is (maximum, 1 / sum of exp(row - maximum)) of the row that the gradient's softmax is taken over.
    An occupancy is the posterior probability of the blank (column 0) and of each label. Both are empty
    without ``with_gradient``. In the path domain the numerator is shifted and the normaliser is not.
    """
    _check_loss(logits, targets, lengths, target_lengths)
    frames, batch, _ = logits.shape
    working = working_type(logits)
    alive = real_frames(lengths, frames)
    top, total = _row_norms(logits, 0.0 if path_domain else shift)
    refuse(alive & ~(total < _INF))
    normaliser = (top.double() + total.double().log()).masked_fill(~alive, 0.0)

    column, may_skip = _states(targets)
    emissions = _columns(logits, targets, target_lengths, shift)[..., column]
    states = column.shape[0]
    last = 2 * target_lengths
    if frames == 0:
        norms = logits.new_zeros(0, batch, 2, dtype=working)
        occupancy = logits.new_zeros(batch, 0, targets.shape[1] + 1, dtype=working)
        return torch.where(target_lengths == 0, 0.0, _INF).to(working), norms, occupancy

    def losses(score: Tensor) -> Tensor:
        loss = torch.where(score > -_INF, normaliser.sum(0) - score, _INF)
        # What is the logarithm of a probability stays one when float32 has rounded its row norms.
        return (loss if path_domain and shift > 0 else loss.clamp(min=0.0)).to(working)

    nothing = lengths == 0
    empty_score = torch.where(target_lengths == 0, 0.0, -_INF).double()
    if not with_gradient:
        score = torch.where(
            nothing, empty_score, _ends(_forward_variables(emissions, may_skip), lengths, last).logsumexp(0)
        )
        return losses(score), logits.new_empty(0, dtype=working), logits.new_empty(0, dtype=working)

    doubled, may_skip, turn = _both_ways(emissions, may_skip, lengths, last)
    both = _forward_variables(doubled, may_skip)
    alphas, betas = both[:, :batch], turn(both[:, batch:])
    score = torch.where(nothing, empty_score, _ends(alphas, lengths, last).logsumexp(0))

    reachable = (alphas > -_INF) & (betas > -_INF) & alive.unsqueeze(-1) & (score > -_INF).unsqueeze(-1)
    reachable &= torch.arange(states, device=last.device) <= last.unsqueeze(1)
    log_gamma = alphas + betas - emissions - score.unsqueeze(-1)
    gamma = torch.where(reachable, log_gamma.exp(), 0.0)
    occupancy = torch.cat([gamma[..., 0::2].sum(-1, keepdim=True), gamma[..., 1::2]], -1)
    norms = torch.stack([top, torch.where(total > 0, 1.0 / total, 0.0)], -1)
    return losses(score), norms, occupancy.transpose(0, 1).contiguous().to(working)


def ctc_loss_backward(
    grad_losses: Tensor,
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    losses: Tensor,
    norms: Tensor,
    occupancy: Tensor,
    norm_shift: float,
) -> Tensor:
    """(softmax - occupancy) * grad_losses, zero beyond the lengths and where the loss is infinite."""
    working = working_type(logits)
    wide = logits.to(working, copy=True)
    wide[..., BLANK] += norm_shift
    grad = (wide - norms[..., :1]).exp_().mul_(norms[..., 1:])
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths.unsqueeze(1)
    classes = torch.nn.functional.pad(targets.masked_fill(~inside, BLANK), (1, 0), value=BLANK)
    grad.scatter_add_(2, classes.expand(logits.shape[0], -1, -1), -occupancy.transpose(0, 1))
    keep = real_frames(lengths, logits.shape[0]) & (losses < _INF)
    scale = torch.where(keep, grad_losses.to(working), 0.0).unsqueeze(-1)
    return torch.empty_like(logits).copy_(torch.where(keep.unsqueeze(-1), grad * scale, 0.0))


def ctc_loss_with_entropy(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    shift: float,
    path_domain: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses [B], entropies [B]; and for the gradients row norms, occupancies, covariances [B, T, S + 1].

    With a path's cost being minus the sum of its logits and Z the summed weight of all paths, the entropy of
    the paths is ``log Z + mean cost``. Its derivative with respect to a logit is the covariance of the cost with
    passing there: ``occupancy * (mean cost of the paths through there - mean cost)``.
    """
    arguments = (targets, lengths, target_lengths)
    losses, norms, occupancy = ctc_loss(logits, *arguments, shift, path_domain, with_gradient)
    frames, batch, _ = logits.shape
    working = working_type(logits)
    if frames == 0:
        return losses, torch.zeros_like(losses), norms, occupancy, torch.zeros_like(occupancy)
    column, may_skip = _states(targets)
    emissions = _columns(logits, targets, target_lengths, shift)[..., column]
    last = 2 * target_lengths
    possible = (losses < _INF) & (lengths > 0)
    doubled, may_skip, turn = _both_ways(emissions, may_skip, lengths, last)
    alphas, means = _mean_costs(doubled, may_skip)
    ends, end_costs = _ends(alphas[:, :batch], lengths, last), _ends(means[:, :batch], lengths, last)
    score = ends.logsumexp(0)
    mean = torch.where(ends > -_INF, ends.softmax(0) * end_costs, 0.0).sum(0)
    entropies = torch.where(possible, score + mean, 0.0).clamp(min=0.0).to(working)
    if not with_gradient:
        return losses, entropies, norms, occupancy, logits.new_empty(0, dtype=working)
    before, after = means[:, :batch], turn(means[:, batch:])
    alpha, beta = alphas[:, :batch], turn(alphas[:, batch:])
    through = real_frames(lengths, frames).unsqueeze(-1) & possible.unsqueeze(-1) & (alpha > -_INF) & (beta > -_INF)
    through &= torch.arange(column.shape[0], device=last.device) <= last.unsqueeze(1)
    gamma = (alpha + beta - emissions - score.unsqueeze(-1)).exp()
    moved = torch.where(through, gamma * (before + after + emissions - mean.unsqueeze(-1)), 0.0)
    covariance = torch.cat([moved[..., 0::2].sum(-1, keepdim=True), moved[..., 1::2]], -1)
    return losses, entropies, norms, occupancy, covariance.transpose(0, 1).contiguous().to(working)


def ctc_loss_with_entropy_backward(
    grad_losses: Tensor,
    grad_entropies: Tensor,
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    losses: Tensor,
    norms: Tensor,
    occupancy: Tensor,
    covariance: Tensor,
    norm_shift: float,
) -> Tensor:
    """The loss's gradient, and the entropy's: the covariances, each at its class."""
    working = working_type(logits)
    arguments = (targets, lengths, target_lengths, losses, norms, occupancy, norm_shift)
    grad = ctc_loss_backward(grad_losses, logits.to(working), *arguments)
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths.unsqueeze(1)
    classes = torch.nn.functional.pad(targets.masked_fill(~inside, BLANK), (1, 0), value=BLANK)
    weighted = covariance * grad_entropies.to(working).view(-1, 1, 1)
    grad.scatter_add_(2, classes.expand(logits.shape[0], -1, -1), weighted.transpose(0, 1))
    return torch.empty_like(logits).copy_(grad)


def align(
    logits: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor, shift: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Viterbi: paths [B, T], label starts, ends and scores [B, S], utterance scores [B].

    Of equally good predecessors the path takes the nearest state (staying, then one, then two before), and
    of equally good ends the last label rather than the blank behind it. Sums are float64 over raw logits, so
    that every backend breaks the same ties.
    """
    _check_loss(logits, targets, lengths, target_lengths)
    frames, batch, _ = logits.shape
    width = targets.shape[1]
    alive = real_frames(lengths, frames)
    normaliser = log_normalisers(logits, shift)
    refuse(alive & ~(normaliser < _INF))
    column, may_skip = _states(targets)
    columns = _columns(logits, targets, target_lengths, shift)
    states = column.shape[0]
    device = logits.device
    utterance = torch.arange(batch, device=device)

    best = torch.full((batch, states), -_INF, dtype=torch.float64, device=device)
    best[:, 0] = 0.0
    ending = best.clone()  # the scores at each utterance's last frame
    padded = torch.full((batch, states + 2), -_INF, dtype=torch.float64, device=device)
    moves = torch.zeros(frames, batch, states, dtype=torch.uint8, device=device)
    for frame in range(frames):
        padded[:, 2:] = best
        candidates = torch.stack([best, padded[:, 1:-1], torch.where(may_skip, padded[:, :-2], -_INF)])
        best = candidates.amax(0)
        moves[frame] = (candidates == best).to(torch.uint8).argmax(0)
        best = best + columns[frame][:, column]
        ending = torch.where(alive[frame].unsqueeze(1), best, ending)

    last = 2 * target_lengths
    blank_end = ending[utterance, last]
    label_end = ending[utterance, (last - 1).clamp(min=0)].masked_fill(last == 0, -_INF)
    state = torch.where(label_end >= blank_end, last - 1, last).clamp(min=0)
    raw = torch.maximum(blank_end, label_end)
    found = raw > -_INF

    visited = torch.full((frames, batch), -1, dtype=torch.int64, device=device)
    for frame in reversed(range(frames)):
        here = alive[frame] & found
        visited[frame] = torch.where(here, state, -1)
        state = torch.where(here, state - moves[frame, utterance, state], state)
    is_label = visited % 2 == 1  # -1 % 2 is 1 in torch, hence the next line
    is_label &= visited > 0
    label = torch.where(is_label, visited // 2, width)
    classes = torch.nn.functional.pad(targets, (0, 1), value=BLANK)
    path = torch.where(visited < 0, -1, classes.gather(1, label.t()).t())

    chosen = torch.where(is_label, label + 1, 0).unsqueeze(-1)
    frame_score = _difference(columns.gather(2, chosen).squeeze(-1), normaliser).masked_fill(visited < 0, 0.0)
    working = working_type(logits)
    starts, ends, scores = _spans(label.t(), frame_score.t(), width)
    score = (raw - normaliser.masked_fill(~alive, 0.0).sum(0)).masked_fill(~found, -_INF)
    return path.t().contiguous(), starts, ends, scores.to(working), score.to(working)
