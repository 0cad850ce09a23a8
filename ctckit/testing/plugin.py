"""The contract of a whole plugin: that it loads, and that everything it registers keeps its contract."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctckit.errors import ConfigError, PluginError, suggest
from ctckit.hookspecs import PLUGIN_API
from ctckit.parameters import GIVEN, parameters_of
from ctckit.plugin_host import PluginSource, declared_api, load_plugins
from ctckit.recipe import Recipe
from ctckit.registry import Entry, Registry
from ctckit.testing.contract import ContractError, ExpectedFailures, Outcome, run_checks


@dataclass(frozen=True, slots=True)
class ComponentReport:
    """What the contract says about one thing that a plugin offers.

    Attributes:
        kind: model, schedule, penalty, regularizer, monitor, recipe or plugin.
        name: under which it is registered.
        outcomes: one a check.
    """

    kind: str
    name: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")


def examine_plugin(
    name: str,
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    expected_failures: Mapping[str, ExpectedFailures] | None = None,
) -> tuple[PluginSource, tuple[ComponentReport, ...]]:
    """Load a plugin, and run the contract of everything that it registers.

    Args:
        name: entry-point name, or the path of a file.
        params: parameters for components, by registered name; they go before the example that the plugin gives.
        expected_failures: by registered name, names of checks that fail for a reason, with the reason.

    Raises:
        PluginError: the plugin cannot be loaded, or registers nothing.
        ConfigError: ``params`` or ``expected_failures`` names nothing that the plugin registers.
    """
    registry, (source, *_) = load_plugins([name])  # a recipe may bring in others
    reports = [ComponentReport("plugin", name, (_declares_its_api(source),))]
    offered = [
        entry_name
        for names in registry.kinds().values()
        for entry_name, entry in names.items()
        if entry.plugin == str(source)
    ]
    if not offered:
        raise PluginError(f"{source} registers nothing; call registry.penalty(...), or another, in ctckit_register")
    for stray in {*(params or {}), *(expected_failures or {})} - set(offered):
        raise ConfigError(f"{source} registers no '{stray}'{suggest(stray, offered)}")
    for kind, names in registry.kinds().items():
        for entry_name, entry in names.items():
            if entry.plugin != str(source) or isinstance(entry.value, Recipe):
                continue
            given = {**_example(registry, kind, entry_name, entry), **(params or {}).get(entry_name, {})}
            missing = _missing(entry.value, given)
            if missing:
                outcomes: tuple[Outcome, ...] = (
                    Outcome("example", "failed", _no_example(kind, entry_name, missing)),
                )
            else:
                component = functools.partial(entry.value, **given)
                outcomes = run_checks(component, expected_failures=(expected_failures or {}).get(entry_name))
            reports.append(ComponentReport(kind, entry_name, outcomes))
    return source, tuple(reports)


def check_plugin(
    name: str,
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    expected_failures: Mapping[str, ExpectedFailures] | None = None,
) -> tuple[ComponentReport, ...]:
    """Load a plugin as ``--plugin`` does, and run the contract of everything that it registers.

    Args:
        name: entry-point name, or the path of a file.
        params: parameters for components, by registered name.
        expected_failures: by registered name, names of checks that fail for a reason, with the reason.

    Raises:
        PluginError: the plugin cannot be loaded.
        ContractError: lists every broken clause.
    """
    __tracebackhide__ = True
    _, reports = examine_plugin(name, params=params, expected_failures=expected_failures)
    failed = [outcome.message for report in reports for outcome in report.failed]
    if failed:
        raise ContractError("\n".join(failed))
    return reports


def _declares_its_api(source: PluginSource) -> Outcome:
    # a single file goes with the ctckit that lies beside it; a distribution meets versions that do not exist yet
    if source.distribution and declared_api(source) is None:
        return Outcome(
            "declares_plugin_api",
            "failed",
            f"{source} does not say which plugin API it is written for; "
            f'put CTCKIT_API = "{PLUGIN_API}" beside ctckit_register',
        )
    return Outcome("declares_plugin_api", "passed")


def _example(registry: Registry, kind: str, name: str, entry: Entry[Any]) -> Mapping[str, Any]:
    """Return the parameters to check a component with: its example, or those of a recipe that uses it."""
    if entry.example:
        return entry.example
    if not _missing(entry.value, {}):
        return {}
    for recipe in registry.recipes.values():
        for used_kind, component in recipe.value.components():
            if (used_kind, component.name) == (kind, name):
                return component.params
    return {}


def _missing(cls: type[Any], given: Mapping[str, Any]) -> list[str]:
    return [p.name for p in parameters_of(cls, given=GIVEN) if p.required and p.name not in given]


def _no_example(kind: str, name: str, missing: list[str]) -> str:
    values = ", ".join(f'"{parameter}": ...' for parameter in missing)
    return (
        f"{kind} '{name}' needs values to be checked with: give {', '.join(missing)} a default, register it with "
        f"example={{{values}}}, or pass --set {name}.{missing[0]}=VALUE"
    )
