"""``ctckit compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples

if TYPE_CHECKING:
    from ctckit.doctor.bootstrap import Comparison


@click.command(
    epilog=examples("ctckit compare runs/A runs/B", "ctckit compare runs/A runs/B runs/C --data test.h5 --json"),
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Corpus; the first run's test or dev corpus by default."
)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True, help="Corpora drawn.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(
    runs: tuple[Path, ...], data: Path | None, resamples: int, seed: int, device: str, as_json: bool
) -> None:
    """Say whether other runs are better than the first RUN, and how sure that is.

    Decodes one corpus with the best checkpoint of each run and resamples its utterances, the same ones for all runs
    (paired bootstrap): word errors and differences with 95 % intervals, and the probability that a run makes
    fewer errors than the first. It knows the luck of the test clips, not that of the seed: train several.
    """
    from ctckit.doctor.bootstrap import compare as resample
    from ctckit.errors import ConfigError

    if len(runs) < 2:
        raise ConfigError("a comparison needs two runs or more")
    corpus, errors, words = decoded_errors(runs, data, device)
    found = resample(errors, words, resamples=resamples, seed=seed)
    rows = [_row(run, found, number) for number, run in enumerate(runs)]
    if as_json:
        outcome = {"corpus": str(corpus), "utterances": len(words), "tokens": sum(words), "runs": rows}
        click.echo(json.dumps({**outcome, "resamples": resamples, "seed": seed}, indent=2))
        return
    click.echo(f"{corpus}: {len(words)} utterances, {sum(words)} tokens, {resamples} resamples")
    width = max(len(str(run)) for run in runs)
    for number, row in enumerate(rows):
        rate, gap = row["wer"], row["difference"]
        line = f"{row['run']:<{width}}  {rate['value']:6.2f} %  [{rate['low']:.2f}, {rate['high']:.2f}]"
        if number:
            line += f"  {gap['value']:+.2f}  [{gap['low']:+.2f}, {gap['high']:+.2f}]"
            line += f"  P(better than the first) {row['better']:.3f}"
        left = row["left_plateau"]
        click.echo(line + ("" if left is None else f"  left the plateau in epoch {left}"))


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
    from ctckit.assemble import load_trained
    from ctckit.cli.device import choose_device
    from ctckit.engine.evaluate import evaluate
    from ctckit.errors import ConfigError, DataError

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


def left_plateau(run: Path) -> int | None:
    """The first epoch off the plateau; None where there is no history or none is off."""
    from ctckit.cli.diagnose import read_recorded
    from ctckit.doctor.states import on_plateau

    if not (run / "history.jsonl").is_file():
        return None
    observations = read_recorded(run).observations
    return next((one.epoch for one in observations if on_plateau(one) is False), None)


def _row(run: Path, found: Comparison, number: int) -> dict[str, Any]:
    return {
        "run": str(run),
        "wer": asdict(found.error_rates[number]),
        "difference": asdict(found.differences[number]),
        "better": None if number == 0 else found.better[number],
        "left_plateau": left_plateau(run),
    }
