"""What can be loaded: files, installed plugins, and the recipe of the installation."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctckit import PluginError, plugin_host
from ctckit.cli import main
from ctckit.plugin_host import (
    files_of_run,
    find_plugin,
    installed_plugins,
    keep_files,
    kept_copy,
    load_plugins,
    plugins_of_run,
    unkept_imports,
)


def write_plugin(folder: Path, body: str) -> str:
    path = folder / "experiment.py"
    path.write_text(textwrap.dedent(body))
    return str(path)


GOOD = """
    from dataclasses import dataclass
    import ctckit

    @dataclass
    class Flat(ctckit.Penalty):
        def shift(self, at):
            return -0.25

    @ctckit.hookimpl
    def ctckit_register(registry):
        registry.penalty("flat", Flat)
"""


def test_a_single_file_is_a_plugin(tmp_path: Path) -> None:
    path = write_plugin(tmp_path, GOOD)
    registry, (source,) = load_plugins([path])
    assert "flat" in registry.penalties
    assert source.version.startswith("sha256:")
    assert source.name == path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (GOOD.replace("@ctckit.hookimpl", ""), "is not decorated; put @ctckit.hookimpl above it"),
        (GOOD.replace("def ctckit_register", "def ctckit_regsiter"), "there is 'ctckit_regsiter', misspelt?"),
        (
            GOOD.replace("(registry):", "(registrar):").replace("registry.p", "registrar.p"),
            "ctckit_register takes (registrar), expected (registry)",
        ),
        ("import absent_module", "cannot be imported: ModuleNotFoundError: No module named 'absent_module'"),
        ("x = (", "cannot be imported: SyntaxError"),
        (GOOD.replace('"flat", Flat', '"flat", Nothing'), "failed in ctckit_register: NameError"),
    ],
    ids=["undecorated", "misspelt", "arguments", "import", "syntax", "raises"],
)
def test_a_broken_plugin_is_named_with_its_error(tmp_path: Path, body: str, message: str) -> None:
    path = write_plugin(tmp_path, body)
    with pytest.raises(PluginError) as error:
        load_plugins([path])
    assert message in str(error.value)
    assert path in str(error.value)
    assert "sha256:" in str(error.value)


def test_unknown_plugins_get_a_suggestion() -> None:
    with pytest.raises(PluginError, match="unknown plugin 'hierarchical_fixd'; did you mean 'hierarchical_fixed'"):
        find_plugin("hierarchical_fixd")
    with pytest.raises(PluginError, match=r"plugin file absent\.py does not exist"):
        find_plugin("absent.py")


def test_first_party_plugins_are_installed_like_any_other() -> None:
    names = {source.name: source for source in installed_plugins()}
    assert names["hierarchical_fixed"].distribution == "ctckit"
    registry, _ = load_plugins(["hierarchical_fixed", "hierarchical_multistage"])
    assert set(registry.recipes) == {"hierarchical_fixed", "hierarchical_multistage"}


class FakeDistribution:
    def __init__(self, name: str) -> None:
        self.name = name
        self.version = "1.0"


class FakePoint(EntryPoint):
    dist = None  # type: ignore[assignment]


def fake_point(name: str, value: str, distribution: str) -> Any:
    point = FakePoint(name, value, "ctckit")
    object.__setattr__(point, "dist", FakeDistribution(distribution))
    return point


def test_two_distributions_that_claim_a_name_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [fake_point("cosine", "one", "ctckit-one"), fake_point("cosine", "two", "ctckit-two")]
    monkeypatch.setattr(plugin_host.importlib.metadata, "entry_points", lambda group: points)
    with pytest.raises(PluginError, match=r"'cosine' is claimed by ctckit-one 1\.0 and ctckit-two 1\.0"):
        find_plugin("cosine")


def test_a_broken_neighbour_is_listed_and_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [fake_point("broken", "module_that_is_not_there", "ctckit-broken")]
    monkeypatch.setattr(plugin_host.importlib.metadata, "entry_points", lambda group: points)
    assert [source.name for source in installed_plugins()] == ["broken"]
    with pytest.raises(PluginError, match=r"plugin 'broken' \(ctckit-broken 1\.0, module_that_is_not_there\)"):
        load_plugins(["broken"])


def declare_default(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Pretend that these plugins are declared as the installation's default, and leave the others installed."""
    found = plugin_host._installed
    sources = tuple(replace(source, distribution=f"dist-{source.name}") for source in installed_plugins())
    default = tuple(source for source in sources if source.name in names)
    monkeypatch.setattr(
        plugin_host, "_installed", lambda group: default if group == "ctckit.default" else found(group)
    )


