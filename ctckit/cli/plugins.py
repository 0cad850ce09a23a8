"""``ctckit plugins``."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from typing import Any

import click


@click.group()
def plugins() -> None:
    """List plugins and show what they offer."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List the installed plugins, from metadata alone: none is imported."""
    from ctckit.plugin_host import installed_plugins

    sources = installed_plugins()
    if as_json:
        click.echo(json.dumps([asdict(source) for source in sources]))
        return
    if not sources:
        click.echo("no plugin is installed; `pip install .` brings hierarchical_fixed")
    for source in sources:
        click.echo(f"{source.name:<28} {source.distribution} {source.version}  ({source.target})")


@plugins.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show what a plugin (a name, or a file ending in .py) registers, with parameters and defaults."""
    from ctckit.plugin_host import load_plugins

    registry, sources = load_plugins([name])
    offers = [
        _describe(kind, entry_name, entry.value)
        for kind, names in registry.kinds().items()
        for entry_name, entry in names.items()
    ]
    if as_json:
        click.echo(json.dumps({**asdict(sources[0]), "offers": offers}))
        return
    click.echo(str(sources[0]))
    for offer in offers:
        click.echo(f"\n{offer['kind']} {offer['name']}: {offer['summary']}")
        for parameter in offer["parameters"]:
            click.echo(f"    {parameter['name']} ({parameter['type']}) = {parameter['default']}")


def _describe(kind: str, name: str, value: Any) -> dict[str, Any]:
    if kind == "recipe":
        phases = [
            {"name": phase, "type": "phase", "default": f"{settings.epochs} epochs, {settings.schedule.name}"}
            for phase, settings in value.phases.items()
        ]
        return {"kind": kind, "name": name, "summary": value.description, "parameters": phases}
    from ctckit.parameters import parameters_of

    given = ("input_size", "num_classes") if kind == "model" else ()
    parameters = [
        {
            "name": parameter.name,
            "type": inspect.formatannotation(parameter.annotation),
            "default": "required" if parameter.required else repr(parameter.default),
        }
        for parameter in parameters_of(value, given=given)
    ]
    summary = (inspect.getdoc(value) or "").partition("\n")[0]
    return {"kind": kind, "name": name, "summary": summary, "parameters": parameters}
