"""``ctckit diagnose``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples, exit_codes

if TYPE_CHECKING:
    from ctckit.doctor.observations import Recorded
    from ctckit.doctor.prescriptions import Advice
    from ctckit.doctor.states import Diagnosis
    from ctckit.types import Finding

EXIT_CODES = {"info": 0, "warning": 10, "error": 11}
"""What `diagnose` and `audit` end with, by the gravest severity; 1 to 6 stay those of ctckit's errors."""


@click.command(
    epilog=examples(
        "ctckit diagnose runs/NAME",
        "ctckit diagnose checkpoints/training_history.json --json",
    )
    + exit_codes(
        "0   HEALTHY, or ESCAPING and moving",
        "10  BLANK-BIASED, OVERFIT, OVER-PENALISED, ESCAPING but stalled or too slow, PLATEAU up to 10 epochs",
        "11  BROKEN, PLATEAU for longer",
        "3   the history cannot be read",
    )
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
@click.pass_context
def diagnose(context: click.Context, run: Path, as_json: bool) -> None:
    """Say what state RUN is in, since when, on what evidence, and what to try.

    RUN is a run's folder or its history.jsonl; or a JSON file with train_loss, val_loss, val_wer, blank_ratio,
    unique_nonblank, overfit_ratio per epoch, as a list of epochs or as columns. Columns that are missing are named,
    and the rules that need them are left out.
    """
    from ctckit.doctor.flags import red_flags
    from ctckit.doctor.notices import notices
    from ctckit.doctor.prescriptions import prescribe
    from ctckit.doctor.states import diagnose as judge
    from ctckit.errors import DataError

    recorded = read_recorded(run)
    if not recorded.observations:
        raise DataError(f"{run}: no epoch has been finished yet; diagnose again after the first")
    try:
        diagnosis = judge(recorded.observations, recorded.planned_epochs)
    except ValueError as error:
        raise DataError(f"{run}: {error}; there is nothing to diagnose") from error
    advice = prescribe(diagnosis, recorded)
    flags, noticed = red_flags(recorded.observations), notices(recorded.observations)
    if as_json:
        click.echo(json.dumps(_as_json(recorded, diagnosis, advice, (*flags, *noticed)), indent=2))
    else:
        click.echo("\n".join(_lines(recorded, diagnosis, advice, flags, noticed)))
    context.exit(EXIT_CODES[diagnosis.severity])


def read_recorded(run: Path) -> Recorded:
    """Read a history, ctckit's own or a JSON file of the founding document's kind.

    Raises:
        DataError: it cannot be read, or is neither.
    """
    from ctckit.doctor.observations import recorded_from_json, recorded_from_rows
    from ctckit.errors import DataError
    from ctckit.record.history import HISTORY, read_rows

    path = run / HISTORY if run.is_dir() else run
    if path.suffix != ".json":
        return recorded_from_rows(read_rows(path), path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    return recorded_from_json(content, path)


def _as_json(
    recorded: Recorded, diagnosis: Diagnosis, advice: tuple[Advice, ...], flags: tuple[Finding, ...]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": recorded.name,
        "state": diagnosis.state,
        "since": diagnosis.since,
        "epochs": diagnosis.epochs,
        "stalled": diagnosis.stalled,
        "slow": diagnosis.slow,
        "outlook": None if diagnosis.outlook is None else asdict(diagnosis.outlook),
        "severity": diagnosis.severity,
        "headline": diagnosis.headline,
        "reason": diagnosis.reason,
        "why": diagnosis.why,
        "evidence": dict(diagnosis.evidence),
        "course": [asdict(stretch) for stretch in diagnosis.course],
        "advice": [asdict(one) for one in advice],
        "findings": [asdict(flag) for flag in flags],
        "missing": list(recorded.missing),
        "notes": list(recorded.notes),
    }


def _lines(
    recorded: Recorded,
    diagnosis: Diagnosis,
    advice: tuple[Advice, ...],
    flags: tuple[Finding, ...],
    noticed: tuple[Finding, ...],
) -> list[str]:
    lines = [f"{recorded.name}: {diagnosis.headline}", f"  {diagnosis.why}"]
    course = ", ".join(
        f"{part.state} {part.first}" + ("" if part.first == part.last else f"-{part.last}")
        for part in diagnosis.course
    )
    lines.append(f"  By epochs: {course}.")
    if advice:
        lines.append("Try, in this order:")
        for number, one in enumerate(advice, 1):
            source = f" [{one.source}]" if one.source else ""
            lines += [f"  {number}. {one.change}", f"     {one.why}{source}"]
    else:
        lines.append("Nothing to change.")
    for title, found in (
        ("The document's red flags and triggers that hold now:", flags),
        ("What else the last epoch shows:", noticed),
    ):
        lines += [title] * bool(found)
        lines += [
            f"  {flag.severity}: {flag.message}" + (f" ({flag.advice})" if flag.advice else "") for flag in found
        ]
    if recorded.missing:
        lines.append(f"Not recorded, so not judged: {', '.join(recorded.missing)}.")
    return [*lines, *recorded.notes]