@pytest.mark.parametrize("name", ["hierarchical_adaptive", "hierarchical_multistage"])
def test_the_default_recipe_is_what_the_installation_declares(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    declare_default(monkeypatch, name)
    assert list(load_plugins([], with_recipe=True)[0].recipes) == [name]
    assert list(load_plugins(["cures"], with_recipe=True)[0].recipes) == [name]
    assert list(load_plugins(["hierarchical_fixed"], with_recipe=True)[0].recipes) == ["hierarchical_fixed"]
    assert not load_plugins(["cures"])[0].recipes


def test_no_default_recipe_and_several_are_said_where_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_default(monkeypatch)
    result = CliRunner().invoke(main, ["train", "--plugin=cures", "--print-config"])
    assert result.exit_code == 2
    assert "no plugin brings a recipe; name one that does with --plugin" in result.stderr
    declare_default(monkeypatch, "hierarchical_adaptive", "hierarchical_multistage")
    with pytest.raises(PluginError, match="the default recipe is claimed by dist-hierarchical_adaptive"):
        load_plugins([], with_recipe=True)
    assert load_plugins(["hierarchical_fixed"], with_recipe=True)[0].recipes


def test_one_file_under_two_paths_is_one_plugin(tmp_path: Path) -> None:
    path = write_plugin(tmp_path, GOOD)
    copy = tmp_path / "copy.py"
    copy.write_bytes(Path(path).read_bytes())
    registry, (source,) = load_plugins([path, str(copy)])
    assert "flat" in registry.penalties
    recorded = {source.reference: source.version}
    assert len(load_plugins(plugins_of_run(recorded, [path, str(copy)]))[1]) == 1


def test_what_is_imported_is_what_was_hashed(tmp_path: Path) -> None:
    path = Path(write_plugin(tmp_path, GOOD))
    source = find_plugin(str(path))
    path.write_text("raise SystemExit")
    assert plugin_host._import(source).Flat().shift(None) == -0.25


def test_a_run_keeps_its_plugin_files_under_their_names(tmp_path: Path) -> None:
    files = []
    for number, name in enumerate(("a", "b", "b")):
        folder = tmp_path / f"{name}{number}"
        folder.mkdir()
        files.append(write_plugin(folder, GOOD.replace("Flat", f"Flat{name}").replace('"flat"', f'"flat{name}"')))
    run = tmp_path / "run"
    sources = load_plugins([*files, "hierarchical_fixed"])[1]
    for _ in range(2):  # a resumption keeps them again
        keep_files(sources, run)
        assert len(list((run / "plugins").iterdir())) == 2
    copies = [kept_copy(run, source.version) for source in sources if not source.distribution]
    assert copies[0] == run / "plugins" / "experiment.py"
    assert [copy.read_bytes() for copy in copies if copy] == [Path(one).read_bytes() for one in files[:2]]
    assert kept_copy(run, "sha256:0") is None
    (run / "plugins" / "fifo.py").mkdir()
    (run / "plugins" / "loop.py").symlink_to("loop.py")
    copies[0].write_text("changed")  # type: ignore[union-attr]
    assert kept_copy(run, sources[0].version) is None


def test_of_two_files_of_one_name_the_runs_own_is_taken(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(write_plugin(tmp_path / name, GOOD + f"# {name}"))
    recorded = {
        f"/elsewhere/{name}/experiment.py": find_plugin(file).version
        for name, file in zip("ab", files, strict=True)
    }
    for name, version in recorded.items():
        own = files_of_run({name: version}, files)
        assert plugins_of_run({name: version}, own) == own
    assert files_of_run({"/elsewhere/experiment.py": "sha256:0"}, files) == files


def test_imports_from_the_folder_of_a_file_are_said(tmp_path: Path) -> None:
    path = write_plugin(tmp_path, "import json, beside.deep\nfrom parts import one\n")
    assert not unkept_imports([find_plugin(path)])
    (tmp_path / "beside").mkdir()
    (tmp_path / "parts.py").touch()
    (line,) = unkept_imports([find_plugin(path)])
    assert "imports beside, parts from its folder" in line
