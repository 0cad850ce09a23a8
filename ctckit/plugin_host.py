"""Finds plugins by entry-point metadata and imports those that are named, and no others."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ctckit.errors import CheckpointError, PluginError, suggest
from ctckit.files import atomic
from ctckit.hookspecs import DEFAULT, PLUGIN_API, PROJECT, VERBS

if TYPE_CHECKING:
    from ctckit.registry import Registry

HOOK = "ctckit_register"

API = "CTCKIT_API"
"""Name under which a plugin says which plugin API it is written for."""

KEPT = "plugins"
"""Folder of a run in which the plugin files that it was trained with are kept."""


@dataclass(frozen=True, slots=True)
class PluginSource:
    """Where a plugin comes from.

    Attributes:
        name: entry-point name, or the path of a single file.
        distribution: the distribution that declares it; empty for a file.
        version: of the distribution, or ``sha256:...`` of a file.
        target: entry-point value such as ``ctckit_cosine``, or the path.
        code: of a file, as it was when the version was taken; what is imported, and what a run keeps.
    """

    name: str
    distribution: str
    version: str
    target: str
    code: bytes = field(default=b"", repr=False)

    @property
    def reference(self) -> str:
        """What finds the plugin again from any folder: its name, or the absolute path of its file."""
        return self.name if self.distribution else self.target

    def row(self) -> dict[str, str]:
        """Flatten, without the code."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "target": self.target,
        }

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}" if self.distribution else self.version
        return f"plugin '{self.name}' ({origin}, {self.target})"


def installed_plugins() -> tuple[PluginSource, ...]:
    """List the installed plugins from metadata alone; nothing is imported."""
    return _installed(PROJECT)


def installed_verbs() -> tuple[PluginSource, ...]:
    """List the command-line verbs that installed plugins bring, from metadata alone."""
    return _installed(VERBS)


def load_verb(name: str) -> Any:
    """Import the click command behind a plugin's verb, or return None where no plugin brings it.

    Raises:
        PluginError: two distributions claim the verb, or it cannot be imported, or is no click command.
    """
    import click

    claims = [source for source in installed_verbs() if source.name == name]
    if not claims:
        return None
    if len(claims) > 1:
        raise PluginError(f"verb '{name}' is claimed by {_both(claims)}; uninstall one of them")
    source = claims[0]
    module, _, attribute = source.target.partition(":")
    command: Any = getattr(_import(replace(source, target=module)), attribute, None)
    if not isinstance(command, click.Command):
        raise PluginError(
            f"verb '{name}' of {source.distribution} {source.version}: {source.target} is no click command"
        )
    return command


def _installed(group: str) -> tuple[PluginSource, ...]:
    found = {
        (point.name, point.value): PluginSource(
            point.name,
            point.dist.name if point.dist else "",
            point.dist.version if point.dist else "",
            point.value,
        )
        for point in importlib.metadata.entry_points(group=group)
    }
    return tuple(sorted(found.values(), key=lambda source: (source.name, source.distribution)))


