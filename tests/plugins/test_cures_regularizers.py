"""The cures' regularizers against their definitions: by enumeration, by their papers' formulas, or by hand."""

from __future__ import annotations

import math

import pytest
import torch
from alignments import AT, log_weights, one_clip, small
from hypothesis import given, settings
from torch.nn import functional as F

from ctckit import Auxiliary, ConfigError, Emissions, Regularizer
from ctckit.loss import Objective, training_loss
from ctckit.testing import make_step
from ctckit_cures.regularizers import Consistency, HeadDistillation, PathEntropy, Smoothness


@given(small)
@settings(max_examples=15, deadline=None)
def test_path_entropy_is_the_entropy_of_the_enumerated_paths(case: tuple[int, tuple[int, ...], int]) -> None:
    frames, target, seed = case
    logits_TC = torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits_TC.requires_grad_()
    posterior = log_weights(logits_TC, target).log_softmax(0)
    entropy = -(posterior.exp() * posterior).sum()
    wanted = torch.autograd.grad(-0.5 * entropy / len(target), logits_TC)[0]

    term = PathEntropy(weight=0.5).term(*one_clip(logits_TC, target), AT)
    got = torch.autograd.grad(term, logits_TC)[0]
    assert term.item() == pytest.approx(-0.5 * entropy.item() / len(target), abs=1e-10)
    assert got.detach().numpy() == pytest.approx(wanted.numpy(), abs=1e-10)


@pytest.mark.parametrize("regularizer", [HeadDistillation(), Smoothness(), Consistency(), PathEntropy()])
def test_padding_that_is_no_number_spoils_neither_term_nor_gradient(regularizer: Regularizer) -> None:
    emissions, batch = make_step(views=regularizer.views)
    wanted = regularizer.term(emissions, batch, AT).item()
    beyond_TB = torch.arange(7)[:, None] >= batch.lengths_B[None]
    with torch.no_grad():
        for logits_TBC in (emissions.logits_TBC, emissions.auxiliary[0].logits_TBC):
            logits_TBC[beyond_TB] = math.nan
    term = regularizer.term(emissions, batch, AT)
    assert term.item() == pytest.approx(wanted, rel=1e-5)
    term.backward()
    for head_TBC in (emissions.logits_TBC, emissions.auxiliary[0].logits_TBC):
        assert head_TBC.grad is None or bool(head_TBC.grad.isfinite().all())


def test_terms_are_added_with_their_weight_and_reported() -> None:
    emissions, batch = make_step()
    plain = training_loss(emissions, batch, Objective())
    term = Smoothness(weight=2.0).term(emissions, batch, AT)
    with_term = training_loss(
        emissions, batch, Objective(terms={"smoothness": lambda e, b: Smoothness(weight=2.0).term(e, b, AT)})
    )
    assert with_term.total.item() == pytest.approx(plain.total.item() + term.item(), rel=1e-6)
    assert with_term.terms["smoothness"].item() == pytest.approx(term.item())
    assert with_term.main.item() == pytest.approx(plain.main.item())


def test_distillation_is_vacs_formula_and_leaves_the_teacher_alone() -> None:
    emissions, batch = make_step()
    main_TBC, frame_TBC = emissions.logits_TBC, emissions.auxiliary[0].logits_TBC
    term = HeadDistillation(weight=3.0, temperature=4.0).term(emissions, batch, AT)
    wanted = 0.0
    for clip, frames in enumerate(batch.lengths_B.tolist()):
        teacher, student = (logits_TBC[:frames, clip, 1:].detach() / 4.0 for logits_TBC in (main_TBC, frame_TBC))
        wanted += (
            3.0 * 16.0 * float(F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="sum")) / frames
        )
    assert term.item() == pytest.approx(wanted / 4, rel=1e-5)  # 4 tokens
    term.backward()
    assert main_TBC.grad is None
    assert frame_TBC.grad is not None
    assert bool((frame_TBC.grad[..., 0] == 0).all())  # the blank is left out
    assert bool((frame_TBC.grad[..., 1:] != 0).any())


def test_distillation_says_what_it_lacks() -> None:
    emissions, batch = make_step()
    with pytest.raises(ConfigError, match="no auxiliary head to distil into"):
        HeadDistillation().term(Emissions(emissions.logits_TBC, emissions.lengths_B), batch, AT)
    short = Auxiliary("frame_head", emissions.logits_TBC, emissions.lengths_B - 1, 1.0)
    with pytest.raises(ConfigError, match="head 'frame_head' has other frames"):
        HeadDistillation().term(Emissions(emissions.logits_TBC, emissions.lengths_B, (short,)), batch, AT)


def test_smoothness_is_the_divergence_from_the_three_frame_mean() -> None:
    emissions, batch = make_step()
    wanted = 0.0
    for clip, frames in enumerate(batch.lengths_B.tolist()):
        probs_TC = emissions.logits_TBC[:frames, clip].detach().softmax(-1)
        padded = torch.cat([probs_TC[:1], probs_TC, probs_TC[-1:]])
        smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
        wanted += float(F.kl_div(probs_TC.log(), smooth, reduction="sum"))
    assert Smoothness(weight=0.2).term(emissions, batch, AT).item() == pytest.approx(0.2 * wanted / 4, rel=1e-5)


def test_an_even_emission_is_smooth() -> None:
    emissions, batch = make_step()
    even = Emissions(torch.zeros_like(emissions.logits_TBC), emissions.lengths_B)
    assert Smoothness().term(even, batch, AT).item() == pytest.approx(0.0, abs=1e-6)


def test_consistency_is_zero_for_equal_views_and_symmetric() -> None:
    emissions, batch = make_step(views=2)
    one_TBC = emissions.logits_TBC[:, :2].detach()
    twice = Emissions(torch.cat([one_TBC, one_TBC], 1), emissions.lengths_B)
    assert Consistency().term(twice, batch, AT).item() == pytest.approx(0.0, abs=1e-6)
    other_TBC = emissions.logits_TBC[:, 2:].detach()
    swapped = Emissions(torch.cat([other_TBC, one_TBC], 1), emissions.lengths_B)
    assert Consistency().term(swapped, batch, AT).item() == pytest.approx(
        Consistency().term(emissions, batch, AT).item(), rel=1e-5
    )
    wanted = sum(
        float(F.kl_div(a[:frames, clip].log_softmax(-1), b[:frames, clip].softmax(-1), reduction="sum"))
        for clip, frames in enumerate([7, 5])
        for a, b in ((one_TBC, other_TBC), (other_TBC, one_TBC))
    )
    assert Consistency(weight=0.2).term(emissions, batch, AT).item() == pytest.approx(0.1 * wanted / 4, rel=1e-5)
