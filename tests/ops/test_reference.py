"""The reference itself, against torch, against all paths written out, and against finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from ctckit.ops import reference

from .problems import make


def every_path(log_probs, target, frames):
    """Log-probabilities of all paths of one utterance that collapse to the target."""
    for path in itertools.product(range(log_probs.shape[1]), repeat=frames):
        if [k for k, _ in itertools.groupby(path) if k != 0] == target:
            yield path, sum(float(log_probs[t, k]) for t, k in enumerate(path))


@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 2], [2, 1, 2]])
@pytest.mark.parametrize("shift", [0.0, -1.5])
@pytest.mark.parametrize("path_domain", [False, True])
def test_loss_and_alignment_are_the_sum_and_the_best_of_all_paths(target, shift, path_domain):
    frames = 5
    logits = torch.randn(frames, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    penalty = torch.tensor([shift, 0.0, 0.0], dtype=torch.float64)
    before, after = (0.0, penalty) if path_domain else (penalty, 0.0)
    scores = (logits[:, 0] + before).log_softmax(-1) + after
    paths = dict(every_path(scores, target, frames))
    labels = torch.tensor([target], dtype=torch.int64).view(1, -1)
    arguments = (logits, labels, torch.tensor([frames]), torch.tensor([len(target)]), shift)
    loss, _, occupancy = reference.ctc_loss(*arguments, path_domain, True)
    total = math.log(sum(map(math.exp, paths.values())))
    assert float(loss) == pytest.approx(-total, abs=1e-12)
    for t in range(frames):
        blank = sum(math.exp(score - total) for path, score in paths.items() if path[t] == 0)
        assert float(occupancy[0, t, 0]) == pytest.approx(blank, abs=1e-12)
    if not path_domain:
        best = max(paths, key=lambda path: paths[path])
        aligned, _, _, _, score = reference.align(*arguments)
        assert tuple(aligned[0].tolist()) == best
        assert float(score) == pytest.approx(paths[best], abs=1e-12)


@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 2], [2, 1, 2]])
@pytest.mark.parametrize("shift", [0.0, -1.5])
@pytest.mark.parametrize("path_domain", [False, True])
def test_entropy_and_its_gradient_are_those_of_all_paths(target, shift, path_domain):
    frames = 5
    logits = 2 * torch.randn(frames, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    leaf = logits.clone().requires_grad_()
    penalty = torch.tensor([shift, 0.0, 0.0], dtype=torch.float64)
    scores = (leaf[:, 0] + penalty).log_softmax(-1)  # in either domain: the normaliser is no path's own
    paths = [path for path, _ in every_path(scores.detach(), target, frames)]
    weights = torch.stack([scores[range(frames), path].sum() for path in paths]).log_softmax(0)
    entropy = -(weights.exp() * weights).sum()
    (want,) = torch.autograd.grad(entropy, leaf)
    labels = torch.tensor([target], dtype=torch.int64).view(1, -1)
    arguments = (logits, labels, torch.tensor([frames]), torch.tensor([len(target)]))
    losses, entropies, *saved = reference.ctc_loss_with_entropy(*arguments, shift, path_domain, True)
    assert float(entropies) == pytest.approx(entropy.item(), abs=1e-12)
    nothing, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    got = reference.ctc_loss_with_entropy_backward(nothing, one, *arguments, losses, *saved, shift)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_gradient_are_torchs_in_float64(seed):
    problem = make(shape=(20, 3, 7), dtype=torch.float64, seed=seed)
    keep = torch.arange(20).unsqueeze(1) < problem.lengths
    logits = problem.logits.clone().requires_grad_()
    targets = problem.targets.clamp(min=0)
    losses = F.ctc_loss(logits.log_softmax(-1), targets, problem.lengths, problem.target_lengths, reduction="none")
    finite = losses < torch.inf
    (want,) = torch.autograd.grad(losses[finite].sum(), logits)
    arguments = (problem.logits, problem.targets, problem.lengths, problem.target_lengths)
    ours, norms, occupancy = reference.ctc_loss(*arguments, 0.0, False, True)
    assert torch.equal(ours < torch.inf, finite)
    torch.testing.assert_close(ours[finite], losses[finite].detach())
    weights = torch.ones_like(ours)
    gradient = reference.ctc_loss_backward(weights, *arguments, ours, norms, occupancy, 0.0)
    torch.testing.assert_close(gradient, want.masked_fill(~(keep & finite).unsqueeze(-1), 0.0))


def test_the_two_domains_differ_by_the_normaliser():
    problem = make(shape=(12, 2, 5), width=3, dtype=torch.float64, shift=-1.3)
    arguments = (problem.logits, problem.targets, problem.lengths, problem.target_lengths, problem.shift)
    before, _, occupancy_before = reference.ctc_loss(*arguments, False, True)
    after, _, occupancy_after = reference.ctc_loss(*arguments, True, True)
    penalty = torch.tensor([math.exp(problem.shift), 1, 1, 1, 1], dtype=torch.float64)
    alive = torch.arange(12).unsqueeze(1) < problem.lengths
    log_s = (problem.logits.softmax(-1) * penalty).sum(-1).log() * alive
    torch.testing.assert_close(after, before - log_s.sum(0))
    torch.testing.assert_close(occupancy_before, occupancy_after)


def test_greedy_keeps_label_blank_label_as_two():
    path = torch.tensor([1, 1, 0, 1, 2, 2, 0, 0])
    logits = 9.0 * F.one_hot(path, 3).double().unsqueeze(1)
    tokens, counts, starts, ends, scores, score = reference.greedy(logits, torch.tensor([8]), 0.0)
    assert tokens[0, :4].tolist() == [1, 1, 2, -1]
    assert starts[0, :4].tolist() == [0, 3, 4, -1]
    assert ends[0, :4].tolist() == [2, 4, 6, -1]
    assert counts.tolist() == [3]
    each = float(logits[0, 0].log_softmax(-1).max())
    assert scores[0, :4].tolist() == pytest.approx([each, each, each, 0.0])
    assert float(score) == pytest.approx(8 * each)
