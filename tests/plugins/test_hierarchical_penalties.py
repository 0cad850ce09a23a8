from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ctckit import ConfigError, Emissions, Model, Penalty, Progress
from ctckit_hierarchical.model import HierarchicalBiLSTM
from ctckit_hierarchical.penalties import BiasInit, Constant, LinearDecay, Table


def at(phase_epoch: int, phase_epochs: int = 20, epoch: int | None = None) -> Progress:
    return Progress(epoch or phase_epoch, "a", phase_epoch, phase_epochs, 50)


def test_the_decay_is_the_intended_table_and_not_the_documents_code() -> None:
    decay = LinearDecay(start=-3.0, end=-1.5)
    shifts = [decay.shift(at(epoch)) for epoch in range(1, 21)]
    assert shifts == pytest.approx([-3.0 + 0.075 * epoch for epoch in range(1, 21)])

    def documents(epoch: int) -> float:  # docs/founding-document.md 4.1 and C3: the clamp is the wrong way round
        return max(-1.5, -3.0 - (-3.0 + 1.5) / 20 * epoch)

    assert {documents(epoch) for epoch in range(1, 21)} == {-1.5}
    assert shifts[0] == pytest.approx(-2.925)
    assert decay.shift(at(25)) == -1.5


def test_the_decay_is_local_to_its_phase() -> None:
    assert LinearDecay().shift(at(1, epoch=6)) == LinearDecay().shift(at(1, epoch=1))
    assert LinearDecay(epochs=5).shift(at(5)) == -1.5


def test_the_table_is_that_of_section_3_2_over_the_run() -> None:
    shifts = {epoch: Table().shift(at(1, epoch=epoch)) for epoch in (1, 10, 11, 20, 21, 30, 31, 55)}
    assert shifts == {1: -3.0, 10: -3.0, 11: -2.0, 20: -2.0, 21: -1.0, 30: -1.0, 31: -0.5, 55: -0.5}


@pytest.mark.parametrize(
    "penalty", [Constant(-1.0), LinearDecay(), Table(), BiasInit()], ids=lambda penalty: type(penalty).__name__
)
@given(epoch=st.integers(1, 100), epochs=st.integers(1, 100))
def test_shifts_are_finite_never_positive_and_pure(penalty: Penalty, epoch: int, epochs: int) -> None:
    shift = penalty.shift(at(epoch, epochs))
    assert math.isfinite(shift)
    assert shift <= 0
    assert penalty.shift(at(epoch, epochs)) == shift


def test_bias_init_sets_the_bias_of_the_blank_alone() -> None:
    model = HierarchicalBiLSTM(3, 4, hidden_size=2)
    before = model.projection.bias.clone()
    BiasInit(-8.0).prepare(model)
    assert model.projection.bias[0] == -8.0
    assert torch.equal(model.projection.bias[1:], before[1:])


def test_bias_init_names_a_model_without_a_bias() -> None:
    class Bare(Model):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, features_BTF: Any, lengths_B: Any) -> Emissions:
            return Emissions(self.layer(features_BTF).transpose(0, 1), lengths_B)

        def output_lengths(self, lengths_B: Any) -> Any:
            return lengths_B

    with pytest.raises(ConfigError, match=r"Bare has no blank_bias\(\)"):
        BiasInit().prepare(Bare())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(0.5),
        lambda: LinearDecay(start=1.0),
        lambda: LinearDecay(epochs=0),
        lambda: Table(until=(5, 3), shifts=(-1, -1, -1)),
        lambda: Table(until=(5,), shifts=(-1.0,)),
        lambda: Constant(-math.inf),
    ],
)
def test_impossible_parameters_are_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()
