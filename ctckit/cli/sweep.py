"""``ctckit sweep``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files, search_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from ctckit.engine.evaluate import Judged
    from ctckit.guidance import Wanted
    from ctckit.search import Search
    from ctckit.shifts import Shifted
    from ctckit.trained import Trained
    from ctckit.types import Batch, Emissions, Scores


@click.command(
    epilog=examples(
        "ctckit sweep runs/NAME --dev dev.h5",
        "ctckit sweep runs/NAME --dev dev.h5 --store",
        "ctckit sweep runs/NAME --beam 16 --lm lm.arpa --store",
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dev", type=click.Path(path_type=Path), help="Corpus to tune on; the run's dev corpus by default.")
@click.option(
    "--range",
    "span",
    type=float,
    nargs=2,
    help="Least and largest shift of the blank logit, in nats; 0 is always tried.  [-4 4, with a beam -1 1]",
)
@click.option("--step", type=click.FloatRange(min=0.01), help="Between two shifts.  [0.25, with a beam 0.5]")
@click.option("--store", is_flag=True, help="Write the best into the checkpoint; decoding then applies it.")
@search_options
@plugin_files
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print all that was tried as JSON.")
def sweep(
    run: Path,
    dev: Path | None,
    span: tuple[float, float] | None,
    step: float | None,
    store: bool,
    wanted: Wanted,
    plugins: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Find the decode-time shift of the blank that makes fewest errors on a dev corpus, or a beam search's weights.

    RUN is a run's folder (its best checkpoint) or a checkpoint file. One pass over the corpus serves all shifts.
    The shift comes on top of what the run applies already. With --beam or --lm it is the weight of the language
    model, the insertion bonus and a shift for that search alone: a few searches a clip give the hypotheses that are
    ranked under all weights, and what comes out best is then searched. All of it is tuned on dev: report test
    figures with and without.
    """
    from ctckit.devices import choose_device
    from ctckit.errors import ConfigError
    from ctckit.stored import checkpoint_path
    from ctckit.trained import load_trained

    searching = wanted.anything
    low, high = span or ((-1.0, 1.0) if searching else (-4.0, 4.0))
    step = step or (0.5 if searching else 0.25)
    if low > high:
        raise ConfigError(f"--range {low:g} {high:g}: the first is the least")
    chosen = choose_device(device)
    trained = load_trained(run, chosen, plugins)
    path = dev or trained.config.data.dev
    if path is None:
        raise ConfigError("--dev is not given, and the run names no dev corpus")
    judged, _ = trained.judged(path, chosen)
    count = round((high - low) / step)
    tried = sorted({0.0, *(round(low + number * step, 6) for number in range(count + 1))})
    outcome = Sweep(trained, judged, chosen, path, checkpoint_path(run, "best"), store, as_json)
    if searching:
        _sweep_weights(outcome, tried, wanted)
    else:
        _sweep_shifts(outcome, tried)


class Sweep(NamedTuple):
    """What is swept, and what becomes of it."""

    trained: Trained
    judged: Judged
    device: torch.device
    path: Path
    checkpoint: Path
    store: bool
    as_json: bool

    def outputs(self) -> Iterator[tuple[Batch, Emissions]]:
        """Yield the batches of the corpus with what the model returns for them."""
        import torch

        with torch.inference_mode():
            for batch in self.judged.loader.epoch(0):
                there = batch.to(self.device)
                yield batch, self.trained.model(there.features_BTF, there.lengths_B)


def _sweep_shifts(sweep: Sweep, tried: Sequence[float]) -> None:
    from ctckit.engine.checkpoint import change_checkpoint
    from ctckit.shifts import best_shift, sweep_shifts

    trained = sweep.trained
    shifts = [trained.shift + shift for shift in tried]
    swept = sweep_shifts(sweep.outputs(), shifts, trained.tokens, sweep.judged.references)
    relative = [replace(one, shift=shift) for one, shift in zip(swept, tried, strict=True)]
    without, best = relative[tried.index(0.0)], best_shift(relative)
    stored = sweep.store and best.shift != 0.0
    if stored:
        change_checkpoint(
            sweep.checkpoint, lambda state: {"judged_shift": float(state["judged_shift"]) + best.shift}
        )
    if sweep.as_json:
        rows = [{**asdict(one), "wer": one.wer} for one in relative]
        outcome = {"corpus": str(sweep.path), "best": best.shift, "stored": stored, "shifts": rows}
        click.echo(json.dumps(outcome, indent=2))
        return
    click.echo(f"{sweep.path}: {len(tried)} shifts from {tried[0]:g} to {tried[-1]:g}")
    for name, one in (("without", without), ("best", best)):
        click.echo(f"{name:<8}shift {one.shift:+.2f}  {_errors(one)}  {one.blank_ratio:.1f} % blank frames")
    if not best.shift:
        click.echo("no shift makes fewer errors than none")
    elif stored:
        click.echo(f"stored in {sweep.checkpoint}; evaluate and decode apply it from now on")


def _sweep_weights(sweep: Sweep, tried: Sequence[float], wanted: Wanted) -> None:
    from ctckit.cli.options import said
    from ctckit.engine.checkpoint import change_checkpoint
    from ctckit.engine.evaluate import evaluate
    from ctckit.errors import ConfigError
    from ctckit.guidance import guide
    from ctckit.search import Tuned
    from ctckit.tuning import best_weights, weigh

    fixed = {"--lm-weight": wanted.weight, "--insertion-bonus": wanted.bonus, "--beam-shift": wanted.shift}
    for name, value in fixed.items():
        if value is not None:
            raise ConfigError(f"{name} is what the sweep finds; leave it out")
    trained, references = sweep.trained, sweep.judged.references
    guided = said(guide(wanted, trained.tokens, trained.config.data.unit, None))
    weighed = weigh(sweep.outputs(), guided.search, trained.shift, tried, trained.tokens, references)
    best = best_weights(weighed)
    search = replace(guided.search, weight=best.weight, bonus=best.bonus, shift=best.shift)

    def scored(search: Search | None) -> Scores:
        found = evaluate(
            trained.model, sweep.judged, trained.tokens, shift=trained.shift, device=sweep.device, search=search
        )
        return found.scores

    greedy, searched = scored(None), scored(search)
    tuned = Tuned(search.width, search.classes, search.weight, search.bonus, search.shift, guided.fingerprint)
    if sweep.store:
        change_checkpoint(sweep.checkpoint, lambda _: {"search": asdict(tuned)})
    if sweep.as_json:
        outcome = {
            "corpus": str(sweep.path),
            "best": asdict(tuned),
            "stored": sweep.store,
            "greedy_wer": greedy.wer,
            "wer": searched.wer,
            "weights": [{**asdict(one), "wer": one.wer} for one in weighed],
        }
        click.echo(json.dumps(outcome, indent=2))
        return
    click.echo(f"{sweep.path}: {len(weighed)} weights, bonuses and shifts")
    click.echo(f"greedy  {_errors(greedy)}")
    chosen = f"weight {best.weight:g}, bonus {best.bonus:g}, shift {best.shift:+g}"
    click.echo(f"beam {search.width:<3}{_errors(searched)}  {chosen}")
    if sweep.store:
        click.echo(f"stored in {sweep.checkpoint}; evaluate and decode take these with the same language model")


def _errors(one: Shifted | Scores) -> str:
    return (
        f"{one.wer:.2f} % word errors  (S {one.substitutions}, D {one.deletions}, I {one.insertions} of "
        f"{one.reference_tokens})"
    )
