"""The contracts of all components but models, one function a clause; its name is the promise."""

from __future__ import annotations

import copy
import difflib
import inspect
import io
import math
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ctckit.actions import Action
from ctckit.engine.apply import Adjustments, apply
from ctckit.errors import CheckpointError, ConfigError, PluginError
from ctckit.parameters import GIVEN, construct, parameters_of
from ctckit.testing.contract import INTERFACES, Clause, ContractError, Subject
from ctckit.testing.likeness import attributes_of, difference, same
from ctckit.testing.scenario import make_step, play, script, term_of
from ctckit.types import Auxiliary, Emissions, EpochResult, Finding, Progress, Sample

NEAR = 0.8
"""Likeness from which on a method's name counts as a misspelling of one that ctckit calls."""

NUMBERS_AS_TEXT = {"inf": math.inf, "nan": math.nan}


# --- every component ---------------------------------------------------------------------------------------


def parameters_are_typed(subject: Subject) -> None:
    """Every parameter is named and annotated, and its default is of its own type."""
    given = GIVEN if "input_size" in inspect.signature(subject.cls).parameters else ()
    try:
        found = parameters_of(subject.cls, given=given)
    except PluginError as error:
        raise ContractError(str(error)) from error
    bare = [parameter.name for parameter in found if parameter.annotation is Any]
    if bare:
        raise ContractError(
            f"annotate {', '.join(bare)} in __init__, so that a wrong value is refused with its name"
        )
    for parameter in found:
        if parameter.required:
            continue
        alone = _with_one_field(parameter.name, parameter.annotation)
        try:
            construct(alone, "", {parameter.name: parameter.default})
        except ConfigError as error:
            raise ContractError(f"the default of {parameter.name} is not of its type{error}") from error


def parameters_survive_repr(subject: Subject) -> None:
    """The text of a component, read back, gives a component with the same text."""
    text = repr(subject.make())
    try:
        again = repr(eval(text, {**NUMBERS_AS_TEXT, subject.cls.__name__: subject.cls}))
    except Exception as error:
        raise ContractError(
            f"its text {text} cannot be read back ({type(error).__name__}: {error}); make it a @dataclass"
        ) from error
    if again != text:
        raise ContractError(f"its text {text}, read back, is {again}")
    hidden = [parameter.name for parameter in parameters_of(subject.cls) if f"{parameter.name}=" not in text]
    if hidden:
        raise ContractError(f"its text {text} leaves out {', '.join(hidden)}")


def methods_are_not_misspelt(subject: Subject) -> None:
    """No method is named nearly, but not quite, like one that ctckit calls."""
    interface = next(base for base in INTERFACES if issubclass(subject.cls, base))
    called = [name for name in dir(interface) if not name.startswith("_") and callable(getattr(interface, name))]
    for name, value in inspect.getmembers(subject.cls, inspect.isfunction):
        if name.startswith("_") or hasattr(interface, name):
            continue
        near = difflib.get_close_matches(name, called, n=1, cutoff=NEAR)
        if near:
            raise ContractError(f"ctckit never calls {value.__qualname__}; did you mean {near[0]}?")


def picklable(subject: Subject) -> None:
    """Pickling and back gives the same component, for workers and sweeps."""
    component = subject.make()
    try:
        again = pickle.loads(pickle.dumps(component))
    except Exception as error:
        raise ContractError(f"it cannot be pickled: {type(error).__name__}: {error}") from error
    changed = difference(attributes_of(component), attributes_of(again))
    if changed:
        raise ContractError(f"pickling and back changes {', '.join(changed)}")


def global_rng_is_untouched(subject: Subject) -> None:
    """Random numbers that the component wants come from a generator of its own."""
    with rng_watched("constructing and running it"):
        play(subject.make(), script())


def state_is_json_or_tensors(subject: Subject) -> None:
    """The state holds names with JSON values or tensors, before, during and after a run."""
    component = subject.make()
    for event in (None, *script()):
        if event is not None:
            play(component, [event])
        state = component.state_dict()
        if not isinstance(state, dict):
            raise ContractError(f"state_dict() returned {type(state).__name__}, expected dict")
        for where, value in _leaves(state, ""):
            if not isinstance(value, (str, int, float, bool, type(None), torch.Tensor)):
                raise ContractError(f"state{where} is {type(value).__name__}; keep JSON values or tensors")


