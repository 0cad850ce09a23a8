"""Runs the contract of an interface against a component.

A component is given as an instance, as its class, or as ``functools.partial(cls, ...)`` with parameters. Models
come as class or partial, because ``input_size`` and ``num_classes`` are ctckit's to give.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ctckit.errors import suggest
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule

if TYPE_CHECKING:
    import pytest

INTERFACES: tuple[type[Any], ...] = (Model, Schedule, Penalty, Regularizer, Monitor)

INPUT_SIZE = 6
"""Features of a frame that models are built for."""

NUM_CLASSES = 5
"""Classes that models are built for."""

ExpectedFailures = Mapping[str, str]
"""Names of checks that a component is known to fail, each with the reason."""


class ContractError(AssertionError):
    """A component breaks its contract; the message names component, check, and what was seen."""


@dataclass(frozen=True)
class Subject:
    """A component under test.

    Attributes:
        cls: its class.
        params: constructor parameters that were given, as far as they are known.
        make: returns a fresh, unused twin.
        label: name for messages and test ids, with the parameters that are not defaults.
    """

    cls: type[Any]
    params: Mapping[str, Any]
    make: Callable[[], Any]
    label: str

    @classmethod
    def of(cls, component: Any) -> Subject:
        """Wrap what an author passed.

        Raises:
            TypeError: it is nothing that can be checked; says what to pass.
        """
        if isinstance(component, Model):
            name = type(component).__name__
            raise TypeError(
                f"pass the class {name} or functools.partial({name}, ...), not an instance: "
                "the checks build it for widths of their own"
            )
        if isinstance(component, (Schedule, Penalty, Regularizer, Monitor)):
            pristine = copy.deepcopy(component)
            return cls(type(component), {}, lambda: copy.deepcopy(pristine), _label(type(component), component))
        params: Mapping[str, Any] = {}
        target = component
        if isinstance(component, functools.partial):
            if component.args:
                raise TypeError(f"{component}: give the parameters by name")
            target, params = component.func, dict(component.keywords)
        if not (isinstance(target, type) and issubclass(target, INTERFACES)):
            raise TypeError(
                f"{component!r} is no component: pass a Schedule, Penalty, Regularizer or Monitor, or a class "
                "derived from one of them or from Model, or functools.partial(cls, ...)"
            )
        given = {"input_size": INPUT_SIZE, "num_classes": NUM_CLASSES} if issubclass(target, Model) else {}
        shown = ", ".join(f"{name}={value!r}" for name, value in params.items())
        label = f"{target.__name__}({shown})" if shown else target.__name__
        return cls(target, params, functools.partial(target, **{**given, **params}), label)


Clause = Callable[[Subject], None]
"""Checks one promise; its name is the promise, its docstring says it in words."""


@dataclass(frozen=True, repr=False)
class Check:
    """One clause of a contract. Call it with a component; it raises ``ContractError`` where the clause is broken.

    Attributes:
        name: what is promised, as in ``shift_is_finite_and_not_positive``.
        run: does the checking.
    """

    name: str
    run: Clause

    def __call__(self, component: Any) -> None:
        """Check a component.

        Raises:
            ContractError: the component breaks the clause, or fails while it is checked.
        """
        __tracebackhide__ = True
        subject = component if isinstance(component, Subject) else Subject.of(component)
        try:
            self.run(subject)
        except ContractError as error:
            raise ContractError(f"{subject.label} breaks {self.name}: {error}") from error.__cause__
        except Exception as error:
            raise ContractError(
                f"{subject.label} breaks {self.name}: it raised {type(error).__name__}: {error}"
            ) from error

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check said.

    Attributes:
        check: its name.
        status: ``expected`` is a failure that was announced; an announced failure that passes is a failure.
        message: why, where it did not pass.
    """

    check: str
    status: Literal["passed", "failed", "expected"]
    message: str = ""


