"""``ctckit diagnose``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples, exit_codes

if TYPE_CHECKING:
    from ctckit.doctor.verdict import Verdict
    from ctckit.record.history import Recorded

EXIT_CODES = {"info": 0, "warning": 10, "error": 11}
"""What `diagnose` and `audit` end with, by the gravest severity; 1 to 6 stay those of ctckit's errors."""


@click.command(
    epilog=examples(
        "ctckit diagnose runs/NAME",
        "ctckit diagnose checkpoints/training_history.json --json",
        "ctckit diagnose metrics.csv --unit val_wer=share",
        "ctckit diagnose train.log --column val_wer=dev_clean_wer",
        "ctckit diagnose sweep.csv --run seed-3",
        "ctckit diagnose - < trainer_state.json",
        "ctckit diagnose runs/NAME --findings",
    )
    + exit_codes(
        "0   HEALTHY, STARTING, ESCAPING and moving, PLATEAU for no longer than usual; and no warning holds",
        "10  BLANK-BIASED, OVERFIT, OVER-PENALISED, DIVERGED in this epoch, ESCAPING but stalled or too slow,",
        "    PLATEAU up to 10 epochs or again, a run that ended before or on it, a warning beside any state,",
        "    a missed target",
        "11  BROKEN, DIVERGED or PLATEAU for longer",
        "3   the history cannot be read",
    )
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--unit",
    "units",
    multiple=True,
    metavar="FIGURE=share|percent",
    help="Unit of a column of another program, where its values do not tell.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIGURE=COLUMN",
    help="Column of another program to take for a figure, such as val_wer=cer_dev.",
)
@click.option(
    "--run",
    "chosen",
    default="",
    metavar="NAME",
    help="Which run of a file of another program that holds several: its name, or its number where no column "
    "names them; 'all' reads them one after another.",
)
@click.option("--findings", is_flag=True, help="Print what was found and done during the run, as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.pass_context
def diagnose(
    context: click.Context,
    run: Path,
    units: tuple[str, ...],
    columns: tuple[str, ...],
    chosen: str,
    findings: bool,
    as_json: bool,
) -> None:
    """Say what state RUN is in, since when, on what evidence, and what to try.

    RUN is a run's folder or its history.jsonl; or a history of another program, a file, a folder that holds one, or
    - for standard input: trainer_state.json of transformers, metrics.csv of Lightning, any CSV, JSON or JSON lines
    with a row or a value an epoch, a log (ESPnet, NeMo, SpeechBrain, fairseq, Keras, or lines of name=value), or
    event files of TensorBoard. Columns are recognised by names such as train_loss, val_loss, val_wer, blank_ratio,
    unique_nonblank, overfit_ratio, learning_rate, or other names of these (dev_loss, eval_wer, lr). What was taken
    for what, and in which unit, is said; columns that are missing are named, and the rules that need them are left
    out.
    """
    from ctckit.doctor.verdict import as_json as to_json
    from ctckit.doctor.verdict import judge
    from ctckit.errors import DataError
    from ctckit.record.foreign import read_any
    from ctckit.record.history import finite

    recorded = read_any(run, parse_units(units), columns=parse_columns(columns), run=chosen)
    if findings:
        for line in finding_lines(recorded):
            click.echo(line)
        return
    if not recorded.epochs:
        raise DataError(f"{run}: no epoch has been finished yet; diagnose again after the first")
    verdict = judge(recorded)
    if verdict.diagnosis is None:
        raise DataError(
            f"{run}: no epoch records an error rate, a deletion rate, an overfit ratio, or a loss beside the "
            "unigram plateau; there is nothing to diagnose" + _what_else(recorded)
        )
    if as_json:
        click.echo(json.dumps(finite(to_json(recorded, verdict)), indent=2))
    else:
        click.echo("\n".join(_lines(recorded, verdict)))
    context.exit(EXIT_CODES[verdict.severity])


def parse_units(units: tuple[str, ...]) -> dict[str, Any]:
    """Read ``FIGURE=share`` and ``FIGURE=percent``.

    Raises:
        ConfigError: something else.
    """
    from ctckit.errors import ConfigError

    found: dict[str, Any] = {}
    for one in units:
        name, _, unit = one.rpartition("=")
        if not name or unit not in ("share", "percent"):
            raise ConfigError(f"--unit {one}: write FIGURE=share or FIGURE=percent, such as val_wer=share")
        if found.setdefault(name, unit) != unit:
            raise ConfigError(f"--unit {one}: {name} was given as {found[name]} before")
    return found


def parse_columns(columns: tuple[str, ...]) -> dict[str, str]:
    """Read ``FIGURE=COLUMN``.

    Raises:
        ConfigError: something else, or no such figure.
    """
    from ctckit.errors import ConfigError, suggest
    from ctckit.record.figures import FIGURES

    known = [*FIGURES, "epoch", "phase", "stage"]
    found: dict[str, str] = {}
    for one in columns:
        figure, _, column = one.partition("=")
        if not figure or not column:
            raise ConfigError(f"--column {one}: write FIGURE=COLUMN, such as val_wer=cer_dev")
        if figure not in known:
            raise ConfigError(f"--column {one}: '{figure}' is no figure{suggest(figure, known)}")
        if found.setdefault(figure, column) != column:
            raise ConfigError(f"--column {one}: {figure} was given as {found[figure]} before")
    return found


def finding_lines(recorded: Recorded) -> list[str]:
    """Return what was found during a run, one JSON object a finding, with the action taken on it or null."""
    from dataclasses import asdict

    from ctckit.record.history import finite

    rows = []
    for event in recorded.events:
        if event.finding is not None:
            action = {"action": event.action, **event.values} if event.action else None
            row = {"epoch": event.epoch, "monitor": event.monitor, **asdict(event.finding), "action": action}
            rows.append(json.dumps(finite(row), ensure_ascii=False))
    return rows


def _what_else(recorded: Recorded) -> str:
    """What was taken of another program's file, and the option for what was not."""
    if not recorded.foreign:
        return ""
    taken = ", ".join(one.figure for one in recorded.columns)
    rest = "".join(f" {note}" for note in recorded.notes if note.startswith(("Columns that", "Several columns")))
    return f". Taken: {taken}.{rest} Say --column val_wer=COLUMN if one of them holds word errors"


def _lines(recorded: Recorded, verdict: Verdict) -> list[str]:
    diagnosis = verdict.diagnosis
    assert diagnosis is not None
    lines = [f"{recorded.name}: {verdict.headline}", *(f"  {sentence}" for sentence in verdict.evidence)]
    course = ", ".join(
        f"{part.state} {part.first}" + ("" if part.first == part.last else f"-{part.last}")
        for part in diagnosis.course
    )
    lines.append(f"  By epochs: {course}.")
    if verdict.advice:
        lines.append("Try, in this order:")
        for number, one in enumerate(verdict.advice, 1):
            source = f" [{one.source}]" if one.source else ""
            lines += [f"  {number}. {one.change}", f"     {one.why}{source}"]
    elif verdict.severity == "info":
        lines.append("Nothing to change.")
    for title, found in (
        ("Rules of the founding document (docs/founding-document.md) that hold now:", verdict.flags),
        ("What else the last epoch shows:", verdict.notices),
    ):
        lines += [title] * bool(found)
        lines += [
            f"  {flag.severity}: {flag.message}" + (f" ({flag.advice})" if flag.advice else "") for flag in found
        ]
    if verdict.missing:
        lines.append(f"Not recorded, so not judged: {', '.join(verdict.missing)}.")
    return [*lines, *recorded.notes]
