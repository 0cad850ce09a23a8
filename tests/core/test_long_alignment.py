"""Long clips: the path of the op, in pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctckit import alignment, ops
from ctckit.long_alignment import cut, long_spans


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 8), st.floats(-6, 3), st.booleans())
def test_it_is_the_path_of_the_op(seed: int, frames: int, labels: int, shift: float, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_TBC = 2.0 * torch.randn(frames, 1, 4, generator=generator)
    if ties:
        logits_TBC = logits_TBC.round()
        shift = float(round(shift))
    logits_TBC[torch.rand(frames, 1, 4, generator=generator) < 0.05] = -torch.inf
    targets_BS = torch.randint(1, 4, (1, labels), generator=generator)
    lengths_B, labels_B = torch.tensor([frames]), torch.tensor([labels])
    wanted = ops.align(logits_TBC, targets_BS, lengths_B, labels_B, shift)
    found = long_spans(logits_TBC[:, 0], targets_BS[0], shift)
    if bool(wanted.utterance_scores_B.isneginf()):
        assert found is None
    else:
        assert found == list(zip(wanted.starts_BS[0].tolist(), wanted.ends_BS[0].tolist(), strict=True))


@given(st.data(), st.integers(1, 12), st.integers(1, 60))
def test_pieces_hold_whole_labels_and_all_frames(data: Any, labels: int, most: int) -> None:
    edges = sorted(data.draw(st.lists(st.integers(0, 80), min_size=2 * labels, max_size=2 * labels, unique=True)))
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    pieces = cut(spans, 90, most)
    assert (pieces[0][0].start, pieces[-1][0].stop) == (0, 90)
    assert (pieces[0][1].start, pieces[-1][1].stop) == (0, labels)
    for (frames, numbers), (next_frames, next_numbers) in pairwise(pieces):
        assert (frames.stop, numbers.stop) == (next_frames.start, next_numbers.start)
    for frames, numbers in pieces:
        assert all(frames.start <= start < end <= frames.stop for start, end in spans[numbers])
        size = (frames.stop - frames.start) * (numbers.stop - numbers.start)
        assert size <= most or numbers.stop - numbers.start == 1


def test_a_long_clip_is_aligned_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words far apart, so that a cut between them changes nothing."""
    logits_TBC = torch.full((200, 1, 4), -4.0)
    logits_TBC[:, 0, 0] = 4.0
    classes = [1, 2, 3, 1, 1, 2, 3, 2]
    for number, label in enumerate(classes):
        logits_TBC[25 * number + 8 : 25 * number + 12, 0, [0, label]] = torch.tensor([0.0, 6.0])
    lengths_B = torch.tensor([200])
    paths = []
    wholes = []
    for limit in (alignment.LONG, 150):
        monkeypatch.setattr(alignment, "LONG", limit)
        path = alignment._path_spans(logits_TBC, lengths_B, classes, 0.0)
        assert path is not None
        paths.append(path)
        wholes.append(alignment._whole_spans(logits_TBC, classes, 0.0, path))
    assert paths[0] == paths[1] == [(25 * number + 8, 25 * number + 12) for number in range(8)]
    for (start, end), (a, b) in zip(wholes[1], paths[0], strict=True):
        assert start <= a < b <= end
    assert all(end == start for (_, end), (start, _) in pairwise(wholes[1]))
