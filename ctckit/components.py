"""What a configuration names, checked and constructed before any corpus is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ctckit.config import Config
from ctckit.engine.run import ActivePhase
from ctckit.errors import ConfigError, PluginError
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule, Stateful
from ctckit.parameters import GIVEN, checked, construct
from ctckit.recipe import Component
from ctckit.record.figures import table_of
from ctckit.registry import Names, Registry
from ctckit.types import Figure

T = TypeVar("T", bound=Stateful)


@dataclass(frozen=True, slots=True)
class Components:
    """What a configuration names.

    Attributes:
        phases: by name, in order, with their components.
        monitors: by name.
        figures: of plugins and of the model, beside ctckit's own.
        notes: what is worth saying of state that phases share or do not share; one line each.
    """

    phases: Mapping[str, ActivePhase]
    monitors: Mapping[str, Monitor]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


def build_components(config: Config, registry: Registry) -> Components:
    """Construct phases and monitors, and check the parameters of the model, which needs corpora to be constructed.

    Raises:
        ConfigError: a name or a parameter is wrong, a phase names a regularizer twice, or a monitor comes twice.
    """
    model = registry.models.find(config.model.name).value
    checked(model, _where("model", config.model), config.model.params, GIVEN)
    phases, notes = _build_phases(config, registry)
    monitors: dict[str, Monitor] = {}
    for component in config.monitors:
        if component.name in monitors:
            raise ConfigError(f"monitors: '{component.name}' is named twice")
        monitors[component.name] = _build(registry.monitors, component)
    return Components(phases, monitors, own_figures(registry, model), notes)


def own_figures(registry: Registry, model: type[Model]) -> tuple[Figure, ...]:
    """Return the figures of plugins and of the model.

    Raises:
        PluginError: two have one name, or one has the name of a figure of ctckit's.
    """
    figures = (*(entry.value for entry in registry.figures.values()), *model.FIGURES)
    try:
        table_of(figures)
    except ValueError as error:
        raise PluginError(str(error)) from error
    return figures


def build_model(config: Config, registry: Registry, input_size: int, num_classes: int) -> Model:
    """Construct the model of a configuration.

    Raises:
        ConfigError: its name or a parameter is wrong.
    """
    model: Model = _build(registry.models, config.model, input_size=input_size, num_classes=num_classes)
    return model


def _build_phases(config: Config, registry: Registry) -> tuple[dict[str, ActivePhase], tuple[str, ...]]:
    schedules: _Shelf[Schedule] = _Shelf(registry.schedules)
    penalties: _Shelf[Penalty] = _Shelf(registry.penalties)
    regularizers: _Shelf[Regularizer] = _Shelf(registry.regularizers)
    phases: dict[str, ActivePhase] = {}
    for name, settings in config.phases.items():
        terms: dict[str, Regularizer] = {}
        for component in settings.regularizers:
            if component.name in terms:
                raise ConfigError(f"phases.{name}.regularizers: '{component.name}' is named twice")
            terms[component.name] = regularizers.take(component, name)
        _refuse_unequal_views(name, terms)
        penalty = penalties.take(settings.penalty, name) if settings.penalty else None
        schedule = schedules.take(settings.schedule, name)
        begins = penalty is not None and all(penalty is not phase.penalty for phase in phases.values())
        phases[name] = ActivePhase(settings, schedule, penalty, terms, penalty_begins=begins)
    shelves: tuple[_Shelf[Any], ...] = (schedules, penalties, regularizers)
    notes = [note for shelf in shelves for note in shelf.shared()]
    # of penalties and regularizers alone: that a schedule starts afresh is what phases are for
    notes += [note for shelf in shelves[1:] for note in shelf.apart()]
    return phases, tuple(notes)


@dataclass(slots=True)
class _Used(Generic[T]):
    """An instance, what configures it, and the phases that use it."""

    component: Component
    instance: T
    phases: list[str]


class _Shelf(Generic[T]):
    """The instances of one kind that phases use.

    Phases share an instance where they name it alike as ``shared``, or say nothing of that and configure it exactly
    alike; the rule is stated at ``Phase``.
    """

    def __init__(self, names: Names[Any]) -> None:
        self._names = names
        self._used: list[_Used[T]] = []

    def take(self, component: Component, phase: str) -> T:
        """Return the instance for a phase, a known one where it is shared.

        Raises:
            ConfigError: a name or a parameter is wrong, or what is shared by name is configured in two ways.
        """
        for used in self._used:
            if component.shared is None and used.component == component:
                used.phases.append(phase)
                return used.instance
            if component.shared is not None and used.component.shared == component.shared:
                self._refuse_other(component, phase, used)
                used.phases.append(phase)
                return used.instance
        made: T = _build(self._names, component)
        self._used.append(_Used(component, made, [phase]))
        return made

    def _refuse_other(self, component: Component, phase: str, used: _Used[T]) -> None:
        where = f"phases.{phase}: {self._names.kind} '{component.name}' shares '{component.shared}' with phase"
        if component.name != used.component.name:
            raise ConfigError(f"{where} '{used.phases[0]}', where that is '{used.component.name}'; rename one")
        for key, value in component.params.items():
            if key not in used.component.params or used.component.params[key] != value:
                raise ConfigError(
                    f"{where} '{used.phases[0]}' and sets {key} = {value!r} otherwise; the first phase says the "
                    "parameters, the others leave them out"
                )

    def shared(self) -> Iterator[str]:
        """Say which phases share state although nothing but equal settings says so."""
        for used in self._used:
            if len(used.phases) > 1 and used.component.shared is None and used.instance.STATE:
                yield (
                    f"phases {', '.join(used.phases)} share one {self._names.kind} '{used.component.name}', "
                    "because it is configured alike; its state carries on"
                )

    def apart(self) -> Iterator[str]:
        """Say where state starts afresh although an earlier phase uses a component of that name."""
        for number, used in enumerate(self._used):
            earlier = [other for other in self._used[:number] if other.component.name == used.component.name]
            if earlier and used.component.shared is None and used.instance.STATE:
                yield (
                    f"phase {used.phases[0]} starts a {self._names.kind} '{used.component.name}' afresh, because "
                    f"phase {earlier[-1].phases[-1]} configures it otherwise; to carry its state on, give both the "
                    'same shared = "NAME"'
                )


def _refuse_unequal_views(phase: str, terms: Mapping[str, Regularizer]) -> None:
    """Refuse what could not tell which clips belong together.

    Raises:
        ConfigError: regularizers want different numbers of views, or fewer than 1.
    """
    views = {name: term.views for name, term in terms.items() if term.views != 1}
    if len(set(views.values())) > 1 or any(number < 1 for number in views.values()):
        wanted = ", ".join(f"'{name}' {number}" for name, number in views.items())
        raise ConfigError(
            f"phases.{phase}.regularizers: they want different numbers of views of each clip ({wanted}); "
            "use one of them"
        )


def _build(names: Names[Any], component: Component, **given: Any) -> Any:
    return construct(names.find(component.name).value, _where(names.kind, component), component.params, **given)


def _where(kind: str, component: Component) -> str:
    return f"{kind} '{component.name}'"
