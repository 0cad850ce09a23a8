"""Finds plugins by entry-point metadata and imports those that are named, and no others."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ctckit.errors import PluginError, suggest
from ctckit.hookspecs import PROJECT

if TYPE_CHECKING:
    from ctckit.registry import Registry

HOOK = "ctckit_register"


@dataclass(frozen=True, slots=True)
class PluginSource:
    """Where a plugin comes from.

    Attributes:
        name: entry-point name, or the path of a single file.
        distribution: the distribution that declares it; empty for a file.
        version: of the distribution, or ``sha256:...`` of a file.
        target: entry-point value such as ``ctckit_cosine``, or the path.
    """

    name: str
    distribution: str
    version: str
    target: str

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}" if self.distribution else self.version
        return f"plugin '{self.name}' ({origin}, {self.target})"


def installed_plugins() -> tuple[PluginSource, ...]:
    """List the installed plugins from metadata alone; nothing is imported."""
    found = {
        (point.name, point.value): PluginSource(
            point.name,
            point.dist.name if point.dist else "",
            point.dist.version if point.dist else "",
            point.value,
        )
        for point in importlib.metadata.entry_points(group=PROJECT)
    }
    return tuple(sorted(found.values(), key=lambda source: (source.name, source.distribution)))


def find_plugin(name: str) -> PluginSource:
    """Resolve what ``--plugin`` was given: an entry-point name, or the path of a Python file.

    Raises:
        PluginError: unknown name (with a near miss), a name that two distributions claim, a missing file.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise PluginError(f"plugin file {name} does not exist")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return PluginSource(name, "", f"sha256:{digest}", str(path.resolve()))
    installed = installed_plugins()
    claims = [source for source in installed if source.name == name]
    if not claims:
        hint = suggest(name, [source.name for source in installed])
        raise PluginError(f"unknown plugin '{name}'{hint} (a single file is given by its path, ending in .py)")
    if len(claims) > 1:
        who = " and ".join(f"{source.distribution} {source.version}" for source in claims)
        raise PluginError(f"plugin '{name}' is claimed by {who}; uninstall one of them")
    return claims[0]


def load_plugins(names: Sequence[str]) -> tuple[Registry, tuple[PluginSource, ...]]:
    """Import the named plugins and let each register.

    Returns:
        The filled registry, and the sources in the order given, for the history.

    Raises:
        PluginError: names the plugin, its distribution and version, the entry-point value and the original
            error, or the clash between two plugins.
    """
    import pluggy

    from ctckit import hookspecs
    from ctckit.registry import Registry

    registry = Registry()
    sources = tuple(find_plugin(name) for name in dict.fromkeys(names))
    for source in sources:
        module = _import(source)
        # One manager a plugin: pluggy calls all implementations at once and would not say whose failed.
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(module, name=source.name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{source}: {HOOK} has the wrong arguments, expected (registry): {error}") from error
        if not manager.hook.ctckit_register.get_hookimpls():
            raise PluginError(_without_hook(source, module))
        registry.registering(str(source))
        try:
            manager.hook.ctckit_register(registry=registry)
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"{source} failed in {HOOK}: {type(error).__name__}: {error}") from error
    return registry, sources


def _import(source: PluginSource) -> ModuleType:
    try:
        if source.distribution or not source.target.endswith(".py"):
            return importlib.import_module(source.target.partition(":")[0])
        name = f"ctckit_plugin_{source.version.removeprefix('sha256:')[:16]}"
        spec = importlib.util.spec_from_file_location(name, source.target)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # dataclasses and pickle look the module up by name while its body runs
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    except Exception as error:
        raise PluginError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _without_hook(source: PluginSource, module: ModuleType) -> str:
    if hasattr(module, HOOK):
        return f"{source}: {HOOK} is not decorated; put @ctckit.hookimpl above it"
    near = [name for name in vars(module) if name.startswith("ctckit_")]
    hint = f" (there is '{near[0]}', misspelt?)" if near else ""
    return f"{source} registers nothing: it has no function {HOOK}{hint}"