def state_is_strict(subject: Subject) -> None:
    """Loading refuses an unknown and a missing name with ``CheckpointError``."""
    used = subject.make()
    play(used, script())
    state = used.state_dict()
    wrong = {"an unknown name": {**state, "no_such_name": 1}}
    wrong |= {f"a state without '{name}'": {k: v for k, v in state.items() if k != name} for name in state}
    for what, bad in wrong.items():
        try:
            subject.make().load_state_dict(bad)
        except CheckpointError:
            continue
        except Exception as error:
            raise ContractError(
                f"load_state_dict raised {type(error).__name__} for {what}, expected CheckpointError"
            ) from error
        raise ContractError(f"load_state_dict accepted {what}")


def resumed_equals_unresumed(subject: Subject) -> None:
    """Saved after any event, loaded into a fresh twin and gone on with, it answers as if never stopped."""
    events = script()
    whole = play(subject.make(), events)
    for cut in range(len(events)):
        first, second = subject.make(), subject.make()
        before = attributes_of(first)
        answers = play(first, events[:cut])
        state = _through_a_file(first.state_dict())
        second.load_state_dict(state)
        answers += play(second, events[cut:])
        # the bias that prepare sets is in the model's own state
        for number, (got, expected) in enumerate(zip(_without_bias(answers), _without_bias(whole), strict=True)):
            if got != expected:
                names = set(difference(before, attributes_of(first))) - set(state)
                hint = f"; {', '.join(sorted(names))} changed and is not in STATE" if names else ""
                at = events[cut - 1].at if cut else events[0].at
                raise ContractError(
                    f"resumed after epoch {at.epoch}, batch {at.batch}, answer {number + 1} is {got}, "
                    f"without the stop {expected}{hint}"
                )


COMMON: tuple[Clause, ...] = (
    parameters_are_typed,
    parameters_survive_repr,
    methods_are_not_misspelt,
    picklable,
    global_rng_is_untouched,
    state_is_json_or_tensors,
    state_is_strict,
    resumed_equals_unresumed,
)


# --- schedules ---------------------------------------------------------------------------------------------


def learning_rate_is_finite_and_not_negative(subject: Subject) -> None:
    """``learning_rate`` returns a finite number, 0 or more, at any time of any run."""
    for component in _fresh_and_used(subject):
        for at in _times():
            rate = component.learning_rate(at)
            if not _is_number(rate) or not 0.0 <= rate < math.inf:
                raise ContractError(f"learning_rate is {rate!r} at {_when(at)}; it is a finite float, 0 or more")


def same_time_gives_same_learning_rate(subject: Subject) -> None:
    """Asking again, in any order, gives the same rate and leaves no trace."""
    _is_pure(subject, "learning_rate")


SCHEDULE: tuple[Clause, ...] = (
    *COMMON,
    learning_rate_is_finite_and_not_negative,
    same_time_gives_same_learning_rate,
)


# --- penalties ---------------------------------------------------------------------------------------------


def shift_is_finite_and_not_positive(subject: Subject) -> None:
    """``shift`` returns a finite number, 0 or less, at any time of any run."""
    for component in _fresh_and_used(subject):
        for at in _times():
            shift = component.shift(at)
            if not _is_number(shift) or not -math.inf < shift <= 0.0:
                raise ContractError(f"shift is {shift!r} at {_when(at)}; it is a finite float, 0 or less")


def shift_has_no_side_effects(subject: Subject) -> None:
    """Asking again, in any order, gives the same shift and leaves no trace."""
    _is_pure(subject, "shift")


def domain_is_logit_or_path(subject: Subject) -> None:
    """``domain`` is one that ctckit knows, and stays."""
    component = subject.make()
    first = component.domain
    if first not in ("logit", "path"):
        raise ContractError(f"domain is {first!r}; it is 'logit' or 'path'")
    play(component, script())
    if component.domain != first:
        raise ContractError(f"domain changed from {first!r} to {component.domain!r} during a run")


def class_shifts_are_a_path_shift_each(subject: Subject) -> None:
    """``class_shifts`` returns None, or a finite path shift for every class; asking leaves no trace."""
    _is_pure(subject, "class_shifts")
    for component in _fresh_and_used(subject):
        for at in _times():
            shifts_C = component.class_shifts(at)
            if shifts_C is None:
                continue
            if component.domain != "path":
                raise ContractError(f"class_shifts shifts classes in the domain {component.domain!r}; set 'path'")
            if not isinstance(shifts_C, torch.Tensor) or shifts_C.dim() != 1 or not bool(shifts_C.isfinite().all()):
                raise ContractError(f"class_shifts is {shifts_C!r} at {_when(at)}; it is a finite tensor [C]")


PENALTY: tuple[Clause, ...] = (
    *COMMON,
    shift_is_finite_and_not_positive,
    shift_has_no_side_effects,
    domain_is_logit_or_path,
    class_shifts_are_a_path_shift_each,
)


