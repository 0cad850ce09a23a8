from __future__ import annotations

import jiwer
import torch
from batches import batch_of
from hypothesis import given
from hypothesis import strategies as st

from ctckit import ops
from ctckit.decode import edit_counts, hypotheses

tokens = st.lists(st.sampled_from(["a", "b c", "d", "A"]), max_size=6)


@given(tokens, tokens)
def test_edit_counts_are_a_minimum_alignment(reference: list[str], hypothesis: list[str]) -> None:
    substitutions, deletions, insertions = edit_counts(reference, hypothesis)
    table = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        previous, table[0] = table[0], i
        for j, got in enumerate(hypothesis, 1):
            previous, table[j] = table[j], min(table[j] + 1, table[j - 1] + 1, previous + (wanted != got))
    assert substitutions + deletions + insertions == table[-1]
    assert len(reference) - deletions + insertions == len(hypothesis)


def test_scores_agree_with_jiwer_on_sentences() -> None:
    reference, hypothesis = ["the", "cat", "sat", "on", "the", "mat"], ["the", "bat", "sat", "on", "mat", "now"]
    output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    assert edit_counts(reference, hypothesis) == (output.substitutions, output.deletions, output.insertions)


def test_hypotheses_carry_input_times_and_all_reference_tokens() -> None:
    batch = batch_of([[1, 2]], [8])
    logits = torch.full((4, 1, 3), -9.0)
    for frame, label in enumerate([1, 0, 2, 2]):
        logits[frame, 0, label] = 9.0
    paths = ops.greedy(logits, torch.tensor([4]))
    (found,) = hypotheses(paths, batch, [4], ("<blank>", "a", "b"), {"clip-0": ("a", "unseen", "b")})
    assert found.tokens == ("a", "b")
    assert (found.starts, found.ends) == ((0, 4), (2, 8))
    assert found.reference == ("a", "unseen", "b")
    assert (found.substitutions, found.deletions, found.insertions) == (0, 1, 0)
    assert all(score > -1e-3 for score in found.scores)
