from __future__ import annotations

import pytest
import torch

from ctckit import BLANK, Batch, Emissions, ops
from ctckit.edits import edit_counts
from ctckit.shifts import Shifted, best_shift, sweep_shifts

TOKENS = ("<blank>", "a", "b", "c")
SHIFTS = [-2.0, -0.5, 0.0, 1.0]


def batch(logits_TBC: torch.Tensor, lengths: list[int]) -> tuple[Batch, Emissions]:
    count = logits_TBC.shape[1]
    lengths_B = torch.tensor(lengths)
    ids = tuple(f"clip{n}" for n in range(count))
    empty = torch.full((count, 1), -1), torch.zeros(count, dtype=torch.int64)
    return Batch(ids, torch.zeros(count, len(logits_TBC), 1), lengths_B, *empty), Emissions(logits_TBC, lengths_B)


def test_one_pass_is_decoding_under_each_shift() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(30, 5, 4)
    lengths = [30, 11, 25, 1, 19]
    one = batch(logits, lengths)
    references = dict.fromkeys(one[0].clip_ids, ("a", "b", "c", "a"))
    for found, shift in zip(sweep_shifts([one], SHIFTS, TOKENS, references), SHIFTS, strict=True):
        paths = ops.greedy(logits, one[1].lengths_B, shift)
        sums = [0, 0, 0]
        for row, count, clip in zip(paths.tokens_BS, paths.counts_B, one[0].clip_ids, strict=True):
            edits = edit_counts(references[clip], [TOKENS[label] for label in row[:count]])
            sums = [a + b for a, b in zip(sums, edits, strict=True)]
        assert [found.substitutions, found.deletions, found.insertions] == sums
        assert found.reference_tokens == 20
        shifted = logits.clone()
        shifted[:, :, BLANK] += shift
        blank = sum(int((shifted[:n, b].argmax(-1) == BLANK).sum()) for b, n in enumerate(lengths))
        assert found.blank_ratio == pytest.approx(100 * blank / sum(lengths))


def test_of_equal_shifts_the_smallest_is_best() -> None:
    def scored(shift: float, errors: int) -> Shifted:
        return Shifted(shift, errors, 0, 0, 10, 90.0)

    assert best_shift([scored(-1, 3), scored(-0.5, 2), scored(0, 2), scored(1, 2)]).shift == 0
    assert best_shift([scored(-1, 1), scored(0, 2)]).shift == -1
