"""The names that plugins registered, with who registered them. An object, never a module global."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ctckit.errors import ConfigError, PluginError, suggest
from ctckit.interfaces import Model, Monitor, Penalty, Schedule
from ctckit.recipe import Recipe

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One registered thing.

    Attributes:
        value: the class or recipe.
        plugin: the plugin that registered it, as the plugin host describes it.
    """

    value: T
    plugin: str


class Names(Mapping[str, Entry[T]]):
    """Registered things of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def add(self, name: str, value: T, plugin: str) -> None:
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
            self._entries[name] = Entry(value, plugin)

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
        self.monitors: Names[type[Monitor]] = Names("monitor")
        self.recipes: Names[Recipe] = Names("recipe")
        self._plugin = "ctckit"

    def registering(self, plugin: str) -> None:
        """Name the plugin whose registrations follow; the plugin host calls this."""
        self._plugin = plugin

    def model(self, name: str, cls: type[Model]) -> None:
        """Register a model class."""
        self.models.add(name, self._checked(name, cls, Model), self._plugin)

    def schedule(self, name: str, cls: type[Schedule]) -> None:
        """Register a schedule class."""
        self.schedules.add(name, self._checked(name, cls, Schedule), self._plugin)

    def penalty(self, name: str, cls: type[Penalty]) -> None:
        """Register a penalty class."""
        self.penalties.add(name, self._checked(name, cls, Penalty), self._plugin)

    def monitor(self, name: str, cls: type[Monitor]) -> None:
        """Register a monitor class."""
        self.monitors.add(name, self._checked(name, cls, Monitor), self._plugin)

    def recipe(self, recipe: Recipe) -> None:
        """Register a recipe under its own name."""
        if not isinstance(recipe, Recipe):
            raise PluginError(f"{self._plugin} registers a {type(recipe).__name__} as recipe; pass a ctckit.Recipe")
        self.recipes.add(recipe.name, recipe, self._plugin)

    def kinds(self) -> Mapping[str, Names[Any]]:
        """Return everything registered, by kind."""
        names: list[Names[Any]] = [self.models, self.schedules, self.penalties, self.monitors, self.recipes]
        return {entries.kind: entries for entries in names}

    def _checked(self, name: str, cls: T, base: Callable[..., Any]) -> T:
        if not (isinstance(cls, type) and isinstance(base, type) and issubclass(cls, base)):
            raise PluginError(
                f"{self._plugin} registers {cls!r} as {base.__name__.lower()} '{name}'; "
                f"pass a class derived from ctckit.{base.__name__}"
            )
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise PluginError(
                f"{self._plugin} registers {cls.__name__} as {base.__name__.lower()} '{name}', "
                f"which lacks the method {', '.join(missing)}"
            )
        return cls
