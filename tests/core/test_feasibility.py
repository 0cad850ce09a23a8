from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit.data import Targets
from ctckit_hierarchical.model import HierarchicalBiLSTM


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
