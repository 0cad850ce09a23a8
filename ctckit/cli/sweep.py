"""``ctckit sweep``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from ctckit.engine.evaluate import Judged
    from ctckit.shifts import Shifted
    from ctckit.trained import Trained
    from ctckit.types import Batch, Emissions


@click.command(
    epilog=examples("ctckit sweep runs/NAME --dev dev.h5", "ctckit sweep runs/NAME --dev dev.h5 --store"),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dev", type=click.Path(path_type=Path), help="Corpus to tune on; the run's dev corpus by default.")
@click.option(
    "--range",
    "span",
    type=float,
    nargs=2,
    default=(-4.0, 4.0),
    show_default=True,
    help="Least and largest shift of the blank logit, in nats; 0 is always tried.",
)
@click.option(
    "--step", type=click.FloatRange(min=0.01), default=0.25, show_default=True, help="Between two shifts."
)
@click.option("--store", is_flag=True, help="Write the best shift into the checkpoint; decoding then applies it.")
@plugin_files
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print all shifts as JSON.")
def sweep(
    run: Path,
    dev: Path | None,
    span: tuple[float, float],
    step: float,
    store: bool,
    plugins: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Find the decode-time shift of the blank that makes fewest errors on a dev corpus.

    RUN is a run's folder (its best checkpoint) or a checkpoint file. One pass over the corpus serves all shifts.
    The shift comes on top of what the run applies already. It is tuned on dev: report test figures with and
    without.
    """
    from ctckit.devices import choose_device
    from ctckit.engine.checkpoint import change_checkpoint
    from ctckit.errors import ConfigError
    from ctckit.shifts import best_shift, sweep_shifts
    from ctckit.stored import checkpoint_path
    from ctckit.trained import load_trained

    if span[0] > span[1]:
        raise ConfigError(f"--range {span[0]:g} {span[1]:g}: the first is the least")
    chosen = choose_device(device)
    trained = load_trained(run, chosen, plugins)
    path = dev or trained.config.data.dev
    if path is None:
        raise ConfigError("--dev is not given, and the run names no dev corpus")
    judged, _ = trained.judged(path, chosen)
    count = round((span[1] - span[0]) / step)
    tried = sorted({0.0, *(round(span[0] + number * step, 6) for number in range(count + 1))})
    swept = sweep_shifts(
        _outputs(trained, judged, chosen),
        [trained.shift + shift for shift in tried],
        trained.tokens,
        judged.references,
    )
    relative = [_relative(one, shift) for one, shift in zip(swept, tried, strict=True)]
    without, best = relative[tried.index(0.0)], best_shift(relative)
    checkpoint = checkpoint_path(run, "best")
    if store and best.shift:
        change_checkpoint(checkpoint, lambda state: {"judged_shift": float(state["judged_shift"]) + best.shift})
    if as_json:
        rows = [{**asdict(one), "wer": one.wer} for one in relative]
        outcome = {"corpus": str(path), "best": best.shift, "stored": bool(store and best.shift), "shifts": rows}
        click.echo(json.dumps(outcome, indent=2))
        return
    click.echo(f"{path}: {len(tried)} shifts from {tried[0]:g} to {tried[-1]:g}")
    click.echo(_line("without", without))
    click.echo(_line("best", best))
    if not best.shift:
        click.echo("no shift makes fewer errors than none")
    elif store:
        click.echo(f"stored in {checkpoint}; evaluate and decode apply it from now on")


def _outputs(trained: Trained, judged: Judged, device: torch.device) -> Iterator[tuple[Batch, Emissions]]:
    import torch

    with torch.inference_mode():
        for batch in judged.loader.epoch(0):
            there = batch.to(device)
            yield batch, trained.model(there.features_BTF, there.lengths_B)


def _relative(one: Shifted, shift: float) -> Shifted:
    from dataclasses import replace

    return replace(one, shift=shift)


def _line(name: str, one: Shifted) -> str:
    return (
        f"{name:<8}shift {one.shift:+.2f}  {one.wer:.2f} % word errors  (S {one.substitutions}, D {one.deletions}, "
        f"I {one.insertions} of {one.reference_tokens})  {one.blank_ratio:.1f} % blank frames"
    )
