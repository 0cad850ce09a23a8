"""What an ablation compares: the PLAN.toml as validated data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ctckit.config import parse_assignment, read_toml
from ctckit.errors import ConfigError, suggest
from ctckit.recipe import Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+.-]*$")]
"""Of a variant; it becomes the name of a folder."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]

Layer = tuple[str, dict[str, Any]]
"""Where settings come from, for messages, and nested settings."""


class Choices(Strict):
    """What the plan says for all variants, and each variant for itself."""

    recipe: str | None = None
    """Recipe, where the plugins bring more than one; as ``--recipe``."""

    plugins: tuple[str, ...] | None = None
    """Plugins to load; as ``--plugin``."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Tables of settings, as in a RUN.toml."""

    set: tuple[str, ...] = ()
    """Settings in short, each as ``--set`` takes it; they come after the tables."""

    def layers(self, origin: str) -> list[Layer]:
        """Return the settings in the order in which they are laid.

        Raises:
            ConfigError: an entry of ``set`` is no assignment.
        """
        found = [(f"{origin}settings", dict(self.settings))] if self.settings else []
        return found + [(f"{origin}set {one}", parse_assignment(one)) for one in self.set]


class Variant(Choices):
    """One thing to try."""

    description: str = ""
    """A few words for the table."""


class Plan(Choices):
    """An ablation."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1,)
    """Every variant is trained once with each."""

    minutes: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Training time of each run, all its pieces together; None lets every run finish its phases."""

    updates: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps of each run, which ends after the epoch in which they are done."""

    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    """By name; the others are compared with the first."""

    def layers_of(self, name: str, path: Path) -> list[Layer]:
        """Return the settings of a variant over those that all have."""
        return [*self.layers(f"{path}: "), *self.variants[name].layers(f"{path}: variants.{name}.")]

    def plugins_of(self, name: str) -> tuple[str, ...]:
        """Return the plugins that a variant names, or else those that all have."""
        own = self.variants[name].plugins
        return (self.plugins if own is None else own) or ()


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: it cannot be read, a key is unknown, or a value is impossible; one line that names the key.
    """
    try:
        plan = Plan.model_validate(read_toml(path))
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"] if part != "[key]"]
        dotted = ".".join(location)
        if first["type"] == "extra_forbidden":
            table = Variant if location[0] == "variants" else Plan
            raise ConfigError(
                f"{path}: unknown key '{dotted}'{suggest(location[-1], table.model_fields)}"
            ) from None
        if first["type"] == "missing":
            raise ConfigError(f"{path}: '{dotted}' is missing; name what to compare as [variants.NAME]") from None
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"{path}: {dotted} = {first['input']!r}: {message}") from None
    if len(set(plan.seeds)) < len(plan.seeds):
        raise ConfigError(f"{path}: seeds = {list(plan.seeds)}: one is there twice")
    if plan.minutes is not None and plan.updates is not None:
        raise ConfigError(f"{path}: there are minutes and updates; a budget is one of them")
    for name in plan.variants:
        refuse_seed(plan.layers_of(name, path))
    return plan


def refuse_seed(layers: Sequence[Layer]) -> None:
    """Refuse settings that name a seed, which the ablation would overwrite.

    Raises:
        ConfigError: says where.
    """
    for origin, settings in layers:
        if isinstance(settings, Mapping) and "seed" in settings:
            raise ConfigError(f"{origin}: seed is set by the ablation; write seeds = [...] at the top of the plan")
