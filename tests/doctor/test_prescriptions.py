from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from diagnosed import RUN_ROW, SLOW, an4, call, epoch, history


def test_a_stuck_run_is_sent_to_its_front_end_before_any_penalty(tmp_path: Path) -> None:
    run = history(tmp_path / "stuck", [RUN_ROW, *(epoch(n) for n in range(1, 16))])
    result = call(run, "--json")
    assert result.exit_code == 11
    found = json.loads(result.stdout)
    assert (found["run"], found["state"], found["since"], found["epochs"]) == ("stuck", "PLATEAU", 1, 15)
    changes = [one["change"] for one in found["advice"]]
    assert changes == [
        "ctckit audit train.h5 --dev dev.h5",
        "--set model.temporal_conv=true",
        "--set model.auxiliary_weight=1",
        "--set batch_size=8",
        "--set data.normalize=clip_mean",
        "no blank penalty before these",
    ]
    assert all(one["source"] for one in found["advice"])


def test_what_a_slow_run_lacks_is_named_in_the_order_of_its_effect(tmp_path: Path) -> None:
    run = an4(tmp_path / "bare", SLOW, 30, batch_size=16)
    changes = [one["change"] for one in json.loads(call(run, "--json").stdout)["advice"]]
    assert changes[:3] == ["--set model.temporal_conv=true", "--set model.auxiliary_weight=1", "--set batch_size=8"]
    run = an4(tmp_path / "fine", SLOW, 30, remedies=[])
    changes = [one["change"] for one in json.loads(call(run, "--json").stdout)["advice"]]
    assert changes == ["more epochs: at this pace at least 55 in all", "ctckit audit train.h5 --dev dev.h5"]
    # a history of ctckit 0.1.0 does not say what its model lacks; nothing is made up
    run = an4(tmp_path / "old", SLOW, 30, remedies=None)
    assert [one["change"] for one in json.loads(call(run, "--json").stdout)["advice"]] == changes


def test_a_young_run_is_told_to_wait(tmp_path: Path) -> None:
    result = call(history(tmp_path / "young", [RUN_ROW, *(epoch(n) for n in range(1, 4))]))
    assert result.exit_code == 0
    assert "1. wait until epoch 11 or so" in result.stdout
    assert "Nothing to change" not in result.stdout


def test_a_starved_run_is_told_to_keep_its_learning_rate(tmp_path: Path) -> None:
    rows = [epoch(n, learning_rate=1e-3 * 0.5 ** (n // 3)) for n in range(1, 13)]
    assert "keep the learning rate at 0.001 until" in call(history(tmp_path / "run", [RUN_ROW, *rows])).stdout


@pytest.mark.parametrize("number", range(8))
def test_every_state_has_its_advice(spiky: Any, number: int) -> None:
    from ctckit.doctor.course import Diagnosis
    from ctckit.doctor.prescriptions import prescribe
    from ctckit.doctor.states import State
    from ctckit.record.history import Recorded

    state = list(State)[number]
    diagnosis = Diagnosis(state, 1, 20, "info", "on_plateau", "", {}, stalled=False)
    recorded = Recorded("x", (spiky(1),))
    advice = prescribe(diagnosis, recorded)
    assert bool(advice) == (state not in (State.HEALTHY, State.ESCAPING, State.STARTING))
    for one in advice:
        assert one.change
        assert one.why
    penalties = [n for n, one in enumerate(advice) if "penalty" in one.change]
    assert all(n == len(advice) - 1 for n in penalties)
