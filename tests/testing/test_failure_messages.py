"""What an author reads when something is wrong, word by word."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ctckit
from ctckit import ConfigError, PluginError, plugin_host
from ctckit.parameters import construct
from ctckit.plugin_host import find_plugin, load_plugins

GOOD = """
import ctckit

class Flat(ctckit.Penalty):
    def __init__(self, value: float = -0.5) -> None:
        self.value = value

    def shift(self, at):
        return self.value

@ctckit.hookimpl
def ctckit_register(registry):
    registry.penalty("flat", Flat)
"""

SOURCE = "plugin 'flat' (ctckit-flat 1.0, flat_module)"
Install = Callable[..., Any]


def refusal(install: Install, source: str, **more: Any) -> str:
    install(source, name="flat", module="flat_module", **more)
    with pytest.raises(PluginError) as error:
        load_plugins(["flat"])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import ctckit\nimport no_such_module\n",
            f"{SOURCE} cannot be imported: ModuleNotFoundError: No module named 'no_such_module' "
            "(flat_module.py, line 2)",
        ),
        (
            "import ctckit\nclass Flat(ctckit.Penalti): ...\n",
            f"{SOURCE} cannot be imported: AttributeError: module 'ctckit' has no attribute 'Penalti' "
            "(flat_module.py, line 2)",
        ),
        ("x = (\n", f"{SOURCE} cannot be imported: SyntaxError: '(' was never closed (flat_module.py, line 1)"),
        (
            GOOD.replace("@ctckit.hookimpl\n", ""),
            f"{SOURCE}: ctckit_register is not decorated; put @ctckit.hookimpl above it",
        ),
        (
            GOOD.replace("ctckit_register", "ctckit_regsiter"),
            f"{SOURCE} registers nothing: it has no function ctckit_register "
            "(there is 'ctckit_regsiter', misspelt?)",
        ),
        (
            GOOD.replace("ctckit_register", "register"),
            f"{SOURCE} registers nothing: it has no function ctckit_register (there is 'register', misspelt?)",
        ),
        (
            GOOD.replace('registry.penalty("flat", Flat)', "registry.penalties_flat(Flat)"),
            f"{SOURCE} failed in ctckit_register: AttributeError: 'Registry' object has no attribute "
            "'penalties_flat' (flat_module.py, line 13)",
        ),
        (
            GOOD.replace("def shift", "def shfit"),
            f"{SOURCE} registers Flat as penalty 'flat', which lacks the method shift "
            "(there is 'shfit', misspelt?)",
        ),
        (
            GOOD.replace('"flat", Flat', '"flat", Flat()').replace("def ctckit", "def ctckit"),
            None,
        ),
        (
            GOOD.replace("registry.penalty(", "registry.schedule("),
            f"{SOURCE} registers <class 'flat_module.Flat'> as schedule 'flat'; "
            "pass a class derived from ctckit.Schedule",
        ),
        (
            GOOD.replace('"flat"', '"my flat"'),
            f"{SOURCE} registers a penalty as 'my flat'; use letters, digits and _, so that --set can name it",
        ),
    ],
    ids=[
        "import", "attribute", "syntax", "decorator", "hook", "plain name", "registry method", "method",
        "instance", "kind", "name",
    ],
)  # fmt: skip
def test_a_broken_plugin_says_what_to_do(installed_plugin: Install, source: str, message: str | None) -> None:
    said = refusal(installed_plugin, source)
    if message is None:
        assert said.endswith("as penalty 'flat'; pass a class derived from ctckit.Penalty")
    else:
        assert said == message


def test_a_misspelt_argument_of_the_hook_is_named(installed_plugin: Install) -> None:
    said = refusal(installed_plugin, GOOD.replace("registry", "registrar"))
    assert said.startswith(f"{SOURCE}: ctckit_register takes (registrar), expected (registry)")


def test_two_distributions_may_not_share_a_plugin_name(installed_plugin: Install) -> None:
    installed_plugin(GOOD, name="flat", distribution="ctckit-one", version="1.0")
    installed_plugin(GOOD, name="flat", distribution="ctckit-two", version="2.1")
    with pytest.raises(PluginError) as error:
        find_plugin("flat")
    assert (
        str(error.value) == "plugin 'flat' is claimed by ctckit-one 1.0 and ctckit-two 2.1; uninstall one of them"
    )


def test_two_plugins_may_not_register_one_name(installed_plugin: Install) -> None:
    installed_plugin(GOOD, name="one", module="one_module")
    installed_plugin(GOOD, name="two", module="two_module")
    with pytest.raises(PluginError) as error:
        load_plugins(["one", "two"])
    assert str(error.value) == (
        "penalty 'flat' is registered twice, by plugin 'one' (ctckit-one 1.0, one_module) and by "
        "plugin 'two' (ctckit-two 1.0, two_module); use one of the two plugins, or ask one author to rename"
    )


def test_a_broken_neighbour_stops_nobody(installed_plugin: Install) -> None:
    installed_plugin("import no_such_module", name="broken")
    installed_plugin(GOOD, name="flat")
    registry, _ = load_plugins(["flat"])
    assert "flat" in registry.penalties


def test_unknown_names_get_the_near_miss(installed_plugin: Install) -> None:
    installed_plugin(GOOD, name="flat")
    with pytest.raises(PluginError) as error:
        load_plugins(["falt"])
    assert str(error.value) == (
        "unknown plugin 'falt'; did you mean 'flat'? (a single file is given by its path, ending in .py)"
    )
    registry, _ = load_plugins(["flat"])
    with pytest.raises(ConfigError, match="unknown penalty 'falt'; did you mean 'flat'"):
        registry.penalties.find("falt")
    with pytest.raises(ConfigError) as refused:
        construct(registry.penalties["flat"].value, "penalty 'flat'", {"vlaue": 1})
    assert str(refused.value) == "penalty 'flat': unknown parameter 'vlaue'; did you mean 'value'?"


# --- the version of the plugin API -------------------------------------------------------------------------


def declaring(version: str) -> str:
    return f"CTCKIT_API = {version!r}\n{GOOD}"


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ("1.2", "1.3", "is written for plugin API 1.3, ctckit 0.1.0 offers 1.2: ctckit is too old; "
         "pip install --upgrade ctckit"),
        ("1.2", "2.0", "is written for plugin API 2.0, ctckit 0.1.0 offers 1.2: ctckit is too old; "
         "pip install --upgrade ctckit"),
        ("2.0", "1.9", "is written for plugin API 1.9, ctckit 0.1.0 offers 2.0: the plugin is too old; "
         "pip install --upgrade ctckit-flat"),
        ("1.0", "one", "CTCKIT_API is 'one'; write it as CTCKIT_API = \"1.0\""),
    ],
)  # fmt: skip
def test_another_plugin_api_says_which_side_is_too_old(
    installed_plugin: Install, monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str, message: str
) -> None:
    monkeypatch.setattr(plugin_host, "PLUGIN_API", ours)
    monkeypatch.setattr(plugin_host.importlib.metadata, "version", lambda name: "0.1.0")
    said = refusal(installed_plugin, declaring(theirs))
    assert said.startswith(SOURCE)
    assert said.endswith(message)


def test_a_version_with_an_annotation_is_read_too(
    installed_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_host, "PLUGIN_API", "1.2")
    said = refusal(installed_plugin, declaring("1.3").replace("CTCKIT_API =", "CTCKIT_API: str ="))
    assert "is written for plugin API 1.3" in said


def test_the_version_is_compared_before_the_import_can_fail(
    installed_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(installed_plugin, declaring("1.7") + "\nctckit.ANameOfTomorrow\n")
    assert "ctckit is too old" in said


@pytest.mark.parametrize("theirs", ["1.0", "1.2"])
def test_an_older_minor_version_is_served(
    installed_plugin: Install, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    monkeypatch.setattr(plugin_host, "PLUGIN_API", "1.2")
    installed_plugin(declaring(theirs), name="flat")
    assert load_plugins(["flat"])[1][0].name == "flat"


def test_a_file_is_held_to_the_version_too(tmp_path: Path) -> None:
    path = tmp_path / "flat.py"
    path.write_text(textwrap.dedent(declaring("9.0")))
    with pytest.raises(PluginError, match=r"is written for plugin API 9\.0, .*: ctckit is too old"):
        load_plugins([str(path)])


def test_a_plugin_that_says_nothing_is_taken(installed_plugin: Install) -> None:
    installed_plugin(GOOD, name="flat")
    assert load_plugins(["flat"])


# --- what the fixture does -----------------------------------------------------------------------------------


def test_the_installed_plugin_is_seen_by_other_processes_and_gone_afterwards(
    installed_plugin: Install, tmp_path: Path
) -> None:
    import subprocess
    import sys

    plugin = installed_plugin(GOOD, name="flat", version="3.1")
    outcome = subprocess.run(
        [sys.executable, "-m", "ctckit", "plugins", "list"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert f"flat                         ctckit-flat 3.1  ({plugin.module})" in outcome.stdout


def test_no_plugin_of_another_test_is_left() -> None:
    with pytest.raises(PluginError, match="unknown plugin 'flat'"):
        find_plugin("flat")
    assert ctckit.PLUGIN_API
