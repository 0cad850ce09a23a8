from __future__ import annotations

import math
from typing import Any

import jiwer
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ctckit import Auxiliary, Batch, Emissions, TrainingError, ops
from ctckit.decode import edit_counts, hypotheses
from ctckit.engine.augment import crop, mask_time
from ctckit.loss import Objective, training_loss
from ctckit_hierarchical.model import HierarchicalBiLSTM


def batch_of(targets: list[list[int]], frames: list[int], width: int = 3) -> Batch:
    longest = max(map(len, targets))
    return Batch(
        clip_ids=tuple(f"clip-{n}" for n in range(len(targets))),
        features_BTF=torch.ones(len(targets), max(frames), width),
        lengths_B=torch.tensor(frames),
        targets_BS=torch.tensor([target + [-1] * (longest - len(target)) for target in targets]),
        target_lengths_B=torch.tensor([len(target) for target in targets]),
    )


def test_the_loss_is_per_token_and_adds_the_weighted_heads() -> None:
    torch.manual_seed(0)
    batch = batch_of([[1, 2], [3]], [9, 7])
    main, aux = torch.randn(9, 2, 4), torch.randn(9, 2, 4)
    emissions = Emissions(main, batch.lengths_B, (Auxiliary("frame_head", aux, batch.lengths_B, 0.5),))
    parts = training_loss(emissions, batch, Objective())

    def expected(logits: Any) -> float:
        args = (torch.tensor([1, 2, 3]), batch.lengths_B, batch.target_lengths_B)
        return float(F.ctc_loss(logits.log_softmax(-1), *args, reduction="sum")) / 3

    assert float(parts.main) == pytest.approx(expected(main), rel=1e-5)
    assert float(parts.auxiliary["frame_head"]) == pytest.approx(expected(aux), rel=1e-5)
    assert float(parts.total) == pytest.approx(expected(main) + 0.5 * expected(aux), rel=1e-5)


def test_the_two_domains_differ_by_the_normaliser() -> None:
    torch.manual_seed(0)
    batch, logits = batch_of([[1, 2]], [9]), torch.randn(9, 1, 4)
    emissions = Emissions(logits, batch.lengths_B)
    pre, post = (
        float(training_loss(emissions, batch, Objective(shift=-1.0, domain=domain)).total) * 2
        for domain in ("logit", "path")
    )
    p_blank = logits.softmax(-1)[:, 0, 0]
    normaliser = torch.log(1 + p_blank * (math.exp(-1.0) - 1)).sum()
    assert pre == pytest.approx(post + float(normaliser), rel=1e-5)


def test_an_infinite_loss_names_the_clip() -> None:
    batch = batch_of([[1], [1, 1, 1]], [9, 4])
    emissions = Emissions(torch.zeros(9, 2, 3), batch.lengths_B)
    error = training_loss(emissions, batch, Objective()).not_finite(emissions, batch)
    assert isinstance(error, TrainingError)
    assert "main head: the CTC loss is not finite for clip clip-1 (loss inf, 4" in str(error)


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


def test_cropping_keeps_a_path_for_every_clip() -> None:
    model = HierarchicalBiLSTM(3, 3, hidden_size=2)
    batch = batch_of([[1], [1, 1, 1]], [10, 10])
    cropped, count = crop(batch, 4, model)
    assert count == 1
    assert cropped.lengths_B.tolist() == [4, 10]  # three labels and two repeats need five frames
    assert cropped.features_BTF[0, 4:].abs().sum() == 0
    assert crop(batch, 10, model) == (batch, 0)


def test_masking_hides_the_expected_share_in_spans() -> None:
    torch.manual_seed(0)
    batch = batch_of([[1]] * 64, [400] * 64)
    masked = mask_time(batch, share=0.1, span=10)
    hidden = masked.features_BTF[:, :, 0] == 0
    assert 0.08 < float(hidden.float().mean()) < 0.1  # overlaps make it a little less
    starts = hidden[:, 1:] & ~hidden[:, :-1]
    assert float(hidden.sum()) / float(starts.sum()) > 9
    assert bool((batch.features_BTF == 1).all())
