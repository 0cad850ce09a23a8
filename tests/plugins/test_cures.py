"""The cures against their definitions: by enumeration of paths, by their papers' formulas, or by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ctckit import Auxiliary, Batch, ConfigError, Emissions, Progress, Regularizer, StepResult
from ctckit.loss import Objective, class_shifted_loss, training_loss
from ctckit.testing import make_epoch, make_progress, make_step, parametrize_with_checks
from ctckit_cures.penalties import BlankMassController, LabelPrior
from ctckit_cures.regularizers import Consistency, HeadDistillation, PathEntropy, Smoothness

AT = make_progress()


@parametrize_with_checks(
    [
        BlankMassController,
        LabelPrior,
        LabelPrior(estimate="running", momentum=0.5),
        HeadDistillation,
        Smoothness,
        Consistency,
        PathEntropy,
    ]
)
def test_contract(component: object, check: object) -> None:
    check(component)  # type: ignore[operator]


def paths_of(target: tuple[int, ...], frames: int, classes: int) -> list[tuple[int, ...]]:
    """All alignments of a target, by definition."""

    def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(label for label, _ in itertools.groupby(path) if label)

    return [path for path in itertools.product(range(classes), repeat=frames) if collapsed(path) == target]


def one_clip(logits_TC: Tensor, target: tuple[int, ...]) -> tuple[Emissions, Batch]:
    lengths_B = torch.tensor([len(logits_TC)])
    batch = Batch(("clip",), logits_TC[None], lengths_B, torch.tensor([target]), torch.tensor([len(target)]))
    return Emissions(logits_TC[:, None], lengths_B), batch


def log_weights(logits_TC: Tensor, target: tuple[int, ...]) -> Tensor:
    """Log-probability of every path, with gradient."""
    log_probs_TC = logits_TC.log_softmax(-1)
    frames = torch.arange(len(logits_TC))
    return torch.stack(
        [log_probs_TC[frames, torch.tensor(path)].sum() for path in paths_of(target, *logits_TC.shape)]
    )


small = st.tuples(st.integers(3, 5), st.sampled_from([(1,), (1, 2), (2, 2)]), st.integers(0, 999))


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


# --- the controller ----------------------------------------------------------------------------------------


def step(blank_mass: float) -> StepResult:
    return StepResult(AT, 1.0, blank_mass, 1.0)


def test_the_controller_moves_by_gain_times_excess_and_is_one_sided() -> None:
    controller = BlankMassController(target=0.6, gain=0.5, strongest=-0.3)
    controller.observe_step(step(1.0))
    assert controller.shift(AT) == pytest.approx(-0.2)
    controller.observe_step(step(1.0))
    assert controller.shift(AT) == -0.3  # clipped
    controller.observe_step(step(0.2))
    assert controller.shift(AT) == pytest.approx(-0.1)
    controller.observe_step(step(0.0))
    assert controller.shift(AT) == 0.0  # never a bonus for blank


@pytest.mark.parametrize("wrong", [{"target": 1.0}, {"target": 0.0}, {"gain": 0.0}, {"strongest": 0.1}])
def test_the_controller_refuses_what_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BlankMassController(**wrong)


# --- the label prior ---------------------------------------------------------------------------------------


def emitted(probs_TBC: list[list[list[float]]], lengths: list[int]) -> Emissions:
    return Emissions(torch.tensor(probs_TBC).log(), torch.tensor(lengths))


def epoch_at(epoch: int, epochs: int = 10) -> Progress:
    return make_progress(epoch, epochs=epochs)


def test_the_prior_is_the_mean_posterior_of_the_epoch_before_over_real_frames() -> None:
    prior = LabelPrior(alpha=0.5, end=0.5)
    assert prior.class_shifts(epoch_at(1)) is None
    padding = [0.0001, 0.0001, 0.9998]
    prior.observe_emissions(emitted([[[0.8, 0.1, 0.1], [0.6, 0.3, 0.1]], [[0.7, 0.2, 0.1], padding]], [2, 1]))
    assert prior.class_shifts(epoch_at(1)) is None  # none within the first epoch
    prior.observe(make_epoch(1))
    mean_C = torch.tensor([0.7, 0.2, 0.1])
    shifts_C = prior.class_shifts(epoch_at(2))
    wanted_C = -0.5 * mean_C.log()
    assert shifts_C is not None
    assert shifts_C.numpy() == pytest.approx((wanted_C - wanted_C[1:].mean()).numpy(), abs=1e-5)
    assert prior.shift(epoch_at(2)) == pytest.approx(float(shifts_C[0]))
    prior.observe_emissions(emitted([[[0.1, 0.8, 0.1]]], [1]))
    prior.observe(make_epoch(2))
    assert prior.log_prior_C is not None
    assert prior.log_prior_C.exp().numpy() == pytest.approx([0.1, 0.8, 0.1], abs=1e-5)


def test_the_power_of_the_prior_is_annealed_over_half_of_the_run() -> None:
    prior = LabelPrior(alpha=0.4)
    prior.observe_emissions(emitted([[[0.9, 0.05, 0.05]]], [1]))
    prior.observe(make_epoch(1))
    blank = [prior.shift(epoch_at(epoch, epochs=20)) for epoch in range(2, 12)]
    full = -0.4 * (math.log(0.9) - math.log(0.05))
    assert blank[:9] == pytest.approx([full * (1 - done / 8) for done in range(9)], rel=1e-5)
    assert blank[8:] == [0.0, 0.0]


@pytest.mark.parametrize("wrong", [{"epochs": 2}, {"alpha": -0.1}, {"momentum": 1.0}, {"floor": 0.0}])
def test_the_prior_refuses_what_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LabelPrior(**wrong)  # type: ignore[arg-type]


def test_a_rare_class_is_floored() -> None:
    prior = LabelPrior(floor=-2.0)
    prior.observe_emissions(emitted([[[0.98, 0.01, 0.01]]], [1]))
    prior.observe(make_epoch(1))
    assert prior.log_prior_C is not None
    assert prior.log_prior_C[1:].tolist() == [-2.0, -2.0]


def test_a_running_prior_follows_within_the_epoch() -> None:
    prior = LabelPrior(estimate="running", momentum=0.5, end=0.3)
    prior.observe_emissions(emitted([[[0.8, 0.1, 0.1]]], [1]))
    prior.observe(make_epoch(1))
    before = prior.shift(epoch_at(2))
    prior.observe_emissions(emitted([[[0.2, 0.4, 0.4]]], [1]))
    assert prior.shift(epoch_at(2)) > before
    assert prior.log_prior_C is not None
    assert prior.log_prior_C.exp()[0] == pytest.approx(0.5, abs=1e-5)


# --- regularizers ------------------------------------------------------------------------------------------


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
