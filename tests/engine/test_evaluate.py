"""The figures of an evaluation that are measured for monitors alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ctckit import ops
from ctckit.engine.evaluate import evaluate, frequency_bands


def entropy(logits_TBC: Tensor, shift: float) -> Tensor:
    lengths_B = torch.full((logits_TBC.shape[1],), len(logits_TBC))
    return ops.greedy_with_stats(logits_TBC, lengths_B).entropy(shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shift", [0.0, -3.0])
def test_entropy_is_that_of_the_shifted_distribution(dtype: torch.dtype, shift: float) -> None:
    logits_TBC = 4.0 * torch.randn(7, 3, 5, generator=torch.manual_seed(0)).to(dtype)
    logits_TBC[0, 0, 2] = -math.inf
    before_TBC = logits_TBC.clone()
    shifted_TBC = logits_TBC.double().clone()
    shifted_TBC[..., 0] += shift
    probs_TBC = shifted_TBC.softmax(-1)
    expected_TB = -(probs_TBC * probs_TBC.clamp_min(1e-300).log()).sum(-1)
    torch.testing.assert_close(entropy(logits_TBC, shift).double(), expected_TB, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits_TBC, before_TBC)


def test_a_uniform_and_a_certain_frame() -> None:
    logits_TBC = torch.zeros(2, 1, 4)
    logits_TBC[1, 0, 1] = 1000.0
    assert entropy(logits_TBC, 0.0).flatten().tolist() == pytest.approx([math.log(4), 0.0])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"a": 1, "b": 2, "c": 3}, {"a": 0, "b": 1, "c": 2}),
        ({"a": 9, "b": 8, "c": 1, "d": 1, "e": 5, "f": 6}, {"a": 2, "b": 2, "c": 0, "d": 0, "e": 1, "f": 1}),
        ({"a": 1, "b": 1, "c": 1, "d": 4}, {"a": 0, "b": 0, "c": 0, "d": 2}),  # ties stay together
        ({"a": 7, "b": 7}, {"a": 0, "b": 0}),
        ({}, {}),
    ],
)
def test_bands_of_frequency(counts: dict[str, int], expected: dict[str, int]) -> None:
    assert frequency_bands(counts) == expected


def test_coverage_by_frequency_counts_each_label_of_the_references_once(make_run: Any) -> None:
    run = make_run()
    bands = run.dev.bands
    scored = evaluate(run.model, run.dev, run.tokens, shift=0.0, device=run.device)
    wanted = {token for reference in run.dev.references.values() for token in reference}
    emitted = {token for hypothesis in scored.hypotheses for token in hypothesis.tokens}
    assert wanted <= set(bands)
    assert sum(scored.scores.band_labels) == scored.scores.reference_labels == len(wanted)
    assert sum(scored.scores.covered_band_labels) == scored.scores.covered_labels == len(wanted & emitted)
    for band, name in enumerate(("rare", "medium", "frequent")):
        own = {label for label in wanted if bands[label] == band}
        share = 100.0 * len(own & emitted) / len(own) if own else math.nan
        assert scored.scores.coverage_by_frequency[name] == pytest.approx(share, nan_ok=True)
