from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from alignments import log_weights, one_clip, paths_of, small
from batches import batch_of
from hypothesis import given, settings
from torch.nn import functional as F

from ctckit import Auxiliary, Emissions, TrainingError
from ctckit.loss import Objective, class_shifted_loss, training_loss
from ctckit.testing import make_step


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


@given(small)
@settings(max_examples=15, deadline=None)
def test_class_shifts_weigh_the_enumerated_paths(case: tuple[int, tuple[int, ...], int]) -> None:
    frames, target, seed = case
    generator = torch.Generator().manual_seed(seed)
    logits_TC = torch.randn(frames, 3, generator=generator, dtype=torch.float64).requires_grad_()
    shifts_C = torch.randn(3, generator=generator, dtype=torch.float64)
    weights = torch.stack([shifts_C[torch.tensor(path)].sum() for path in paths_of(target, frames, 3)])
    wanted = -(log_weights(logits_TC, target) + weights).logsumexp(0)
    emissions, batch = one_clip(logits_TC, target)
    got = class_shifted_loss(emissions.logits_TBC, emissions.lengths_B, batch, shifts_C)[0]
    assert got.item() == pytest.approx(wanted.item(), abs=1e-10)
    gradients = [torch.autograd.grad(loss, logits_TC, retain_graph=True)[0] for loss in (got, wanted)]
    assert gradients[0].numpy() == pytest.approx(gradients[1].numpy(), abs=1e-10)


def test_a_class_shift_of_the_blank_alone_is_the_path_shift_of_the_op() -> None:
    emissions, batch = make_step()
    shifts_C = torch.tensor([-0.7, 0.0, 0.0, 0.0, 0.0])
    one, other = (
        training_loss(emissions, batch, objective)
        for objective in (Objective(class_shifts_C=shifts_C), Objective(shift=-0.7, domain="path"))
    )
    assert one.total.item() == pytest.approx(other.total.item(), rel=1e-5)
    assert one.auxiliary["frame_head"].item() == pytest.approx(other.auxiliary["frame_head"].item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_class_shifts_hear_no_padding_and_compute_in_float32(dtype: torch.dtype) -> None:
    emissions, batch = make_step()
    shifts_C = torch.tensor([-0.7, 0.1, 0.0, 0.0, 0.2])
    logits_TBC = emissions.logits_TBC.detach().to(dtype)
    wide_TBC = logits_TBC.float()
    wanted_B = class_shifted_loss(wide_TBC, batch.lengths_B, batch, shifts_C)
    beyond_TB = torch.arange(7)[:, None] >= batch.lengths_B[None]
    dirty_TBC = logits_TBC.masked_fill(beyond_TB[..., None], math.nan).requires_grad_()
    got_B = class_shifted_loss(dirty_TBC, batch.lengths_B, batch, shifts_C)
    assert got_B.detach().numpy() == pytest.approx(wanted_B.numpy(), rel=1e-5)
    got_B.sum().backward()
    assert dirty_TBC.grad is not None
    assert bool(dirty_TBC.grad.isfinite().all())
