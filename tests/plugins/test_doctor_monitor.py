"""The monitor of ``plugins/ctckit_doctor``: what it says when, and what it asks for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ctckit
from ctckit import (
    Action,
    Epoch,
    EpochResult,
    Finding,
    ScaleLearningRate,
    SetDropout,
    ShiftPenalty,
    StopPhase,
    StopTraining,
)
from ctckit.cli import main
from ctckit.doctor.flags import RULES
from ctckit.plugin_host import load_plugins
from ctckit.testing import make_epoch, parametrize_with_checks
from ctckit_doctor.monitor import ACTIONS, Doctor


def doctor(*named: str, act: bool = False, **more: Any) -> Doctor:
    """Everything off but what is named."""
    silent = tuple(rule for rule in ("state", *ctckit.rules()) if rule not in named)
    return Doctor(off=silent, act=named if act else (), **more)


def epoch(number: int, *, train: float = 0.4, dropout: float | None = 0.1, shift: float = -1.0, **val: Any) -> Any:
    """An epoch of 1000 reference tokens in 43 000 frames: one-frame spikes have 97.7 % blanks."""
    base = make_epoch(number)
    scores = {
        "loss": 0.6,
        "substitutions": 60,
        "deletions": 50,
        "insertions": 10,
        "reference_tokens": 1000,
        "hypothesis_tokens": 960,
        "utterances": 100,
        "wrong_utterances": 50,
        "empty_hypotheses": 0,
        "frames": 43_000,
        "blank_frames": 42_000,
        "raw_blank_frames": 42_000,
        "blank_mass": 0.97,
        "unique_nonblank": 60,
        "covered_labels": 60,
        "reference_labels": 70,
        "infeasible": 0,
    }
    return dataclasses.replace(
        base,
        at=dataclasses.replace(base.at, epoch=number),
        train_loss=train,
        train=dataclasses.replace(base.train, **{**scores, "loss": train}),
        val=dataclasses.replace(base.val, **{**scores, **val}),
        plateau_loss=4.2,
        shift=shift,
        domain="logit",
        dropout=dropout,
        gradient_norm=5.0,
    )


SILENT = {"loss": 4.1, "substitutions": 0, "deletions": 1000, "insertions": 0, "hypothesis_tokens": 0} | {
    "blank_frames": 43_000,
    "raw_blank_frames": 43_000,
    "unique_nonblank": 0,
    "covered_labels": 0,
}


def silent(number: int, **changes: Any) -> EpochResult:
    return epoch(number, train=4.15, **{**SILENT, **changes})


def seen(monitor: Doctor, *epochs: EpochResult) -> list[list[Finding | Action]]:
    return [list(monitor.observe(one)) for one in epochs]


@parametrize_with_checks([Doctor(), Doctor(act=tuple(ACTIONS))])
def test_contract(component: Any, check: Callable[[Any], None]) -> None:
    check(component)


def test_a_healthy_run_is_reported_once(spiky: Any) -> None:
    said = [one for row in seen(Doctor(), *(epoch(n, deletions=50 - n) for n in range(1, 30))) for one in row]
    assert all(isinstance(one, Finding) and one.severity == "info" for one in said)
    # 97.7 % blanks: the document's red flag holds, and the finding says why it means nothing
    assert [one.rule for one in said if isinstance(one, Finding)] == [
        "state",
        "blank_ratio_high",
        "contingency",
        "milestone_blanks",
    ]


def test_the_state_is_reported_on_every_change() -> None:
    monitor = doctor("state")
    run = [silent(n) for n in range(1, 13)] + [epoch(13, train=3.0, deletions=900), epoch(14), epoch(15)]
    rows = seen(monitor, *run)
    said = {n: row[0] for n, row in enumerate(rows, 1) if row}
    assert sorted(said) == [1, 4, 11, 13, 14]
    messages = {n: one.message for n, one in said.items() if isinstance(one, Finding)}
    assert messages[1].startswith("PLATEAU since epoch 1")
    assert messages[13].startswith("ESCAPING since epoch 13")
    assert messages[14].startswith("HEALTHY since epoch 14")
    severities = [one.severity for one in said.values() if isinstance(one, Finding)]
    assert severities == ["info", "warning", "error", "info", "info"]


CASES: list[tuple[str, list[EpochResult], list[tuple[type[Action], dict[str, Any]]]]] = [
    ("blank_ratio_high", [silent(11)], [(StopTraining, {})]),
    ("blank_excess", [silent(11)], [(StopTraining, {})]),
    ("few_labels", [silent(16)], [(StopTraining, {})]),
    ("overfit_ratio_high", [epoch(3, train=0.05, substitutions=300)], [(StopTraining, {})]),
    ("val_loss_rising", [epoch(n, loss=0.5 + 0.1 * n, substitutions=300) for n in range(1, 5)], [(StopPhase, {})]),
    ("blank_falls_slowly", [silent(n) for n in range(6, 12)], [(ShiftPenalty, {"by": -0.5})]),
    ("wer_stalls", [epoch(n) for n in range(1, 7)], [(ScaleLearningRate, {"factor": 0.3})]),
    ("fits_without_generalising", [epoch(3, loss=5.5)], [(SetDropout, {"probability": pytest.approx(0.15)})]),
    ("contingency", [silent(15)], [(ShiftPenalty, {"by": -4.0}), (SetDropout, {"probability": 0.05})]),
]


@pytest.mark.parametrize(("rule", "epochs", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_each_rule_is_off_or_advises_or_acts(
    rule: str, epochs: list[EpochResult], wanted: list[tuple[type[Action], dict[str, Any]]]
) -> None:
    assert seen(doctor(), *epochs)[-1] == []
    (advice,) = seen(doctor(rule), *epochs)[-1]
    assert isinstance(advice, Finding)
    assert advice.rule == rule
    actions = seen(doctor(rule, act=True), *epochs)[-1]
    assert [type(action) for action in actions] == [kind for kind, _ in wanted]
    for action, (_, values) in zip(actions, wanted, strict=True):
        assert isinstance(action, Action)
        assert action.finding == advice
        for name, value in values.items():
            assert getattr(action, name) == value


def test_every_rule_is_tried_here_and_has_its_switch() -> None:
    assert {case[0] for case in CASES} == set(ACTIONS)
    assert set(ACTIONS) <= set(RULES)


def test_what_the_reference_explains_is_never_acted_on() -> None:
    run = [epoch(n, deletions=50 - n) for n in range(1, 30)]
    actions = [one for row in seen(Doctor(act=tuple(ACTIONS)), *run) for one in row]
    assert not [one for one in actions if isinstance(one, Action)]


def test_a_flag_is_said_once_while_it_holds() -> None:
    monitor = doctor("overfit_ratio_high")
    wrong = {"train": 0.05, "substitutions": 300}
    rows = seen(monitor, epoch(1, **wrong), epoch(2, **wrong), epoch(3), epoch(4, **wrong))
    assert [len(row) for row in rows] == [1, 0, 0, 1]


def test_an_adjustment_is_repeated_after_its_patience() -> None:
    monitor = doctor("fits_without_generalising", act=True)
    rows = seen(monitor, *(epoch(n, loss=5.5, dropout=0.48) for n in range(1, 8)))
    assert [[type(one) for one in row] for row in rows] == [[SetDropout], [], [], [], [], [SetDropout], []]
    assert rows[0][0].probability == 0.5  # type: ignore[union-attr]
    assert [
        type(row[0])
        for row in seen(doctor("fits_without_generalising", act=True), epoch(1, loss=5.5, dropout=None))
    ] == [Finding]


def test_errors_that_stall_on_the_plateau_do_not_starve_the_run() -> None:
    assert not [
        one for row in seen(doctor("wer_stalls", act=True), *(silent(n) for n in range(1, 20))) for one in row
    ]


def test_state_survives_a_checkpoint() -> None:
    run = [silent(n) for n in range(1, 12)] + [epoch(n) for n in range(12, 20)]
    whole = seen(Doctor(), *run)
    first, second = Doctor(), Doctor()
    before = seen(first, *run[:9])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + seen(second, *run[9:]) == whole


@pytest.mark.parametrize("option", ["act", "off"])
def test_an_unknown_rule_is_refused_before_training(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} names 'blank_ratio'; it takes .*blank_ratio_high"):
        Doctor(**{option: ("blank_ratio",)})


def test_a_rule_cannot_act_and_be_silent() -> None:
    with pytest.raises(ValueError, match="'val_loss_rising' stands in act and in off"):
        Doctor(act=("val_loss_rising",), off=("val_loss_rising",))


@pytest.mark.parametrize(
    "wrong", [{"penalty_step": 0.5}, {"rate_factor": 1.0}, {"dropout_step": 0.0}, {"patience": 0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Doctor(**wrong)


def test_a_not_finite_epoch_keeps_its_name() -> None:
    assert Epoch.of(epoch(1, train=float("nan"))).not_finite == (
        "train_loss",
        "train_eval_loss",
        "overfit_ratio",
    )
    assert isinstance(Epoch.of(epoch(1)), Epoch)


def test_the_recipes_bring_the_doctor_and_let_it_advise_only() -> None:
    for name in ("hierarchical_fixed", "hierarchical_multistage"):
        registry, sources = load_plugins([name])
        assert [source.name for source in sources] == [name, "doctor"]
        monitors = {monitor.name: monitor.params for monitor in registry.recipes[name].value.monitors}
        assert monitors["doctor"] == {}
    assert (Doctor().act, Doctor().off) == ((), ())


def test_findings_reach_history_console_and_resume(
    tmp_path: Path, tiny: Any, make_quick: Callable[..., list[str]]
) -> None:
    folder = tmp_path / "run"
    result = CliRunner().invoke(main, ["train", *make_quick(tiny, folder)])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    said = [row for row in rows if row["kind"] == "finding" and row["monitor"] == "doctor"]
    view = CliRunner().invoke(main, ["diagnose", str(folder), "--findings"])
    kept = [json.loads(line) for line in view.stdout.splitlines()]
    beside = [
        {key: value for key, value in row.items() if key != "kind"} for row in rows if row["kind"] == "finding"
    ]
    assert [{key: value for key, value in row.items() if key != "action"} for row in kept] == beside
    early = [row for row in kept if row["epoch"] == 0]
    assert early
    assert {row["monitor"] for row in early} == {"audit"}
    assert said[0]["rule"] == "state"
    assert said[0]["epoch"] == 1
    state = said[0]["evidence"]["state"]
    assert state in ("STARTING", "PLATEAU")
    assert f"{state} since epoch 1" not in result.stderr  # where every run begins, so it is a note
    diagnosis = CliRunner().invoke(main, ["diagnose", str(folder)])
    assert f"{state} 1" in diagnosis.stdout
