"""``ctckit show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctckit.recogniser import Recogniser
    from ctckit.types import Lattice


@click.command(
    epilog=examples(
        "ctckit show runs/NAME",
        "ctckit show runs/NAME clip-0012 clip-0400 --data test.h5 --out clips.html",
        "ctckit show runs/NAME --features new-clips/ --worst 20",
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("clips", nargs=-1, metavar="[CLIP]...")
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER|-",
    help="Clips without transcripts, as for `ctckit decode`.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Corpus; the run's test or dev corpus by default.")
@click.option("--worst", type=click.IntRange(min=1), default=5, show_default=True, help="Clips, if none is named.")
@click.option("--frame-rate", type=float, help="Feature frames a second; the run's data.frame_rate by default.")
@plugin_files
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="RUN/clips.html by default; - for stdout."
)
def show(
    run: Path,
    clips: tuple[str, ...],
    features: Path | None,
    data: Path | None,
    worst: int,
    frame_rate: float | None,
    plugins: tuple[str, ...],
    device: str,
    out: Path | None,
) -> None:
    """Draw what the best checkpoint of RUN emits for single clips, as one HTML file.

    Labels over time, the blank below, the transcript on its best path and the hypothesis above them, errors marked.
    Without a CLIP the worst ones are drawn, those with the most errors a token first; clips without transcripts
    come last, the least confident first.
    """
    from ctckit.errors import ConfigError
    from ctckit.files import STANDARD
    from ctckit.recogniser import load
    from ctckit.report import page
    from ctckit.report.lattice import draw_lattices, render_clips

    if features is not None and data is not None:
        raise ConfigError("--features and --data both name clips; give one")
    recogniser = load(run, device, frame_rate=frame_rate, plugins=plugins)
    drawn = draw_lattices(lattices(recogniser, features, data, clips, worst))
    path = out if out is not None else (run if run.is_dir() else run.parent) / "clips.html"
    page.write(render_clips(run.name, drawn), path)
    summary = [f"{one.lattice.hypothesis.clip_id}: {one.summary}" for one in drawn]
    click.echo("\n".join([*summary, str(path)]), err=path == STANDARD)


def lattices(
    recogniser: Recogniser, features: Path | None, data: Path | None, named: Sequence[str], worst: int
) -> list[Lattice]:
    """Compute the lattices of the clips named, or else of the worst; others that cannot be read are said.

    Raises:
        DataError: a named clip is not there or cannot be used, or none can.
    """
    from ctckit.cli.evaluate import stored_clips
    from ctckit.errors import DataError
    from ctckit.lattice import lattice, worst_clips

    faults: list[DataError] = []
    stored = stored_clips(recogniser, features, data, faults)
    if named:
        missing = dict.fromkeys(named)
        chosen = []
        for clip in stored:
            if clip.clip_id in missing:
                del missing[clip.clip_id]
                chosen.append(clip)
                if not missing:
                    break
        if missing:
            said = "; ".join(str(fault) for fault in faults[:3])
            raise DataError(f"no usable clip {', '.join(map(repr, missing))}" + (f" ({said})" if said else ""))
    else:
        chosen = worst_clips(recogniser, stored, worst, faults)
        for fault in faults:
            click.echo(f"left out: {fault}", err=True)
        if not chosen:
            raise DataError("no clip can be drawn, as said above" if faults else "there are no clips")
    return [lattice(recogniser, clip) for clip in chosen]
