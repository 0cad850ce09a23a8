"""``ctckit report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from ctckit.types import Lattice


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="RUN/report.html by default; - is standard output, and the summary then goes to standard error.",
)
@click.option(
    "--clips",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draw what the best checkpoint emits for this many clips, the worst of the run's test or dev corpus.",
)
@plugin_files
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def report(run: Path, out: Path | None, clips: int, plugins: tuple[str, ...], as_json: bool) -> None:
    """Write the report of RUN, a folder that holds a history.jsonl, as one HTML file.

    It says whether training left the unigram plateau, when, and what the model emits since: charts, findings,
    actions, every epoch. The file needs no network and nothing beside it. A run may still be going on.
    """
    from ctckit.doctor.verdict import as_json as to_json
    from ctckit.doctor.verdict import judge
    from ctckit.errors import ConfigError
    from ctckit.files import STANDARD
    from ctckit.record.history import finite, read_history
    from ctckit.report.html import write_report

    if as_json and out == STANDARD:
        raise ConfigError("--json and the report cannot both go to standard output; give --out a file")
    recorded = read_history(run)
    verdict = judge(recorded)
    path = out if out is not None else (run.parent if run.is_file() else run) / "report.html"
    write_report(recorded, verdict, path, _lattices(run, clips, plugins))
    if as_json:
        click.echo(json.dumps(finite({"report": str(path), **to_json(recorded, verdict)})))
        return
    summary = [str(path), verdict.headline, *(f"  {sentence}" for sentence in verdict.evidence)]
    click.echo("\n".join(summary), err=path == STANDARD)


def _lattices(run: Path, number: int, plugins: tuple[str, ...]) -> list[Lattice]:
    if not number:
        return []
    from ctckit.cli.show import lattices
    from ctckit.recogniser import load

    return lattices(load(run, plugins=plugins), None, None, (), number)
