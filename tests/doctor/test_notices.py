"""Each notice has a planted case that brings it up and a healthy one, right beside, that does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ctckit
from ctckit import Emissions, EpochResult, Finding
from ctckit.doctor.notices import NOTICES, notices
from ctckit.engine.step import parts_of, train_step
from ctckit.errors import DataError
from ctckit.loss import Objective
from ctckit.record.epoch import Epoch
from ctckit.record.figures import epoch_row
from ctckit.record.history import finite
from ctckit.testing import make_epoch
from ctckit.types import Batch
from ctckit_doctor.monitor import Doctor

Make = Callable[..., Epoch]

WEIGHTS = {"convolutions": 12.0, "frame_lstm": 20.0, "sequence_lstm": 22.0, "projection": 9.0}
GRADIENTS: dict[str, float | None] = {
    "convolutions": 1.1,
    "frame_lstm": 0.9,
    "sequence_lstm": 0.4,
    "projection": 3.2,
}
START = {"blank_bias_start": -8.0, "blank_bias": -7.4}

CASES: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "vanishing_gradient",
        {"module_gradients": {**GRADIENTS, "convolutions": 1e-4}},
        [
            {"module_gradients": {**GRADIENTS, "convolutions": 2e-4}},  # 1.7e-4 of 0.10 a unit of weight
            {"module_gradients": {**GRADIENTS, "convolutions": None}},  # that is idle
            {"module_gradients": dict.fromkeys(GRADIENTS, 1e-9)},  # all alike: small, and nothing vanishes
            {"module_gradients": {}},
            {  # a scale of its own that started at 0
                "module_gradients": {"front": 0.02, "lstm": 0.05, "out": 1.0, "scale": 1.0},
                "module_weights": {"front": 30.0, "lstm": 25.0, "out": 9.0, "scale": 2e-3},
            },
            {
                "module_gradients": {"front": 0.02, "scale": 1.0},
                "module_weights": {"front": 30.0, "scale": 2e-3},
            },
        ],
    ),
    (
        "idle_module",
        {"module_gradients": {**GRADIENTS, "sequence_lstm": None}},
        [{"module_gradients": GRADIENTS}, {"module_gradients": dict.fromkeys(GRADIENTS)}],
    ),
    ("hidden_losses", {"infeasible": 3.0}, [{"infeasible": 0.0}, {"infeasible": None}]),
    ("hidden_losses", {"train_infeasible": 1.0}, [{"train_infeasible": 0.0}]),
    (
        "bias_learnt_away",
        {**START, "raw_blank_ratio": 97.0, "blank_ratio": 97.0},
        [
            {**START, "raw_blank_ratio": 40.0, "blank_ratio": 40.0},  # the start still holds
            {"blank_bias_start": -0.04, "blank_bias": 0.6, "raw_blank_ratio": 97.0},  # nobody put it there
            {"blank_bias_start": None, "blank_bias": None},
        ],
    ),
    (
        "bias_learnt_away",
        {"blank_bias_start": -1.0, "blank_bias": -0.2, "blank_ratio": 40.0, "raw_blank_ratio": 40.0},
        [{"blank_bias_start": -1.0, "blank_bias": -0.3, "blank_ratio": 40.0, "raw_blank_ratio": 40.0}],
    ),
]


def noticed(spiky: Make, **figures: Any) -> dict[str, Finding]:
    given = {"module_gradients": GRADIENTS, "module_weights": WEIGHTS, **figures}
    return {finding.rule: finding for finding in notices([spiky(n, **given) for n in (1, 2)])}


@pytest.mark.parametrize(("rule", "planted", "beside"), CASES)
def test_a_notice_and_what_comes_near_it(
    spiky: Make, rule: str, planted: dict[str, Any], beside: list[dict[str, Any]]
) -> None:
    assert set(noticed(spiky, **planted)) == {rule}
    for healthy in beside:
        assert rule not in noticed(spiky, **healthy)


def test_every_notice_is_tried_here_and_has_its_switch() -> None:
    assert {case[0] for case in CASES} == set(NOTICES)
    assert set(NOTICES) <= set(ctckit.rules())
    assert Doctor(off=tuple(NOTICES)).off == tuple(NOTICES)


def test_a_healthy_run_with_97_per_cent_blanks_has_nothing_to_notice(spiky: Make) -> None:
    assert noticed(spiky, blank_bias_start=0.03, blank_bias=0.4) == {}
    assert notices([]) == ()


def test_the_part_that_does_not_learn_is_named(spiky: Make) -> None:
    found = noticed(spiky, module_gradients={**GRADIENTS, "convolutions": 0.0})["vanishing_gradient"]
    assert found.severity == "warning"
    assert "'convolutions' comes first, so the features do not reach what learns" in found.message
    assert found.evidence == {"gradient_share_convolutions": 0.0}
    later = noticed(spiky, module_gradients={**GRADIENTS, "sequence_lstm": 0.0})["vanishing_gradient"]
    assert "'sequence_lstm'" in later.message
    assert "comes first" not in later.message
    # one odd epoch is not enough
    odd = spiky(2, module_gradients={**GRADIENTS, "convolutions": 0.0}, module_weights=WEIGHTS)
    assert notices([odd]) == ()
    assert notices([spiky(1, module_gradients=GRADIENTS, module_weights=WEIGHTS), odd]) == ()


def test_hidden_losses_are_counted_for_both_corpora(spiky: Make) -> None:
    found = noticed(spiky, infeasible=3.0, train_infeasible=2.0)["hidden_losses"]
    assert "3 of 100 dev clips and 2 training clips have no CTC path" in found.message
    assert "reduce the subsampling" in found.advice


class DeadFront(ctckit.Model):
    """A front end whose ReLU never opens, or does."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.front = nn.Linear(4, 6)
        self.back = nn.Linear(6, 3)
        nn.init.constant_(self.front.bias, bias)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions(self.back(torch.relu(self.front(features_BTF))).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B


@pytest.mark.parametrize(("bias", "expected"), [(-100.0, ["front"]), (0.5, [])])
def test_a_dead_front_end_shows_in_a_real_step(bias: float, expected: list[str]) -> None:
    torch.manual_seed(0)
    model = DeadFront(bias)
    lengths_B = torch.tensor([9, 7])
    batch = Batch(
        ("a", "b"), torch.randn(2, 9, 4), lengths_B, torch.tensor([[1, 2], [2, -1]]), torch.tensor([2, 1])
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    outcome = train_step(model, optimizer, batch, objective=Objective(), gradient_clip=1e9)
    weights = {part: float(nn.utils.get_total_norm(own)) for part, own in parts_of(model).items()}
    result = make_epoch(1, module_gradients=outcome.module_gradients, module_weights=weights)
    found = {one.rule: one for one in notices([Epoch.of(result)] * 2)}
    assert [part for part in ("front", "back") if f"'{part}' (" in str(found.get("vanishing_gradient"))] == expected


def epoch_with_everything() -> EpochResult:
    return make_epoch(
        2,
        val={"infeasible": 2, "entropy": 0.3},
        module_gradients={"a": 1.0, "b": None, "c": 1e-9},
        module_weights={"a": 3.0, "b": 2.0, "c": 3.0},
        blank_bias=-0.5,
        blank_bias_start=-4.0,
    )


def test_a_row_of_the_history_reads_as_the_epoch_does() -> None:
    result = epoch_with_everything()
    row = json.loads(json.dumps(finite({"kind": "epoch", **epoch_row(result)})))
    read = Epoch.from_row(row, "line 2")
    assert read == Epoch.of(result)
    assert {finding.rule for finding in notices([read] * 2)} == set(NOTICES)


@pytest.mark.parametrize("value", [3, {"a": "x"}, {"a": True}, ["a"]])
def test_a_column_of_parts_of_the_wrong_type_is_named(value: Any) -> None:
    with pytest.raises(DataError, match=r"line 2: 'module_gradients' is .*, not an object of numbers"):
        Epoch.from_row({"epoch": 1, "module_gradients": value}, "line 2")


def test_the_monitor_says_each_once_and_can_be_silenced() -> None:
    rules = {*NOTICES}
    said = [
        one.rule for _ in range(4) for one in Doctor().observe(epoch_with_everything()) if isinstance(one, Finding)
    ]
    assert "vanishing_gradient" not in said  # each monitor has seen one epoch alone
    monitor = Doctor()
    said = [
        one.rule for _ in range(4) for one in monitor.observe(epoch_with_everything()) if isinstance(one, Finding)
    ]
    assert sorted(rule for rule in said if rule in rules) == sorted(rules)
    silent = Doctor(off=tuple(NOTICES))
    said = [
        one.rule for _ in range(4) for one in silent.observe(epoch_with_everything()) if isinstance(one, Finding)
    ]
    assert not rules & set(said)
