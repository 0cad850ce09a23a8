"""``ctckit plugins``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples, exit_codes

if TYPE_CHECKING:
    from ctckit.testing.plugin import ComponentReport

KINDS = ("penalty", "schedule", "regularizer", "monitor", "model")


@click.group(
    epilog=examples(
        "ctckit plugins list                     what is installed; nothing is imported",
        "ctckit plugins show hierarchical_fixed  what it offers, with parameters",
        "ctckit plugins new cosine               a penalty of your own, with its tests",
        "ctckit plugins check ./experiment.py    whether it keeps its contract",
    )
)
def plugins() -> None:
    """List plugins, show what they offer, write and check your own."""


@plugins.command("list", epilog=examples("ctckit plugins list --json"))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List the installed plugins, from metadata alone: none is imported."""
    from ctckit.plugin_host import installed_plugins

    sources = installed_plugins()
    if as_json:
        click.echo(json.dumps([source.row() for source in sources]))
        return
    if not sources:
        click.echo("no plugin is installed; `pip install .` brings ctckit's own")
    for source in sources:
        click.echo(f"{source.name:<28} {source.distribution} {source.version}  ({source.target})")


@plugins.command(epilog=examples("ctckit plugins show hierarchical_fixed", "ctckit plugins show ./experiment.py"))
@click.argument("name", metavar="NAME|FILE.py")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show what a plugin offers, with documentation, parameters and defaults."""
    from ctckit.cli.offers import offers_of
    from ctckit.plugin_host import declared_api, load_plugins

    registry, (source, *_) = load_plugins([name])  # a recipe may bring in others
    offers = offers_of(registry, source)
    if as_json:
        click.echo(json.dumps({**source.row(), "api": declared_api(source), "offers": offers}))
        return
    click.echo(str(source))
    for offer in offers:
        click.echo(f"\n{offer['kind']} {offer['name']}: {offer['summary']}".rstrip(": "))
        if offer["documentation"]:
            click.echo(indent(offer["documentation"], "  "))
        for parameter in offer["parameters"]:
            line = f"    {parameter['name']} ({parameter['type']}) = {parameter['default']}"
            click.echo(f"{line}  {parameter['description']}".rstrip())
        click.echo(f"  use: ctckit train --plugin {name} {offer['usage']}")


@plugins.command(epilog=examples("ctckit plugins new cosine", "ctckit plugins new stalled --kind monitor"))
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="What it provides.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Where the plugin's folder goes; here by default.",
)
def new(name: str, kind: str, into: Path) -> None:
    """Write a new plugin that installs and passes its own tests; overwrites nothing."""
    from ctckit.cli.scaffold import scaffold

    written = scaffold(name, kind, into)
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f'next: cd {written[0].parent} && pip install -e ".[test]" && pytest')


@plugins.command(
    epilog=examples(
        "ctckit plugins check cosine",
        "ctckit plugins check ./experiment.py --set flat.value=-0.5 --json",
        "ctckit plugins check cosine --expect 'cosine.picklable=holds an open file'",
    )
    + exit_codes("0  every contract is kept", "1  a contract is broken", "4  the plugin cannot be loaded")
)
@click.argument("name", metavar="NAME|FILE.py")
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME.PARAM=VALUE", help="Check a component with this value."
)
@click.option(
    "--expect", "expected", multiple=True, metavar="NAME.CHECK=REASON", help="A failure that has a reason."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def check(
    context: click.Context, name: str, assignments: tuple[str, ...], expected: tuple[str, ...], as_json: bool
) -> None:
    """Run the contract of everything that a plugin registers."""
    from ctckit.testing.plugin import examine_plugin

    try:
        source, reports = examine_plugin(
            name, params=_by_component(assignments), expected_failures=_by_component(expected, as_text=True)
        )
    except ValueError as error:  # an expected failure without its check or its reason
        raise click.UsageError(str(error)) from error
    failed = any(report.failed for report in reports)
    if as_json:
        listed = [{"kind": r.kind, "name": r.name, "checks": [asdict(o) for o in r.outcomes]} for r in reports]
        click.echo(json.dumps({**source.row(), "passed": not failed, "components": listed}))
    else:
        click.echo(str(source))
        for report in reports:
            _print(report)
    context.exit(1 if failed else 0)


def _print(report: ComponentReport) -> None:
    passed = sum(outcome.status == "passed" for outcome in report.outcomes)
    click.echo(f"{report.kind} {report.name}: {passed} of {len(report.outcomes)} checks passed")
    for outcome in report.outcomes:
        if outcome.status == "failed":
            click.echo(f"  FAILED {outcome.message}")
        elif outcome.status == "expected":
            click.echo(f"  expected to fail: {outcome.check}, {outcome.message}")


def _by_component(assignments: tuple[str, ...], *, as_text: bool = False) -> dict[str, dict[str, Any]]:
    from ctckit.config import parse_assignment
    from ctckit.errors import ConfigError

    found: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        component, dot, name = key.partition(".")
        if not (separator and dot and component and name) or "." in name:
            raise ConfigError(f"'{assignment}': write NAME.PARAM=VALUE, for example flat.value=-0.5")
        nested = {component: {name: text}} if as_text else parse_assignment(assignment)
        found.setdefault(component, {}).update(nested[component])
    return found
