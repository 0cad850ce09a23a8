from __future__ import annotations

import torch
from batches import batch_of

from ctckit import ops
from ctckit.decode import hypotheses
from ctckit.search import Found


def test_hypotheses_carry_input_times_and_all_reference_tokens() -> None:
    batch = batch_of([[1, 2]], [8])
    logits = torch.full((4, 1, 3), -9.0)
    for frame, label in enumerate([1, 0, 2, 2]):
        logits[frame, 0, label] = 9.0
    paths = ops.greedy(logits, torch.tensor([4]))
    (found,) = hypotheses(Found(paths, [()]), batch, [4], ("<blank>", "a", "b"), {"clip-0": ("a", "unseen", "b")})
    assert found.tokens == ("a", "b")
    assert (found.starts, found.ends) == ((0, 4), (2, 8))
    assert found.reference == ("a", "unseen", "b")
    assert (found.substitutions, found.deletions, found.insertions) == (0, 1, 0)
    assert all(score > -1e-3 for score in found.scores)
