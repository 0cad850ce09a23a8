"""The figures that are measured for monitors alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ctckit
from ctckit import Emissions, ops
from ctckit.engine.evaluate import evaluate, frequency_bands
from ctckit.engine.loop import fit
from ctckit.engine.step import mean_blank_mass, parts_of, train_step
from ctckit.loss import Objective
from ctckit.record.history import read_rows
from ctckit.types import Batch


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


class Severed(ctckit.Model):
    """A model whose front end no gradient reaches, with a bias of its own beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(4, 6)
        self.back = nn.Linear(6, 3)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions((self.back(self.front(features_BTF).detach()) + self.bias).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B


def test_gradient_norms_by_module_make_up_the_whole() -> None:
    torch.manual_seed(0)
    model = Severed()
    batch = Batch(
        ("a", "b"),
        torch.randn(2, 9, 4),
        torch.tensor([9, 7]),
        torch.tensor([[1, 2], [2, -1]]),
        torch.tensor([2, 1]),
    )
    objective = Objective()
    outcome = train_step(
        model, torch.optim.SGD(model.parameters(), lr=0.0), batch, objective=objective, gradient_clip=1e9
    )
    assert set(parts_of(model)) == {"front", "back", "bias"}
    assert set(outcome.module_gradients) == {"back", "bias"}
    assert outcome.gradient_norm == pytest.approx(math.hypot(*outcome.module_gradients.values()))
    assert model.back.weight.grad is not None
    assert model.back.bias.grad is not None
    back = math.hypot(float(model.back.weight.grad.norm()), float(model.back.bias.grad.norm()))
    assert outcome.module_gradients["back"] == pytest.approx(back)


def test_every_epoch_row_has_the_figures(make_run: Any, silent: Any) -> None:
    run = make_run(
        {"phases.*.epochs": 1, "phases.warmup.penalty.name": "bias_init", "phases.warmup.penalty.bias": -4.0}
    )
    fit(run, silent)
    rows = [row for row in read_rows(run.history.path) if row["kind"] == "epoch"]
    for row in rows:
        assert 0.0 < row["entropy"] <= math.log(len(run.tokens))
        assert row["train_infeasible"] == 0
        assert {"coverage_rare", "coverage_medium", "coverage_frequent"} <= set(row)
        assert set(row["module_gradients"]) == {"convolutions", "frame_lstm", "sequence_lstm", "projection"}
        assert all(norm > 0.0 for norm in row["module_gradients"].values())
        assert max(row["module_gradients"].values()) <= row["gradient_norm"]
        assert row["module_weights"]["projection"] > 1.0
        assert row["blank_bias_start"] == -4.0
        assert row["blank_bias_drift"] == pytest.approx(row["blank_bias"] + 4.0)
    assert rows[-1]["blank_bias"] == pytest.approx(run.blank_bias())
    assert rows[0]["blank_bias_drift"] != 0.0


def test_a_part_that_a_stage_leaves_out_has_no_gradient(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1, "phases.warmup.stage": 1})
    fit(run, silent)
    first, second, *_ = (row for row in read_rows(run.history.path) if row["kind"] == "epoch")
    assert first["module_gradients"]["sequence_lstm"] is None
    assert first["module_gradients"]["frame_lstm"] > 0.0
    assert second["module_gradients"]["sequence_lstm"] > 0.0


def test_blank_mass_is_the_mean_over_real_frames_whatever_the_padding_holds() -> None:
    logits_TBC = 3.0 * torch.randn(6, 3, 4, generator=torch.manual_seed(1))
    lengths_B = torch.tensor([6, 2, 3])
    expected = torch.cat([logits_TBC[:length, b].softmax(-1)[:, 0] for b, length in enumerate(lengths_B.tolist())])
    logits_TBC[2:, 1] = math.nan
    logits_TBC[3:, 2] = 1e30
    assert mean_blank_mass(Emissions(logits_TBC, lengths_B)).item() == pytest.approx(
        float(expected.mean()), abs=1e-6
    )
