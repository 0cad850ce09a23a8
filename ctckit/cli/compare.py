"""``ctckit compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
@plugin_files
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
    plugins: tuple[str, ...],
    device: str,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say whether other runs are better than the first RUN, and how sure that is.

    Decodes one corpus with the best checkpoint of each run and resamples its utterances, the same ones for all runs
    (paired bootstrap): word errors and differences with 95 % intervals, and the probability that a run makes
    fewer errors than the first. It knows the luck of the test clips, not that of the seed: train several, or let
    `ctckit ablate` do so. Then come the curves of the histories, side by side. If a loop of your own is among the
    runs, whose model ctckit cannot load, the best epochs of the histories are compared, without intervals.
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
    watched = any(one is not None and one.foreign for one in recorded)
    if watched:
        drawn: dict[str, Any] = {"corpus": None}
        rows = by_histories(runs, recorded, data)
        caption = "best epochs of the histories: a loop of somebody's own leaves no model to decode a corpus with"
    else:
        corpus, errors, words = decoded_errors(runs, data, plugins, device)
        found = resample(errors, words, resamples=resamples, seed=seed)
        rows = [_row(run, recorded[number], found, number) for number, run in enumerate(runs)]
        drawn = {"corpus": str(corpus), "utterances": len(words), "tokens": sum(words)}
        drawn |= {"resamples": resamples, "seed": seed}
        caption = f"{corpus}: {len(words)} utterances, {sum(words)} tokens, {resamples} resamples"
    for row, other in zip(rows, recorded, strict=True):
        if _nobody_recognises(recorded[0], other):
            row["better"] = None
    compared = [
        Compared(str(run), _cells(row, number), recorded[number])
        for number, (run, row) in enumerate(zip(runs, rows, strict=True))
    ]
    if html is not None:
        write_comparison(compared, caption if watched else f"{caption}; 95 % intervals", html)
    if as_json:
        click.echo(json.dumps({**drawn, "runs": rows}, indent=2))
        return
    say(caption)
    width = max(len(str(run)) for run in runs)
    for number, row in enumerate(rows):
        line = f"{row['run']:<{width}}  {_interval(row['wer'], '', width=6, unit=' %')}"
        if number:
            better = row["better"]
            line += f"  {_interval(row['difference'], '+')}"
            if better is not None:
                line += f"  P(better than the first) {better:.3f}"
            elif _nobody_recognises(recorded[0], recorded[number]):
                line += "  neither recognises"
        left = row["left_plateau"]
        say(line + ("" if left is None else f"  left the plateau in epoch {left}"))
        if row["headline"]:
            say(f"{'':<{width}}  {row['headline']}")
    for line in lines(compared):
        say(line)
    if html is not None:
        say(str(html))


def decoded_errors(
    runs: tuple[Path, ...], data: Path | None, plugins: tuple[str, ...], device: str
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
    from ctckit.plugin_host import files_of_run
    from ctckit.stored import checkpoint_path, read_stored
    from ctckit.trained import build_trained

    chosen = choose_device(device)
    path = data
    unused = set(plugins)
    errors: list[list[int]] = []
    references: dict[str, tuple[str, ...]] = {}
    for run in runs:
        stored = read_stored(checkpoint_path(run, "best"))
        own = files_of_run(stored.plugins, plugins)
        unused -= set(own)
        trained = build_trained(stored, chosen, own)
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
    if unused:
        raise ConfigError(f"--plugin {min(unused)}: none of the runs was trained with it")
    assert path is not None
    return path, errors, [len(tokens) for tokens in references.values()]


def by_histories(
    runs: tuple[Path, ...], recorded: Sequence[Recorded | None], data: Path | None
) -> list[dict[str, Any]]:
    """Compare the best epochs that the histories have; there is nothing to resample, so there are no intervals.

    Raises:
        ConfigError: a corpus is to be decoded.
        DataError: a run has no history.
    """
    from ctckit.errors import ConfigError, DataError

    if data is not None:
        raise ConfigError(f"--data {data}: somebody's own loop left no model to decode it with; leave it out")
    missing = next((run for run, one in zip(runs, recorded, strict=True) if one is None), None)
    if missing is not None:
        raise DataError(f"{missing}: has no history to compare with that of a loop of somebody's own")
    rates = [one.best.val_wer if one is not None and one.best is not None else None for one in recorded]
    return [
        {
            **_told(run, one),
            "wer": {"value": rate, "low": None, "high": None},
            "difference": {
                "value": None if rate is None or rates[0] is None else rate - rates[0],
                "low": None,
                "high": None,
            },
            "better": None,
        }
        for run, one, rate in zip(runs, recorded, rates, strict=True)
    ]


def _recorded(run: Path) -> Recorded | None:
    """Read a run's history; None for a checkpoint alone."""
    from ctckit.record.history import HISTORY, read_history

    return read_history(run) if (run / HISTORY).is_file() else None


def _row(run: Path, recorded: Recorded | None, found: Comparison, number: int) -> dict[str, Any]:
    return {
        **_told(run, recorded),
        "wer": asdict(found.error_rates[number]),
        "difference": asdict(found.differences[number]),
        "better": None if number == 0 else found.better[number],
    }


def _told(run: Path, recorded: Recorded | None) -> dict[str, Any]:
    """What the history of a run tells of it."""
    from ctckit.doctor.verdict import judge
    from ctckit.report.comparison import curves

    left = recorded.left_plateau if recorded else None
    diagnosis = judge(recorded).diagnosis if recorded else None
    return {
        "run": str(run),
        "state": None if diagnosis is None else diagnosis.state,
        "headline": "" if diagnosis is None else diagnosis.headline,
        "left_plateau": left.epoch if left else None,
        "curves": curves(recorded) if recorded else None,
    }


def _interval(one: Mapping[str, float | None], sign: str, *, width: int = 1, unit: str = "") -> str:
    """Format a figure with its interval, as far as there are any."""
    value, low, high = one["value"], one["low"], one["high"]
    text = f"{'-' if value is None else format(value, f'{sign}.2f'):>{width}}{unit}"
    return text if low is None or high is None else f"{text} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _nobody_recognises(first: Recorded | None, other: Recorded | None) -> bool:
    """Whether neither of two runs has left the plateau with labels emitted, so that none is the better one."""
    return first is not None and other is not None and first.best is None and other.best is None


def _cells(row: dict[str, Any], number: int) -> dict[str, str]:
    """Format a run's figures for the page."""
    better = row["better"]
    return {
        "WER %": _interval(row["wer"], ""),
        "against the first": _interval(row["difference"], "+") if number else "-",
        "P(better)": "-" if better is None else f"{better:.3f}",
        "state": row["state"] or "-",
    }
