from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit import ops
from ctckit.data import Targets
from ctckit.plateau import unigram_plateau
from ctckit_hierarchical.model import HierarchicalBiLSTM


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


def targets_of(targets: list[list[int]]) -> Targets:
    values = np.array([label for target in targets for label in target], dtype=np.int64)
    return Targets(values, np.cumsum([0, *map(len, targets)]))


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.lists(st.integers(1, 3), min_size=1, max_size=8)), min_size=1, max_size=6
    )
)
@settings(max_examples=50, deadline=None)
def test_a_clip_is_infeasible_exactly_where_the_loss_is_infinite(clips: list[tuple[int, list[int]]]) -> None:
    model = HierarchicalBiLSTM(2, 4, hidden_size=2, subsampling=4)
    frames, targets = [frames for frames, _ in clips], [target for _, target in clips]
    lengths_B = model.output_lengths(torch.tensor(frames))
    ids = [str(n) for n in range(len(clips))]
    found = targets_of(targets).infeasible(ids, np.array(frames), lengths_B.numpy())
    width = max(map(len, targets))
    targets_BS = torch.tensor([target + [-1] * (width - len(target)) for target in targets])
    logits_TBC = torch.zeros(int(lengths_B.max()), len(clips), 4, dtype=torch.float64)
    losses_B = torch.nn.functional.ctc_loss(
        logits_TBC.log_softmax(-1),
        targets_BS.clamp_min(1),
        lengths_B,
        torch.tensor([len(target) for target in targets]),
        reduction="none",
    )
    assert sorted(found) == [n for n, loss in enumerate(losses_B.tolist()) if math.isinf(loss)]


def test_the_message_says_what_is_missing() -> None:
    (clip,) = targets_of([[1, 1, 2]]).infeasible(["a"], np.array([9]), np.array([3])).values()
    assert str(clip) == (
        "clip 'a' has no CTC path: T=3 output frames (of 9), U=3 labels, 1 repeats, and T >= U + repeats must hold"
    )
