"""The unigram plateau is computed in slices; tests/core/test_doctor.py asks whether it is the right minimum."""

from __future__ import annotations

import pytest
import torch

from ctckit import ops, plateau

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
