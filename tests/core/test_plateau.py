"""The unigram plateau is the right minimum, and the same in whatever slices it is computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit import ops, plateau
from ctckit.plateau import uniform_loss, unigram_plateau

FRAMES = [9, 3, 12, 7, 7]
TARGETS = [[1, 2], [3], [2, 2, 1, 4], [4, 4, 4], [1]]


@pytest.mark.parametrize("states", [1, 9 * 12, 2 * 9 * 12, 1 << 22])
def test_neither_the_loss_nor_the_occupancies_depend_on_the_slices(
    states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, uniform = plateau.unigram_plateau(FRAMES, TARGETS, 5), plateau.uniform_loss(FRAMES, TARGETS, 5)
    monkeypatch.setattr(plateau, "STATES", states)
    assert plateau.unigram_plateau(FRAMES, TARGETS, 5) == pytest.approx(whole, rel=1e-12)
    assert plateau.uniform_loss(FRAMES, TARGETS, 5) == pytest.approx(uniform, rel=1e-12)


def test_slices_hold_every_clip_once_and_no_more_states_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plateau, "STATES", 9 * 20)
    slices = [chosen.tolist() for chosen in plateau._slices(torch.tensor(FRAMES), 9)]
    assert sorted(index for chosen in slices for index in chosen) == list(range(5))
    assert [len(chosen) for chosen in slices] == [1, 2, 2]
    assert all(len(chosen) * max(FRAMES[index] for index in chosen) <= 20 for chosen in slices)


def test_occupancies_are_the_gradient_of_the_likelihood() -> None:
    log_probs_C = torch.tensor([0.5, 0.1, 0.2, 0.05, 0.15], dtype=torch.float64).log().requires_grad_()
    width = max(map(len, TARGETS))
    targets_BS = torch.tensor([target + [-1] * (width - len(target)) for target in TARGETS])
    lengths_B, target_lengths_B = torch.tensor(FRAMES), torch.tensor([len(target) for target in TARGETS])
    logits_TBC = log_probs_C.expand(max(FRAMES), len(FRAMES), 5).contiguous()
    losses = torch.nn.functional.ctc_loss(
        logits_TBC, targets_BS.clamp_min(1), lengths_B, target_lengths_B, reduction="none"
    )
    total, counts_C = plateau._occupancies(log_probs_C.detach(), torch.tensor(FRAMES), TARGETS)
    assert total == pytest.approx(-losses.sum().item(), rel=1e-12)
    assert counts_C.sum().item() == pytest.approx(sum(FRAMES), rel=1e-12)
    # d loss / d logits is softmax - occupancy, of which ops.ctc_loss returns the exact one
    ops.ctc_loss(logits_TBC, targets_BS, lengths_B, target_lengths_B).sum().backward()
    expected_C = sum(FRAMES) * log_probs_C.detach().exp() - log_probs_C.grad
    torch.testing.assert_close(counts_C, expected_C, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("frames", "targets", "optimum"),
    [
        ([21], [[1]], 0.0),  # every frame the label: certain
        ([6], [[1]], 0.0),
        ([2], [[1]], 0.0),
        ([22, 8], [[1, 2], [3, 1, 1, 2, 4]], None),
        ([21, 3, 1], [[1], [2, 3, 4], [5]], None),
        ([22, 6], [[1, 2], [3, 4, 5, 6, 7, 8]], None),
    ],
)
def test_a_tiny_corpus_is_not_left_in_a_local_optimum(
    frames: list[int], targets: list[list[int]], optimum: float | None
) -> None:
    found = plateau.unigram_plateau(frames, targets, 10)
    if optimum is None:
        torch.manual_seed(0)
        draws = torch.distributions.Dirichlet(torch.full((10,), 0.7, dtype=torch.float64)).sample((25,))
        optimum = min(plateau._fitted(draw_C, torch.tensor(frames), targets) for draw_C in draws)
    assert found <= 1.005 * optimum + 1e-6
    assert found >= 0.0


def gradient_descent_plateau(frames: list[int], targets: list[list[int]], classes: int) -> float:
    """The same minimum by another road: descent on one vector of logits, through the reference loss."""
    total = sum(map(len, targets))
    width = max(map(len, targets))
    targets_BS = torch.tensor([target + [-1] * (width - len(target)) for target in targets])
    lengths_B, target_lengths_B = torch.tensor(frames), torch.tensor([len(target) for target in targets])
    logits_C = torch.zeros(classes, dtype=torch.float64)
    counts = torch.bincount(
        torch.tensor([label for target in targets for label in target]), minlength=classes
    ).double()
    counts[0] = sum(frames) - total
    logits_C = (counts + 1e-3).log().requires_grad_()
    optimizer = torch.optim.LBFGS([logits_C], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        logits_TBC = logits_C.expand(max(frames), len(frames), classes).contiguous()
        loss = ops.ctc_loss(logits_TBC, targets_BS, lengths_B, target_lengths_B).sum() / total
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(closure().detach())


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_plateau_is_the_minimum_over_input_independent_models(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(20, 40, (6,), generator=generator).tolist()
    targets = [torch.randint(1, 6, (n,), generator=generator).tolist() for n in (1, 2, 3, 4, 5, 6)]
    expected = gradient_descent_plateau(frames, targets, 6)
    assert unigram_plateau(frames, targets, 6) == pytest.approx(expected, rel=5e-3)


def test_the_plateau_of_one_label_in_one_frame_is_certain() -> None:
    assert unigram_plateau([1], [[1]], 2) == pytest.approx(0.0, abs=1e-3)


def test_the_plateau_of_two_frames_and_one_label_by_hand() -> None:
    # P = p(1-p)*2 + p*p = 2p - p*p is largest at p = 1: never blank
    assert unigram_plateau([2, 2], [[1], [1]], 2) == pytest.approx(0.0, abs=1e-2)
    # two labels alike often: each clip takes label a or b with 1/2, so a frame costs log 2
    assert unigram_plateau([1, 1], [[1], [2]], 3) == pytest.approx(math.log(2), abs=1e-2)


def test_the_uniform_loss_by_hand() -> None:
    # 2 frames, 1 label: paths aa, a-, -a; each has probability (1/3)^2
    assert uniform_loss([2], [[1]], 3) == pytest.approx(-np.log(3 / 9))