# --- regularizers ------------------------------------------------------------------------------------------

SIZES = (1.0, 30.0)
"""Factors of the logits with which terms are tried: ordinary, and as sure as a trained network."""


def term_is_a_finite_scalar(subject: Subject) -> None:
    """``term`` returns a finite scalar tensor at any time of any run, and so is its gradient."""
    for component in _fresh_and_used(subject):
        for at in _times():
            for size in SIZES:
                emissions, batch = make_step(views=component.views)
                heads_TBC = [emissions.logits_TBC, *(head.logits_TBC for head in emissions.auxiliary)]
                term = term_of(component, _scaled(emissions, size), batch, at)
                if not isinstance(term, torch.Tensor) or term.dim() or not bool(term.isfinite()):
                    raise ContractError(f"term is {term!r} at {_when(at)}; it is a finite scalar tensor")
                if not term.requires_grad:
                    continue
                torch.autograd.backward(term)
                if not all(bool(head.grad.isfinite().all()) for head in heads_TBC if head.grad is not None):
                    raise ContractError(f"the gradient of term is not finite at {_when(at)}")


def term_ignores_padding(subject: Subject) -> None:
    """What a head emits beyond a clip's length changes nothing."""
    for component in _fresh_and_used(subject):
        emissions, batch = make_step(views=component.views)
        padded, _ = make_step(views=component.views)
        beyond_TB = torch.arange(len(padded.logits_TBC))[:, None] >= padded.lengths_B[None]
        with torch.no_grad():
            for logits_TBC in (padded.logits_TBC, *(head.logits_TBC for head in padded.auxiliary)):
                logits_TBC[beyond_TB] = 9.0 * torch.arange(logits_TBC.shape[-1])
        for at in _times():
            clean, dirty = (term_of(component, given, batch, at).item() for given in (emissions, padded))
            if not math.isclose(clean, dirty, rel_tol=1e-5, abs_tol=1e-6):
                raise ContractError(
                    f"term is {clean} and, with other padding, {dirty}; mask frames beyond lengths_B"
                )
        term = term_of(component, padded, batch, next(_times()))
        if not term.requires_grad:
            continue
        torch.autograd.backward(term)
        for logits_TBC in (padded.logits_TBC, *(head.logits_TBC for head in padded.auxiliary)):
            if logits_TBC.grad is not None and bool((logits_TBC.grad[beyond_TB] != 0).any()):
                raise ContractError("a gradient reaches frames beyond lengths_B; mask them before they are used")


def term_has_no_side_effects(subject: Subject) -> None:
    """Asking again, in any order, gives the same term, and leaves component, emissions and batch as they were."""
    times = list(_times())
    for component in _fresh_and_used(subject):
        emissions, batch = make_step(views=component.views)
        before = attributes_of(component)
        first = {at: term_of(component, emissions, batch, at).item() for at in times}
        for at in reversed(times):
            again = term_of(component, emissions, batch, at).item()
            if not same(again, first[at]):
                raise ContractError(f"term was {first[at]!r} and is {again!r} when asked again at {_when(at)}")
        changed = difference(before, attributes_of(component))
        if changed:
            raise ContractError(f"term changes {', '.join(changed)}; learn in observe, where it becomes state")
        untouched, same_batch = make_step(views=component.views)
        if not emissions.logits_TBC.equal(untouched.logits_TBC) or not batch.targets_BS.equal(
            same_batch.targets_BS
        ):
            raise ContractError("term changes the emissions or the batch that it was given")


REGULARIZER: tuple[Clause, ...] = (
    *COMMON,
    term_is_a_finite_scalar,
    term_ignores_padding,
    term_has_no_side_effects,
)


# --- monitors ----------------------------------------------------------------------------------------------


def returns_findings_and_actions_only(subject: Subject) -> None:
    """``observe`` returns a list or tuple of findings, of actions that can be applied, and of samples."""
    component = subject.make()
    for epoch in _epochs():
        outcomes = component.observe(epoch)
        if not isinstance(outcomes, Sequence) or isinstance(outcomes, str):
            raise ContractError(
                f"observe returned {type(outcomes).__name__} in epoch {epoch.at.epoch}, "
                "expected a list of findings and actions"
            )
        for outcome in outcomes:
            if isinstance(outcome, Sample):
                continue
            if not isinstance(outcome, (Finding, Action)):
                raise ContractError(
                    f"observe returned a {type(outcome).__name__} in its list in epoch {epoch.at.epoch}, "
                    "expected Finding, Action or Sample"
                )
            _finding_is_complete(outcome.finding if isinstance(outcome, Action) else outcome)
            if isinstance(outcome, Action):
                try:
                    apply(outcome, Adjustments())
                except PluginError as error:
                    raise ContractError(str(error)) from error


