"""``ctckit plugins``, and the verbs that plugins bring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from easing import COSINE, Install, call

from ctckit.plugin_host import installed_plugins

# --- show --------------------------------------------------------------------------------------------------


def test_show_prints_documentation_parameters_and_use(installed_plugin: Install) -> None:
    installed_plugin(COSINE, name="easing", module="easing_module")
    outcome = call("plugins", "show", "easing")
    assert outcome.output == (
        "plugin 'easing' (ctckit-easing 1.0, easing_module)\n"
        "\n"
        "penalty easing: Ease away.\n"
        "  Over the phase, that is.\n"
        "    start (float) = required  where it begins, in nats.\n"
        "    steps (int, >= 1) = 4  how finely.\n"
        "  use: ctckit train --plugin easing --set 'phases.*.penalty=easing' "
        "--set 'phases.*.penalty.start=-2.0'\n"
    )


def test_show_as_json(installed_plugin: Install) -> None:
    installed_plugin(COSINE, name="easing")
    told = json.loads(call("plugins", "show", "easing", "--json").output)
    assert (told["name"], told["distribution"], told["api"]) == ("easing", "ctckit-easing", "1.0")
    (offer,) = told["offers"]
    assert [parameter["name"] for parameter in offer["parameters"]] == ["start", "steps"]


# --- check -------------------------------------------------------------------------------------------------


def test_check_passes_with_exit_code_0(installed_plugin: Install) -> None:
    installed_plugin(COSINE, name="easing")
    outcome = call("plugins", "check", "easing")
    assert outcome.exit_code == 0
    assert "penalty easing: 12 of 12 checks passed" in outcome.output


def test_check_fails_with_exit_code_1_and_says_why(installed_plugin: Install) -> None:
    installed_plugin(COSINE.replace("return self.start *", "return 5.0 *"), name="easing")
    outcome = call("plugins", "check", "easing")
    assert outcome.exit_code == 1
    assert "penalty easing: 11 of 12 checks passed" in outcome.output
    assert (
        "FAILED Easing(start=-2.0) breaks shift_is_finite_and_not_positive: shift is 5.0 at epoch 1"
        in outcome.output
    )
    told = json.loads(call("plugins", "check", "easing", "--json").output)
    assert told["passed"] is False
    failed = [c["check"] for part in told["components"] for c in part["checks"] if c["status"] == "failed"]
    assert failed == ["shift_is_finite_and_not_positive"]


def test_check_takes_values_and_expected_failures(installed_plugin: Install) -> None:
    installed_plugin(COSINE.replace("example={", "**{} and {").replace("**{} and {", "example={"), name="easing")
    assert call("plugins", "check", "easing", "--set", "easing.start=0.5").exit_code == 1
    expected = "easing.shift_is_finite_and_not_positive=an encouragement, not a penalty"
    outcome = call("plugins", "check", "easing", "--set", "easing.start=0.5", "--expect", expected)
    assert outcome.exit_code == 0
    assert "expected to fail: shift_is_finite_and_not_positive, an encouragement, not a penalty" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "esing.start=-1"], 2, "registers no 'esing'; did you mean 'easing'?"),
        (["--set", "start=-1"], 2, "'start=-1': write NAME.PARAM=VALUE, for example flat.value=-0.5"),
        (["--expect", "easing.picklabel=x"], 2, "there is no check 'picklabel'; did you mean 'picklable'?"),
        (["--expect", "easing.picklable="], 2, "'picklable' needs a reason"),
    ],
)
def test_check_refuses_what_names_nothing(
    installed_plugin: Install, arguments: list[str], code: int, message: str
) -> None:
    installed_plugin(COSINE, name="easing")
    outcome = call("plugins", "check", "easing", *arguments)
    assert (outcome.exit_code, message in outcome.output) == (code, True), outcome.output


def test_check_needs_values_for_required_parameters(installed_plugin: Install) -> None:
    installed_plugin(COSINE.replace(', example={"start": -2.0}', ""), name="easing")
    outcome = call("plugins", "check", "easing")
    assert outcome.exit_code == 1
    assert (
        "penalty 'easing' needs values to be checked with: give start a default, register it with "
        'example={"start": ...}, or pass --set easing.start=VALUE'
    ) in outcome.output
    assert call("plugins", "check", "easing", "--set", "easing.start=-1").exit_code == 0


def test_check_wants_a_distribution_to_declare_its_api(installed_plugin: Install, tmp_path: Path) -> None:
    silent = COSINE.replace('CTCKIT_API = "1.0"', "")
    installed_plugin(silent, name="easing")
    outcome = call("plugins", "check", "easing")
    assert outcome.exit_code == 1
    assert 'put CTCKIT_API = "1.1" beside ctckit_register' in outcome.output
    import textwrap

    (tmp_path / "experiment.py").write_text(textwrap.dedent(silent))
    assert call("plugins", "check", str(tmp_path / "experiment.py")).exit_code == 0


def test_check_refuses_a_plugin_that_registers_nothing(installed_plugin: Install) -> None:
    installed_plugin(
        """
        import ctckit

        @ctckit.hookimpl
        def ctckit_register(registry):
            pass
        """,
        name="empty",
    )
    outcome = call("plugins", "check", "empty")
    assert outcome.exit_code == 4
    assert "registers nothing; call registry.penalty(...), or another, in ctckit_register" in outcome.output


@pytest.mark.parametrize(
    "name", sorted(source.name for source in installed_plugins() if source.distribution == "ctckit")
)
def test_first_party_plugins_keep_their_contract(name: str) -> None:
    outcome = call("plugins", "check", name)
    assert outcome.exit_code == 0, outcome.output


# --- verbs -------------------------------------------------------------------------------------------------

VERB = """
    import click
    from ctckit import ConfigError

    @click.command()
    @click.option("--often", type=int, default=1)
    def hello(often):
        "Greet."
        if often < 0:
            raise ConfigError("--often is negative; count from 0")
        click.echo("hello " * often)

    not_a_command = 3
