from __future__ import annotations

import math

import pytest
import torch
from alignments import AT

from ctckit import Emissions, Progress, StepResult
from ctckit.testing import make_epoch, make_progress
from ctckit_cures.penalties import BlankMassController, LabelPrior

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