def find_plugin(name: str) -> PluginSource:
    """Resolve what ``--plugin`` was given: an entry-point name, or the path of a Python file.

    Raises:
        PluginError: unknown name (with a near miss), a name that two distributions claim, no readable file.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise PluginError(f"plugin file {name} does not exist")
        try:
            code = path.read_bytes()
        except OSError as error:
            raise PluginError(f"plugin file {name} cannot be read: {error.strerror}") from error
        return PluginSource(name, "", _version(code), str(path.resolve()), code)
    installed = installed_plugins()
    claims = [source for source in installed if source.name == name]
    if not claims:
        hint = suggest(name, [source.name for source in installed])
        raise PluginError(f"unknown plugin '{name}'{hint} (a single file is given by its path, ending in .py)")
    if len(claims) > 1:
        raise PluginError(f"plugin '{name}' is claimed by {_both(claims)}; uninstall one of them")
    return claims[0]


def _version(code: bytes) -> str:
    return f"sha256:{hashlib.sha256(code).hexdigest()}"


def _both(claims: Sequence[PluginSource]) -> str:
    return " and ".join(f"{source.distribution} {source.version}" for source in claims)


def load_plugins(names: Sequence[str], *, with_recipe: bool = False) -> tuple[Registry, tuple[PluginSource, ...]]:
    """Import the named plugins and let each register.

    Args:
        names: entry-point names, or paths of files.
        with_recipe: load the installation's default plugin as well if none of them brings a recipe.

    Returns:
        The filled registry, and the sources in the order given, then what their recipes require, for the history.

    Raises:
        PluginError: names the plugin, its distribution and version, the entry-point value and the original
            error, or the clash between two plugins.
    """
    import pluggy

    from ctckit import hookspecs
    from ctckit.registry import Registry

    registry = Registry()
    waiting = list(dict.fromkeys(names)) or _default_plugin(with_recipe)
    loaded: dict[str, PluginSource] = {}
    for name in names:
        find_plugin(name)  # a misspelt one is an error before any is imported
    while waiting:
        source = find_plugin(waiting.pop(0))
        key = source.name if source.distribution else source.version  # one file under two paths is one plugin
        if key in loaded:
            continue
        loaded[key] = source
        refuse_other_api(source)
        module = _import(source)
        # One manager a plugin: pluggy calls all implementations at once and would not say whose failed.
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(module, name=source.name)
        except pluggy.PluginValidationError as error:
            takes = ", ".join(inspect.signature(getattr(module, HOOK)).parameters)
            raise PluginError(f"{source}: {HOOK} takes ({takes}), expected (registry)") from error
        if not manager.hook.ctckit_register.get_hookimpls():
            raise PluginError(_without_hook(source, module))
        registry.registering(str(source))
        try:
            manager.hook.ctckit_register(registry=registry)
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"{source} failed in {HOOK}: {_where(error)}") from error
        waiting += [name for entry in registry.recipes.values() for name in entry.value.requires]
        if not waiting and not registry.recipes:
            waiting += _default_plugin(with_recipe)
    return registry, tuple(loaded.values())


def keep_files(sources: Sequence[PluginSource], run: Path) -> None:
    """Keep the plugin files of a run in its folder, byte for byte as they were imported.

    Args:
        sources: of the run; those that are installed are passed over.
        run: its folder.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    for source in sources:
        if source.distribution or kept_copy(run, source.version) is not None:
            continue
        path = run / KEPT / Path(source.target).name
        if path.exists():
            path = path.with_stem(f"{path.stem}_{source.version.removeprefix('sha256:')[:12]}")
        with atomic(path, CheckpointError) as temporary:
            temporary.write_bytes(source.code)


def unkept_imports(sources: Sequence[PluginSource]) -> list[str]:
    """Say which modules plugin files import from their own folders, which a run neither keeps nor compares."""
    said = []
    for source in sources:
        if source.distribution:
            continue
        folder = Path(source.target).parent
        names = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(source.code))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        beside = sorted(name for name in names if (folder / f"{name}.py").is_file() or (folder / name).is_dir())
        if beside:
            said.append(
                f"{source.name} imports {', '.join(beside)} from its folder: the run keeps and compares the one "
                "file alone; make a distribution of them (ctckit plugins new) to have a version of all"
            )
    return said


def kept_copy(run: Path | None, version: str) -> Path | None:
    """Return the file of a certain version that is kept in the folder of a run; nothing is imported."""
    for path in sorted((run / KEPT).glob("*.py")) if run is not None else ():
        with suppress(OSError):
            if path.is_file() and _version(path.read_bytes()) == version:
                return path
    return None


def plugins_of_run(recorded: Mapping[str, str], given: Sequence[str], run: Path | None = None) -> list[str]:
    """Return what to load for a trained run: installed plugins by name, files only where they are named again.

    A checkpoint may come from anybody, and what it says is no reason to run a file's code.

    Args:
        recorded: versions of the run's plugins, by what finds them.
        given: files, or names, that the user named.
        run: its folder, in which messages find the copy that is kept; None where there is none.

    Raises:
        PluginError: a file of the run's is not among them or has changed, or one that is given is not the run's.
    """
    files = {name: version for name, version in recorded.items() if name.endswith(".py")}
    named = [find_plugin(name) for name in given]
    by_version = {source.version: source for source in named if not source.distribution}
    names = []
    for name, version in recorded.items():
        if name not in files:
            names.append(name)
            continue
        if version not in by_version:
            copy = kept_copy(run, version)
            same = [source for source in by_version.values() if Path(source.target).name == Path(name).name]
            if same:
                kept = (
                    "name the file as it was" if copy is None else f"the run keeps that as --plugin {_quoted(copy)}"
                )
                raise PluginError(
                    f"{same[0].name} is not the file that the run was trained with: {_short(same[0].version)} "
                    f"here, {_short(version)} there; its code was not run; {kept}"
                )
            raise PluginError(
                f"the run was trained with the plugin file {name} ({_short(version)}); name it by --plugin "
                f"{'FILE.py' if copy is None else _quoted(copy)} (plugins=[...] in Python): its code runs only "
                "where you say so"
            )
        names.append(by_version[version].target)
    for source in named:
        if (source.reference if source.distribution else source.version) not in (*names, *files.values()):
            raise PluginError(f"the run was not trained with {source}; it was with {', '.join(recorded) or 'none'}")
    return names


