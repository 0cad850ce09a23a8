"""What a plugin offers, in words: for ``ctckit plugins show`` and for the hint that a plugin is not used."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctckit.config import Config
    from ctckit.plugin_host import PluginSource
    from ctckit.recipe import Recipe
    from ctckit.registry import Registry

KEYS = {"model": "model", "schedule": "phases.*.schedule", "penalty": "phases.*.penalty"}
"""Where a configuration names one component of a kind."""

LISTS = {"monitor": "monitors", "regularizer": "phases.*.regularizers"}
"""Where it lists several."""


def offers_of(registry: Registry, source: PluginSource) -> list[dict[str, Any]]:
    """Describe what a plugin registered: kind, name, documentation, parameters and how to use it.

    A recipe comes first, with its own values; those of components are what they are without it.
    """
    offers = [
        _recipe(entry.value) if kind == "recipe" else _component(kind, name, entry.value, entry.example)
        for kind, names in registry.kinds().items()
        for name, entry in names.items()
        if entry.plugin == str(source)
    ]
    return sorted(offers, key=lambda offer: offer["kind"] != "recipe")


def usage(kind: str, name: str, values: Mapping[str, Any] | None = None) -> str:
    """Return the options of ``ctckit train`` that put a component into a run."""
    if kind == "recipe":
        return f"--recipe {name}"
    from ctckit.toml import literal

    if kind in LISTS:
        return f"--set '{LISTS[kind]}=[{literal({'name': name, **values} if values else name)}]'"
    named = {KEYS[kind]: name, **{f"{KEYS[kind]}.{key}": value for key, value in (values or {}).items()}}
    return " ".join(f"--set '{key}={value}'" for key, value in named.items())


def unused(registry: Registry, sources: tuple[PluginSource, ...], config: Config) -> list[str]:
    """Say of each plugin that a run loads and does not use what it offers, and how to use it."""
    used = {("recipe", config.recipe), *((kind, component.name) for kind, component in config.components())}
    hints = []
    for source in sources:
        offered = {
            (kind, name): entry.example
            for kind, names in registry.kinds().items()
            for name, entry in names.items()
            if entry.plugin == str(source)
        }
        if offered and not used & set(offered):
            what = ", ".join(f"{kind} {name}" for kind, name in offered)
            first = next(iter(offered))
            hints.append(
                f"plugin '{source.name}' is loaded and not used; it offers {what}: "
                f"use it with {usage(*first, offered[first])}"
            )
    return hints


def _recipe(recipe: Recipe) -> dict[str, Any]:
    from ctckit.toml import literal

    own = recipe.model_dump(exclude={"name", "description", "requires", "demo"}, exclude_unset=True)
    values = [
        {
            "name": key,
            "type": "list" if isinstance(value, tuple) else type(value).__name__,
            "default": literal(value),
            "description": "",
        }
        for key, value in _leaves(own)
    ]
    return {
        "kind": "recipe",
        "name": recipe.name,
        "summary": recipe.description,
        "documentation": "",
        "parameters": values,
        "usage": usage("recipe", recipe.name),
    }


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def _component(kind: str, name: str, cls: type[Any], example: Mapping[str, Any]) -> dict[str, Any]:
    from ctckit.parameters import GIVEN, parameters_of

    text, arguments = _docstring(cls)
    summary, _, rest = text.partition("\n")
    parameters = [
        {
            "name": parameter.name,
            "type": parameter.type,
            "default": "required" if parameter.required else repr(parameter.default),
            "description": arguments.get(parameter.name, ""),
        }
        for parameter in parameters_of(cls, given=GIVEN if kind == "model" else ())
    ]
    return {
        "kind": kind,
        "name": name,
        "summary": summary,
        "documentation": rest.strip(),
        "parameters": parameters,
        "usage": usage(kind, name, example),
    }


def _docstring(cls: type[Any]) -> tuple[str, dict[str, str]]:
    """Split a class's own docstring into its text and the descriptions of its parameters (google style)."""
    own = cls.__doc__ or ""
    if own.startswith(f"{cls.__name__}("):  # what dataclass writes where there is no docstring
        return "", {}
    text, *sections = re.split(
        r"^(?=(?:Args|Attributes|Raises|Returns|Example|Examples):$)", inspect.cleandoc(own), flags=re.M
    )
    described: dict[str, str] = {}
    for section in sections:
        if section.startswith(("Args:", "Attributes:")):
            for found in re.finditer(r"^    (\w+)(?: \([^)]*\))?: (.*(?:\n     .*)*)", section, flags=re.M):
                described[found[1]] = " ".join(found[2].split())
    return text.strip(), described