def checks_for(component: Any) -> tuple[Check, ...]:
    """Return the contract of a component's interface, in the order in which it is best mended."""
    from ctckit.testing import component_checks, model_checks

    cls = (component if isinstance(component, Subject) else Subject.of(component)).cls
    if issubclass(cls, Model):
        functions = model_checks.MODEL
    elif issubclass(cls, Schedule):
        functions = component_checks.SCHEDULE
    elif issubclass(cls, Penalty):
        functions = component_checks.PENALTY
    elif issubclass(cls, Regularizer):
        functions = component_checks.REGULARIZER
    else:
        functions = component_checks.MONITOR
    return tuple(Check(function.__name__, function) for function in functions)


def run_checks(component: Any, *, expected_failures: ExpectedFailures | None = None) -> tuple[Outcome, ...]:
    """Run the whole contract and return what each check said.

    Args:
        component: instance, class or partial.
        expected_failures: names of checks that fail for a reason, with the reason.

    Raises:
        ValueError: an expected failure names no check, or gives no reason.
    """
    checks, outcomes = checks_for(component), []
    expected = _announced(expected_failures, checks)
    for check in checks:
        try:
            check(component)
        except ContractError as error:
            if check.name in expected:
                outcomes.append(Outcome(check.name, "expected", expected[check.name]))
            else:
                outcomes.append(Outcome(check.name, "failed", str(error)))
        else:
            passes = f"{check.name} passes; take it out of expected_failures"
            outcomes.append(Outcome(check.name, *(("failed", passes) if check.name in expected else ("passed",))))
    return tuple(outcomes)


def check_component(component: Any, *, expected_failures: ExpectedFailures | None = None) -> None:
    """Run the whole contract.

    Args:
        component: instance, class or partial.
        expected_failures: names of checks that fail for a reason, with the reason.

    Raises:
        ContractError: lists every broken clause.
        ValueError: an expected failure names no check, or gives no reason.
    """
    __tracebackhide__ = True
    outcomes = run_checks(component, expected_failures=expected_failures)
    failed = [outcome.message for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise ContractError("\n".join(failed))


def parametrize_with_checks(
    components: Iterable[Any],
    *,
    expected_failures: ExpectedFailures | Callable[[Any], ExpectedFailures] | None = None,
) -> pytest.MarkDecorator:
    """Turn a test function of ``component`` and ``check`` into one test for each clause of each contract.

    Args:
        components: instances, classes or partials.
        expected_failures: names of checks that fail for a reason, with the reason, or a function from a component
            to such names. The tests are then strict ``xfail``: passing is a failure too.

    Raises:
        ValueError: an expected failure names no check, or gives no reason.
        TypeError: something that is no component.

    Example:
        >>> @parametrize_with_checks([CosineBlankPenalty()])
        ... def test_contract(component, check):
        ...     check(component)
    """
    import pytest

    cases, known = [], {}
    listed = list(components)
    for component in listed:
        subject = Subject.of(component)
        checks = checks_for(subject)
        known.update({check.name: check for check in checks})
        announced = expected_failures(component) if callable(expected_failures) else expected_failures
        mine = {name: reason for name, reason in (announced or {}).items() if name in {c.name for c in checks}}
        expected = _announced(announced if callable(expected_failures) else mine, checks)
        for check in checks:
            marks = [pytest.mark.xfail(strict=True, reason=expected[check.name])] if check.name in expected else []
            cases.append(pytest.param(component, check, id=f"{subject.label}-{check.name}", marks=marks))
    if expected_failures and not callable(expected_failures):
        _announced(expected_failures, known.values())
    return pytest.mark.parametrize(("component", "check"), cases)


def _announced(expected: ExpectedFailures | None, checks: Iterable[Check]) -> ExpectedFailures:
    names = [check.name for check in checks]
    for name, reason in (expected or {}).items():
        if name not in names:
            raise ValueError(f"expected_failures: there is no check '{name}'{suggest(name, names)}")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"expected_failures: '{name}' needs a reason")
    return expected or {}


def _label(cls: type[Any], instance: object) -> str:
    """Name an instance by its class and those of its parameters that are not defaults."""
    changed = []
    for name, parameter in inspect.signature(cls).parameters.items():
        value = getattr(instance, name, parameter.default)
        if parameter.default is parameter.empty or repr(value) != repr(parameter.default):
            changed.append(f"{name}={value!r}" if value is not parameter.empty else name)
    return f"{cls.__name__}({', '.join(changed)})" if changed else cls.__name__
