"""``ctckit report``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="RUN/report.html by default; - is standard output, and the summary then goes to standard error.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def report(run: Path, out: Path | None, as_json: bool) -> None:
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
    write_report(recorded, verdict, path)
    if as_json:
        click.echo(json.dumps(finite({"report": str(path), **to_json(recorded, verdict)})))
        return
    summary = [str(path), verdict.headline, *(f"  {sentence}" for sentence in verdict.evidence)]
    click.echo("\n".join(summary), err=path == STANDARD)