def input_is_unchanged(subject: Subject) -> None:
    """``observe`` leaves the epoch that it is given as it was."""
    component = subject.make()
    for epoch in _epochs():
        handed = copy.deepcopy(epoch)
        component.observe(handed)
        changed = [name for name in EpochResult.__slots__ if not same(getattr(epoch, name), getattr(handed, name))]
        if changed:
            raise ContractError(f"observe changed {', '.join(changed)} of the epoch that it was given")


MONITOR: tuple[Clause, ...] = (*COMMON, returns_findings_and_actions_only, input_is_unchanged)


# --- how it is done ----------------------------------------------------------------------------------------


@contextmanager
def rng_watched(what: str) -> Iterator[None]:
    """Raise if the block draws from a global generator of Python, NumPy or torch."""

    def states() -> dict[str, Any]:
        kind, keys, *rest = np.random.get_state(legacy=True)
        return {
            "random": random.getstate(),
            "numpy.random": (kind, np.asarray(keys).tobytes(), *rest),
            "torch": torch.get_rng_state().numpy().tobytes(),
        }

    before = states()
    yield
    after = states()
    moved = [name for name in before if before[name] != after[name]]
    if moved:
        raise ContractError(
            f"{what} draws from the global generator of {', '.join(moved)}; that changes dropout and masking "
            "of the run, so use a generator of your own"
        )


def _with_one_field(name: str, annotation: Any) -> type[Any]:
    def __init__(self: object, **_: Any) -> None:  # noqa: N807
        pass

    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)]
    cls = type("Field", (), {"__init__": __init__, "__signature__": inspect.Signature(parameters)})
    __init__.__annotations__ = {name: annotation}
    return cls


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ContractError(f"state{where} has the key {key!r}; keys are text")
            yield from _leaves(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]")
    else:
        yield where, value


def _through_a_file(state: Mapping[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def _without_bias(answers: Sequence[str]) -> list[str]:
    return [answer for answer in answers if not answer.startswith("bias")]


def _fresh_and_used(subject: Subject) -> Iterator[Any]:
    yield subject.make()
    used = subject.make()
    for event in script():
        play(used, [event])
        if event.epoch is not None:
            yield used


def _times() -> Iterator[Progress]:
    for epochs, before in ((1, 0), (2, 0), (9, 3)):
        for phase_epoch in range(1, epochs + 1):
            for batch in (0, 1, 4):
                epoch = before + phase_epoch
                update = (epoch - 1) * 4 + batch
                yield Progress(
                    epoch, "main", phase_epoch, epochs, before + epochs + 2, batch, 4, update, update * 1000
                )


def _when(at: Progress) -> str:
    return f"epoch {at.epoch}, phase epoch {at.phase_epoch} of {at.phase_epochs}, batch {at.batch} of {at.batches}"


def _scaled(emissions: Emissions, size: float) -> Emissions:
    heads = tuple(Auxiliary(h.name, h.logits_TBC * size, h.lengths_B, h.weight) for h in emissions.auxiliary)
    return Emissions(emissions.logits_TBC * size, emissions.lengths_B, heads)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pure(subject: Subject, method: str) -> None:
    times = list(_times())
    for component in _fresh_and_used(subject):
        ask: Callable[[Progress], float] = getattr(component, method)
        before = attributes_of(component)
        first = {at: ask(at) for at in times}
        for at in reversed(times):
            if not same(ask(at), first[at]):
                raise ContractError(
                    f"{method} was {first[at]!r} and is {ask(at)!r} when asked again at {_when(at)}"
                )
        changed = difference(before, attributes_of(component))
        if changed:
            raise ContractError(f"{method} changes {', '.join(changed)}; learn in observe, where it becomes state")


def _epochs() -> Iterator[EpochResult]:
    yield from (event.epoch for event in script() if event.epoch is not None)


def _finding_is_complete(finding: Finding) -> None:
    if not isinstance(finding, Finding):
        raise ContractError(f"the action's finding is {type(finding).__name__}, expected Finding")
    if not finding.rule or not finding.message:
        raise ContractError(f"{finding} has no rule or no message")
    if finding.severity not in ("info", "warning", "error"):
        raise ContractError(f"severity of '{finding.rule}' is {finding.severity!r}; it is info, warning or error")
    for name, value in finding.evidence.items():
        if not isinstance(value, (str, int, float, bool)):
            raise ContractError(
                f"evidence '{name}' of '{finding.rule}' is {type(value).__name__}; use plain values"
            )
