from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest
from faults import (
    FAULTS,
    CountingPenalty,
    GoodLossTerm,
    GoodModel,
    GoodMonitor,
    GoodPenalty,
    GoodRegularizer,
    GoodSchedule,
    HiddenState,
    NoText,
)

from ctckit.testing import ContractError, check_component, checks_for, parametrize_with_checks, run_checks
from ctckit.testing.component_checks import MONITOR, PENALTY, REGULARIZER, SCHEDULE
from ctckit.testing.model_checks import MODEL


@parametrize_with_checks(
    [
        GoodSchedule(),
        GoodPenalty(value=-0.5),
        GoodRegularizer,
        GoodLossTerm,
        GoodMonitor,
        functools.partial(GoodModel, hidden_size=4),
    ]
)
def test_good_components_pass(component: Any, check: Any) -> None:
    check(component)


@pytest.mark.parametrize(
    ("name", "component", "how"), FAULTS, ids=[f"{name}-{component.__name__}" for name, component, _ in FAULTS]
)
def test_each_check_catches_a_component_that_breaks_it(name: str, component: Any, how: str) -> None:
    failed = {outcome.check: outcome.message for outcome in checked(component) if outcome.status == "failed"}
    assert name in failed
    assert failed[name].startswith(f"{component.__name__} breaks {name}: ")
    if how == "alone":
        assert set(failed) == {name}, failed


def test_every_check_has_its_fault() -> None:
    checks = {function.__name__ for function in (*SCHEDULE, *PENALTY, *REGULARIZER, *MONITOR, *MODEL)}
    assert checks == {name for name, _, _ in FAULTS}


def test_every_check_says_what_it_promises() -> None:
    for function in (*SCHEDULE, *PENALTY, *REGULARIZER, *MONITOR, *MODEL):
        assert inspect.getdoc(function), function.__name__


def test_messages_say_what_was_seen() -> None:
    said = {name: _message(name, component) for name, component, _ in reversed(FAULTS)}
    assert said["resumed_equals_unresumed"].endswith("; offset changed and is not in STATE")
    assert "shift changes calls; learn in observe" in _message("shift_has_no_side_effects", CountingPenalty)
    assert (
        "for a clip of 1 frames output_lengths says 0, the forward gave 1 frames"
        in said["output_lengths_are_exact"]
    )
    assert "generator of random;" in _message("global_rng_is_untouched", FAULTS[6][1])
    assert "did you mean observe_step?" in _message("methods_are_not_misspelt", FAULTS[4][1])
    assert "observe changed auxiliary_losses" in _message("input_is_unchanged", FAULTS[20][1])
    assert "no gradient reaches unused.weight, unused.bias" in said["every_parameter_gets_a_gradient"]
    assert "make it a @dataclass" in _message("parameters_survive_repr", NoText)


def _message(name: str, component: Any) -> str:
    return next(outcome.message for outcome in checked(component) if outcome.check == name)


checked = functools.cache(run_checks)


# --- how the kit is used -----------------------------------------------------------------------------------


def test_check_component_lists_every_broken_clause() -> None:
    check_component(GoodPenalty())
    with pytest.raises(ContractError, match="CountingPenalty breaks shift_has_no_side_effects"):
        check_component(CountingPenalty())
    with pytest.raises(ContractError) as error:
        check_component(FAULTS[19][1])
    assert len(str(error.value).splitlines()) > 1


def test_ids_name_component_parameters_and_check() -> None:
    mark = parametrize_with_checks(
        [GoodPenalty(), GoodPenalty(value=-0.5), functools.partial(GoodModel, hidden_size=4)]
    )
    ids = [case.id for case in mark.args[1]]
    assert "GoodPenalty-shift_is_finite_and_not_positive" in ids
    assert "GoodPenalty(value=-0.5)-picklable" in ids
    assert "GoodModel(hidden_size=4)-output_lengths_are_exact" in ids
    assert len(set(ids)) == len(ids)


def test_an_expected_failure_is_a_strict_xfail_with_its_reason() -> None:
    mark = parametrize_with_checks([HiddenState()], expected_failures={"resumed_equals_unresumed": "on purpose"})
    (case,) = [case for case in mark.args[1] if case.marks]
    assert case.id == "HiddenState-resumed_equals_unresumed"
    assert case.marks[0].kwargs == {"strict": True, "reason": "on purpose"}
    outcomes = run_checks(HiddenState, expected_failures={"resumed_equals_unresumed": "on purpose"})
    assert [o.message for o in outcomes if o.status == "expected"] == ["on purpose"]
    check_component(HiddenState, expected_failures={"resumed_equals_unresumed": "on purpose"})


def test_an_expected_failure_that_passes_is_a_failure() -> None:
    with pytest.raises(ContractError, match="picklable passes; take it out of expected_failures"):
        check_component(GoodPenalty(), expected_failures={"picklable": "once it was so"})


@pytest.mark.parametrize("use", [parametrize_with_checks, lambda given, **kw: check_component(given[0], **kw)])
def test_expected_failures_need_a_check_and_a_reason(use: Any) -> None:
    with pytest.raises(ValueError, match="there is no check 'pickleable'; did you mean 'picklable'"):
        use([GoodPenalty()], expected_failures={"pickleable": "why"})
    with pytest.raises(ValueError, match="'picklable' needs a reason"):
        use([GoodPenalty()], expected_failures={"picklable": " "})


def test_expected_failures_may_depend_on_the_component() -> None:
    def known(component: Any) -> dict[str, str]:
        return {"resumed_equals_unresumed": "on purpose"} if isinstance(component, HiddenState) else {}

    mark = parametrize_with_checks([GoodPenalty(), HiddenState()], expected_failures=known)
    assert [case.id for case in mark.args[1] if case.marks] == ["HiddenState-resumed_equals_unresumed"]


def test_one_list_of_expected_failures_serves_components_of_several_kinds() -> None:
    mark = parametrize_with_checks(
        [GoodSchedule(), HiddenState()], expected_failures={"shift_has_no_side_effects": "penalties alone have it"}
    )
    assert [case.id for case in mark.args[1] if case.marks] == ["HiddenState-shift_has_no_side_effects"]


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (GoodModel(2, 3), r"pass the class GoodModel or functools\.partial\(GoodModel, \.\.\.\)"),
        (3, "3 is no component: pass a Schedule, Penalty, Regularizer or Monitor"),
        (functools.partial(GoodPenalty, -1.0), "give the parameters by name"),
    ],
    ids=["model instance", "number", "positional"],
)
def test_what_is_no_component_is_refused_with_what_to_pass(component: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        checks_for(component)


def test_checks_leave_the_component_as_it_was() -> None:
    penalty = GoodPenalty()
    run_checks(penalty)
    assert penalty.offset == 0.0