def files_of_run(recorded: Mapping[str, str], given: Sequence[str]) -> list[str]:
    """Return which of several given files are meant for a run: by what they hold, or else by their name.

    Args:
        recorded: versions of the run's plugins, by what finds them.
        given: files for this run and for others.

    Raises:
        PluginError: there is no such file.
    """
    versions = {one: find_plugin(one).version for one in given}
    names = {
        Path(name).name
        for name, version in recorded.items()
        if name.endswith(".py") and version not in versions.values()
    }
    return [one for one in given if versions[one] in recorded.values() or Path(one).name in names]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _short(version: str) -> str:
    return version[: len("sha256:") + 12] or "no checksum"


def _default_plugin(wanted: bool) -> list[str]:
    """Return the plugin whose recipe is used where no named plugin brings one, if it is wanted and there is one.

    Raises:
        PluginError: several are installed.
    """
    claims = _installed(DEFAULT) if wanted else ()
    if len(claims) > 1:
        raise PluginError(f"the default recipe is claimed by {_both(claims)}; choose one with --plugin")
    return [source.name for source in claims]


def declared_api(source: PluginSource) -> str | None:
    """Read ``CTCKIT_API`` from a plugin's source text, before its import can fail; None where it says nothing."""
    try:
        code = source.code
        if source.distribution:
            spec = importlib.util.find_spec(source.target.partition(":")[0])
            origin = spec.origin if spec else None
            code = Path(origin).read_bytes() if origin and origin.endswith(".py") else b""
        tree = ast.parse(code)
    except Exception:  # noqa: BLE001  # whatever is wrong with it, the import says so with its own words
        return None
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if name == API:
                return ast.unparse(value).strip("'")
    return None


def refuse_other_api(source: PluginSource) -> None:
    """Compare the plugin API that a plugin is written for with the one that there is.

    Raises:
        PluginError: says which of the two is too old.
    """
    wanted = declared_api(source)
    if wanted is None:
        return
    if not re.fullmatch(r"\d+\.\d+", wanted):
        raise PluginError(f'{source}: {API} is {wanted!r}; write it as {API} = "{PLUGIN_API}"')
    theirs, ours = ([int(part) for part in version.split(".")] for version in (wanted, PLUGIN_API))
    version = importlib.metadata.version("ctckit")
    between = f"{source} is written for plugin API {wanted}, ctckit {version} offers {PLUGIN_API}"
    if theirs > ours:
        raise PluginError(f"{between}: ctckit is too old; pip install --upgrade ctckit")
    if theirs[0] < ours[0]:
        mend = f"pip install --upgrade {source.distribution}" if source.distribution else "see the CHANGELOG"
        raise PluginError(f"{between}: the plugin is too old; {mend}")


def _import(source: PluginSource) -> ModuleType:
    try:
        if source.distribution or not source.target.endswith(".py"):
            return importlib.import_module(source.target.partition(":")[0])
        name = f"ctckit_plugin_{source.version.removeprefix('sha256:')[:16]}"
        spec = importlib.util.spec_from_file_location(name, source.target)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        # dataclasses and pickle look the module up by name while its body runs
        sys.modules[name] = module
        try:
            # what was hashed, not what the file holds by now, nor a compiled file of an earlier one
            exec(compile(source.code, source.target, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    except Exception as error:
        raise PluginError(f"{source} cannot be imported: {_where(error)}") from error
    return module


def _where(error: Exception) -> str:
    """Describe an error with the file and line that it comes from."""
    here = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((here, "<frozen"))
        and not {"importlib", "pluggy"} & {*Path(frame.filename).parts}
    ]
    # the outermost line is the plugin's own; what it called may lie anywhere
    at = f" ({Path(frames[0].filename).name}, line {frames[0].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{at}"


def _without_hook(source: PluginSource, module: ModuleType) -> str:
    if hasattr(module, HOOK):
        return f"{source}: {HOOK} is not decorated; put @ctckit.hookimpl above it"
    near = [name for name in vars(module) if name.startswith("ctckit_")]
    near += difflib.get_close_matches(HOOK, [name for name, value in vars(module).items() if callable(value)], n=1)
    hint = f" (there is '{near[0]}', misspelt?)" if near else ""
    return f"{source} registers nothing: it has no function {HOOK}{hint}"