"""


def test_a_plugins_verb_is_listed_without_an_import_and_runs(installed_plugin: Install) -> None:
    installed_plugin(VERB, name="greeter", module="greeter_verbs", verbs={"hello": "greeter_verbs:hello"})
    import sys

    listing = call("--help").output
    assert "Commands of plugins:\n  hello  ctckit-greeter 1.0\n" in listing
    assert "greeter_verbs" not in sys.modules
    assert call("hello", "--often", "2").output == "hello hello \n"
    assert "Greet." in call("hello", "--help").output
    assert call("hello", "--oftne", "2").exit_code == 2
    outcome = call("hello", "--often", "-1")
    assert (outcome.exit_code, outcome.output) == (2, "Error: --often is negative; count from 0\n")


def test_a_broken_verb_is_named_and_harms_no_other(installed_plugin: Install) -> None:
    installed_plugin(
        "import absent_module", name="greeter", module="greeter_broken", verbs={"hello": "greeter_broken:x"}
    )
    assert call("--help").exit_code == 0
    assert call("plugins", "list").exit_code == 0
    outcome = call("hello")
    assert outcome.exit_code == 4
    assert "plugin 'hello' (ctckit-greeter 1.0, greeter_broken) cannot be imported" in outcome.output
    assert "No module named 'absent_module' (greeter_broken.py, line 1)" in outcome.output


def test_a_verb_must_be_a_click_command(installed_plugin: Install) -> None:
    installed_plugin(VERB, name="greeter", module="greeter_odd", verbs={"hello": "greeter_odd:not_a_command"})
    outcome = call("hello")
    assert outcome.exit_code == 4
    assert "verb 'hello' of ctckit-greeter 1.0: greeter_odd:not_a_command is no click command" in outcome.output


def test_ctckits_own_verbs_cannot_be_taken_and_clashes_are_named(installed_plugin: Install) -> None:
    verbs = {"train": "one_verbs:hello", "hello": "one_verbs:hello"}
    installed_plugin(VERB, name="one", module="one_verbs", verbs=verbs)
    installed_plugin(VERB, name="two", module="two_verbs", verbs={"hello": "two_verbs:hello"})
    assert "train  ctckit-one 1.0 (hidden by ctckit's own)" in call("--help").output
    assert "Train a recogniser." in call("train", "--help").output
    outcome = call("hello")
    assert outcome.exit_code == 4
    assert "verb 'hello' is claimed by ctckit-one 1.0 and ctckit-two 1.0; uninstall one of them" in outcome.output


def test_an_unknown_verb_stays_unknown() -> None:
    assert "No such command 'trian'" in call("trian").output
