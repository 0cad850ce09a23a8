"""The names that plugins registered, with who registered them. An object, never a module global."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ctckit.errors import ConfigError, PluginError, suggest
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule
from ctckit.recipe import Recipe
from ctckit.types import Figure, Remedy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One registered thing.

    Attributes:
        value: the class or recipe.
        plugin: the plugin that registered it, as the plugin host describes it.
        example: values for parameters, to show and to check it with.
    """

    value: T
    plugin: str
    example: Mapping[str, Any] = field(default_factory=dict)


class Names(Mapping[str, Entry[T]]):
    """Registered things of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def add(self, name: str, value: T, plugin: str, example: Mapping[str, Any] | None = None) -> None:
        """Register ``value``; the very same object may come twice, another under its name may not.

        Raises:
            PluginError: the name is taken.
        """
        taken = self._entries.get(name)
        if taken is not None and taken.value is not value:
            raise PluginError(
                f"{self.kind} '{name}' is registered twice, by {taken.plugin} and by {plugin}; "
                "use one of the two plugins, or ask one author to rename"
            )
        if taken is None:
            self._entries[name] = Entry(value, plugin, dict(example or {}))

    def find(self, name: str) -> Entry[T]:
        """Return an entry.

        Raises:
            ConfigError: no such name; the message suggests a near miss.
        """
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} '{name}'{suggest(name, list(self._entries))}")
        return self._entries[name]

    def __getitem__(self, name: str) -> Entry[T]:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Registry:
    """What a plugin's ``ctckit_register`` is given.

    Example:
        >>> @ctckit.hookimpl
        ... def ctckit_register(registry):
        ...     registry.penalty("cosine", CosineBlankPenalty)
    """

    def __init__(self) -> None:
        self.models: Names[type[Model]] = Names("model")
        self.schedules: Names[type[Schedule]] = Names("schedule")
        self.penalties: Names[type[Penalty]] = Names("penalty")
        self.regularizers: Names[type[Regularizer]] = Names("regularizer")
        self.monitors: Names[type[Monitor]] = Names("monitor")
        self.recipes: Names[Recipe] = Names("recipe")
        self.figures: Names[Figure] = Names("figure")
        self.remedies: list[tuple[Remedy, str | None]] = []
        """What plugins propose, each with the component whose use makes it needless."""
        self._plugin = "ctckit"

    def registering(self, plugin: str) -> None:
        """Name the plugin whose registrations follow; the plugin host calls this."""
        self._plugin = plugin

    def model(self, name: str, cls: type[Model], *, example: Mapping[str, Any] | None = None) -> None:
        """Register a model class.

        Args:
            name: what a configuration calls it.
            cls: the class; its constructor's parameters become configuration keys.
            example: values for parameters that have no default, for ``ctckit plugins show`` and ``check``.
        """
        self._add(self.models, name, cls, Model, example)

    def schedule(self, name: str, cls: type[Schedule], *, example: Mapping[str, Any] | None = None) -> None:
        """Register a schedule class.

        Args:
            name: what a configuration calls it.
            cls: the class; its constructor's parameters become configuration keys.
            example: values for parameters that have no default, for ``ctckit plugins show`` and ``check``.
        """
        self._add(self.schedules, name, cls, Schedule, example)

    def penalty(self, name: str, cls: type[Penalty], *, example: Mapping[str, Any] | None = None) -> None:
        """Register a penalty class.

        Args:
            name: what a configuration calls it.
            cls: the class; its constructor's parameters become configuration keys.
            example: values for parameters that have no default, for ``ctckit plugins show`` and ``check``.
        """
        self._add(self.penalties, name, cls, Penalty, example)

    def regularizer(self, name: str, cls: type[Regularizer], *, example: Mapping[str, Any] | None = None) -> None:
        """Register a regularizer class.

        Args:
            name: what a configuration calls it.
            cls: the class; its constructor's parameters become configuration keys.
            example: values for parameters that have no default, for ``ctckit plugins show`` and ``check``.
        """
        self._add(self.regularizers, name, cls, Regularizer, example)

    def monitor(self, name: str, cls: type[Monitor], *, example: Mapping[str, Any] | None = None) -> None:
        """Register a monitor class.

        Args:
            name: what a configuration calls it.
            cls: the class; its constructor's parameters become configuration keys.
            example: values for parameters that have no default, for ``ctckit plugins show`` and ``check``.
        """
        self._add(self.monitors, name, cls, Monitor, example)

    def figure(self, figure: Figure) -> None:
        """Register a figure under its own name; ``measure`` is given each ``EpochResult``.

        It is written into the history, and shown wherever ctckit's own figures are.
        """
        if not isinstance(figure, Figure) or figure.measure is None:
            raise PluginError(f"{self._plugin} registers {figure!r} as figure; pass a ctckit.Figure with a measure")
        self.figures.add(figure.name, figure, self._plugin)

    def recipe(self, recipe: Recipe) -> None:
        """Register a recipe under its own name."""
        if not isinstance(recipe, Recipe):
            raise PluginError(f"{self._plugin} registers a {type(recipe).__name__} as recipe; pass a ctckit.Recipe")
        self.recipes.add(recipe.name, recipe, self._plugin)

    def remedy(self, remedy: Remedy, *, unless: str | None = None) -> None:
        """Propose a change of the configuration to runs that need it.

        Args:
            remedy: what to change, and why.
            unless: name of a component; runs in which a phase, or the run, uses one of that name go without.
        """
        if not isinstance(remedy, Remedy):
            raise PluginError(f"{self._plugin} registers {remedy!r} as remedy; pass a ctckit.Remedy")
        if (remedy, unless) not in self.remedies:  # plugins may register their common parts each
            self.remedies.append((remedy, unless))

    def kinds(self) -> Mapping[str, Names[Any]]:
        """Return everything registered, by kind."""
        names: list[Names[Any]] = [
            self.models,
            self.schedules,
            self.penalties,
            self.regularizers,
            self.monitors,
            self.recipes,
        ]
        return {entries.kind: entries for entries in names}

    def _add(
        self, names: Names[Any], name: str, cls: Any, base: type[Any], example: Mapping[str, Any] | None
    ) -> None:
        what = f"{names.kind} '{name}'"
        if not isinstance(name, str) or not name.isidentifier():
            raise PluginError(
                f"{self._plugin} registers a {names.kind} as {name!r}; use letters, digits and _, so that "
                "--set can name it"
            )
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise PluginError(
                f"{self._plugin} registers {cls!r} as {what}; pass a class derived from ctckit.{base.__name__}"
            )
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            near = difflib.get_close_matches(missing[0], [n for n in vars(cls) if not n.startswith("_")], n=1)
            hint = f" (there is '{near[0]}', misspelt?)" if near else ""
            raise PluginError(
                f"{self._plugin} registers {cls.__name__} as {what}, "
                f"which lacks the method {', '.join(missing)}{hint}"
            )
        names.add(name, cls, self._plugin, example)
