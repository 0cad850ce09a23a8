"""Best paths with wildcards, and segments made of paths."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctckit import ops
from ctckit.alignment import BLANK_COST, WILDCARD_COST, Aligned, best_path, start_to_start, whole

seeds = st.integers(0, 2**32 - 1)


def logits_of(seed: int, frames: int, classes: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.randn(frames, 1, classes, generator=generator, dtype=torch.float64)


def one_label(scores_T: torch.Tensor, blank_T: torch.Tensor) -> float:
    """Best sum over frames: blanks, the label at least once without a gap, blanks."""
    frames = len(scores_T)
    return max(
        (
            float(blank_T[:a].sum() + scores_T[a:b].sum() + blank_T[b:].sum())
            for a in range(frames)
            for b in range(a + 1, frames + 1)
        ),
        default=-math.inf,
    )


@given(seeds, st.integers(3, 7), st.floats(-8, 3))
def test_a_wildcard_takes_any_stretch_at_the_best_class_of_each_frame(seed: int, frames: int, shift: float) -> None:
    logits = logits_of(seed, frames)
    lengths = torch.tensor([frames])
    found = best_path(logits, lengths, [1, 4, 2], shift)
    assert found is not None
    shifted = logits[:, 0].clone()
    shifted[:, 0] += shift
    wild = shifted.amax(1) - WILDCARD_COST
    blank = shifted[:, 0]
    best = max(
        one_label(shifted[:a, 1], blank[:a]) + float(wild[a:b].sum()) + one_label(shifted[b:, 2], blank[b:])
        for a in range(1, frames - 1)
        for b in range(a + 1, frames)
    )
    normaliser = torch.cat([shifted, wild[:, None]], 1).logsumexp(1).sum()
    assert float(found.utterance_scores_B[0]) == pytest.approx(best - float(normaliser), abs=1e-9)
    starts, ends = found.starts_BS[0].tolist(), found.ends_BS[0].tolist()
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_a_wildcard_leaves_known_labels_their_frames() -> None:
    heard = [1, 1, 0, 3, 0, 2, 2, 0, 1, 0]
    logits = torch.full((len(heard), 1, 4), -5.0)
    for frame, label in enumerate(heard):
        logits[frame, 0, label] = 5.0
    found = best_path(logits, torch.tensor([len(heard)]), [1, 4, 1], 0.0)
    assert found is not None
    starts, ends = found.starts_BS[0].tolist(), found.ends_BS[0].tolist()
    assert (starts[0], ends[0], starts[2], ends[2]) == (0, 2, 8, 9)
    assert ends[0] <= starts[1] <= 3
    assert 7 <= ends[1] <= 8


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 9), st.floats(0, 30))
def test_start_to_start_leaves_no_gap_and_no_token_without_a_frame(
    gaps: list[int], first: int, correction: float
) -> None:
    starts = [first + sum(gaps[:number]) for number in range(len(gaps))]
    frames = first + sum(gaps)
    spans = start_to_start([(start, start + 1) for start in starts], frames, correction)
    assert len(spans) == len(starts)
    assert all(end == following for (_, end), (following, _) in pairwise(spans))
    assert spans[-1][1] == frames
    assert all(start < end for start, end in spans)
    assert all(
        start == max(round(was - correction), number if number == 0 else spans[number - 1][0] + 1)
        for number, ((start, _), was) in enumerate(zip(spans, starts, strict=True))
    )


@given(seeds, st.integers(4, 8), st.lists(st.integers(1, 4), max_size=3))
def test_whole_leaves_no_frame_over_and_expects_most_frames_to_be_right(
    seed: int, frames: int, classes: list[int]
) -> None:
    classes = [1, *classes]
    logits, lengths = logits_of(seed, frames), torch.tensor([frames])
    if best_path(logits, lengths, classes, 0.0) is None:
        return
    found = whole(logits, lengths, classes, 0.0)
    starts, ends = found.starts_BS[0].tolist(), found.ends_BS[0].tolist()
    assert (starts[0], ends[-1]) == (0, frames)
    assert all(end == start for end, start in zip(ends, starts[1:], strict=False))
    shifted = logits.clone()
    shifted[..., 0] -= BLANK_COST
    shifted = torch.cat([shifted, shifted.amax(2, keepdim=True) - WILDCARD_COST], 2)
    lasting = torch.tensor([len(classes)])
    mine_TS = ops.occupancies(shifted, torch.tensor([classes]), lengths, lasting)[0, :, 1:].double()
    expected = [
        sum(float(mine_TS[a:b, n].sum()) for n, (a, b) in enumerate(pairwise([0, *cuts, frames])))
        for cuts in combinations(range(1, frames), len(classes) - 1)
    ]
    got = sum(float(mine_TS[a:b, n].sum()) for n, (a, b) in enumerate(zip(starts, ends, strict=True)))
    assert got == pytest.approx(max(expected), abs=1e-6)


def test_no_path_is_none() -> None:
    assert best_path(logits_of(0, 2), torch.tensor([2]), [1, 1], 0.0) is None
    assert best_path(logits_of(0, 3), torch.tensor([3]), [1, 1], 0.0) is not None
    assert best_path(logits_of(0, 3), torch.tensor([3]), [], 0.0) is not None


def test_confidence_leaves_wildcards_out() -> None:
    half = math.log(0.5)
    one = Aligned(
        "c", ("a", "<*>", "b"), (0, 1, 2), (1, 2, 3), (half, -9.0, 4 * half), (False, True, False), 3, 2.0
    )
    assert one.confidence == pytest.approx(0.5**2.5)
    assert one.confidences[0] == pytest.approx(0.5)
    assert one.seconds == ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5))
    assert Aligned("c", (), (), (), (), (), 3).confidence == 1.0
