"""``ctckit compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples

if TYPE_CHECKING:
    from ctckit.bootstrap import Comparison
    from ctckit.record.history import Recorded


@click.command(
    epilog=examples(
        "ctckit compare runs/A runs/B",
        "ctckit compare runs/A runs/B runs/C --data test.h5 --html compared.html",
    ),
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Corpus; the first run's test or dev corpus by default."
)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True, help="Corpora drawn.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with the curves overlaid; - is standard output, and the rest then goes to standard error.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON, curves included.")
def compare(
    runs: tuple[Path, ...],
    data: Path | None,
    resamples: int,
    seed: int,
    device: str,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say whether other runs are better than the first RUN, and how sure that is.

    Decodes one corpus with the best checkpoint of each run and resamples its utterances, the same ones for all runs
    (paired bootstrap): word errors and differences with 95 % intervals, and the probability that a run makes
    fewer errors than the first. It knows the luck of the test clips, not that of the seed: train several, or let
    `ctckit ablate` do so. Then come the curves of the histories, side by side.
    """
    from ctckit.bootstrap import compare as resample
    from ctckit.errors import ConfigError
    from ctckit.files import STANDARD
    from ctckit.report.comparison import STYLES, Compared, lines, write_comparison

    if len(runs) < 2:
        raise ConfigError("a comparison needs two runs or more")
    if html is not None and len(runs) > len(STYLES):
        raise ConfigError(f"--html: the curves of {len(STYLES)} runs can be told apart, not of {len(runs)}")
    if html == STANDARD and as_json:
        raise ConfigError("--json and the page cannot both go to standard output; give --html a file")
    say = partial(click.echo, err=html == STANDARD)
    recorded = [_recorded(run) for run in runs]
    corpus, errors, words = decoded_errors(runs, data, device)
    found = resample(errors, words, resamples=resamples, seed=seed)
    rows = [_row(run, recorded[number], found, number) for number, run in enumerate(runs)]
    for row, other in zip(rows, recorded, strict=True):
        if _nobody_recognises(recorded[0], other):
            row["better"] = None
    compared = [
        Compared(str(run), _cells(row, number), recorded[number])
        for number, (run, row) in enumerate(zip(runs, rows, strict=True))
    ]
    caption = f"{corpus}: {len(words)} utterances, {sum(words)} tokens, {resamples} resamples"
    if html is not None:
        write_comparison(compared, f"{caption}; 95 % intervals", html)
    if as_json:
        outcome = {"corpus": str(corpus), "utterances": len(words), "tokens": sum(words), "runs": rows}
        click.echo(json.dumps({**outcome, "resamples": resamples, "seed": seed}, indent=2))
        return
    say(caption)
    width = max(len(str(run)) for run in runs)
    for number, row in enumerate(rows):
        rate, gap = row["wer"], row["difference"]
        line = f"{row['run']:<{width}}  {rate['value']:6.2f} %  [{rate['low']:.2f}, {rate['high']:.2f}]"
        if number:
            line += f"  {gap['value']:+.2f}  [{gap['low']:+.2f}, {gap['high']:+.2f}]"
            better = row["better"]
            line += "  neither recognises" if better is None else f"  P(better than the first) {better:.3f}"
        left = row["left_plateau"]
        say(line + ("" if left is None else f"  left the plateau in epoch {left}"))
        if row["headline"]:
            say(f"{'':<{width}}  {row['headline']}")
    for line in lines(compared):
        say(line)
    if html is not None:
        say(str(html))


def decoded_errors(
    runs: tuple[Path, ...], data: Path | None, device: str
) -> tuple[Path, list[list[int]], list[int]]:
    """Decode one corpus with every run.

    Returns:
        The corpus, the edits of each utterance by run, and the reference tokens of each utterance.

    Raises:
        ConfigError: no corpus is given or named by the first run.
        DataError: the runs cut transcripts into different tokens, so that their error rates do not compare.
    """
    from ctckit.devices import choose_device
    from ctckit.engine.evaluate import evaluate
    from ctckit.errors import ConfigError, DataError
    from ctckit.trained import load_trained

    chosen = choose_device(device)
    path = data
    errors: list[list[int]] = []
    references: dict[str, tuple[str, ...]] = {}
    for run in runs:
        trained = load_trained(run, chosen)
        path = path or trained.config.data.test or trained.config.data.dev
        if path is None:
            raise ConfigError("--data is not given, and the first run names no test or dev corpus")
        judged, _ = trained.judged(path, chosen)
        references = references or dict(judged.references)
        if references != judged.references:
            raise DataError(f"{path}: {run} and {runs[0]} take its transcripts for different tokens (data.unit?)")
        found = evaluate(trained.model, judged, trained.tokens, shift=trained.shift, device=chosen).hypotheses
        edits = {one.clip_id: one.substitutions + one.deletions + one.insertions for one in found}
        errors.append([edits[clip] for clip in references])
    assert path is not None
    return path, errors, [len(tokens) for tokens in references.values()]


def _recorded(run: Path) -> Recorded | None:
    """Read a run's history; None for a checkpoint alone."""
    from ctckit.record.history import HISTORY, read_history

    return read_history(run) if (run / HISTORY).is_file() else None


def _row(run: Path, recorded: Recorded | None, found: Comparison, number: int) -> dict[str, Any]:
    from ctckit.doctor.verdict import judge
    from ctckit.report.comparison import curves

    left = recorded.left_plateau if recorded else None
    diagnosis = judge(recorded).diagnosis if recorded else None
    return {
        "run": str(run),
        "state": None if diagnosis is None else diagnosis.state,
        "headline": "" if diagnosis is None else diagnosis.headline,
        "wer": asdict(found.error_rates[number]),
        "difference": asdict(found.differences[number]),
        "better": None if number == 0 else found.better[number],
        "left_plateau": left.epoch if left else None,
        "curves": curves(recorded) if recorded else None,
    }


def _nobody_recognises(first: Recorded | None, other: Recorded | None) -> bool:
    """Whether neither of two runs has left the plateau with labels emitted, so that none is the better one."""
    return first is not None and other is not None and first.best is None and other.best is None


def _cells(row: dict[str, Any], number: int) -> dict[str, str]:
    """Format a run's figures for the page."""

    def shown(one: dict[str, float], sign: str) -> str:
        return f"{one['value']:{sign}.2f} [{one['low']:{sign}.2f}, {one['high']:{sign}.2f}]"

    better = row["better"]
    return {
        "WER %": shown(row["wer"], ""),
        "against the first": shown(row["difference"], "+") if number else "-",
        "P(better)": "-" if better is None else f"{better:.3f}",
        "state": row["state"] or "-",
    }
