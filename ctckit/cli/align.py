"""``ctckit align``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from ctckit.alignment import Aligned, Segments


@click.command(
    epilog=examples(
        "ctckit align runs/NAME --data train.h5 --out aligned.jsonl",
        "ctckit align runs/NAME --data train.h5 --format ctm --frame-rate 25 --segments starts",
        "ctckit align runs/NAME --data partly.h5 --wildcard '<*>' --format textgrid --frame-rate 100 --out grids",
    )
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Corpus; the run's test or dev corpus by default.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "ctm", "textgrid"]),
    default="json",
    show_default=True,
    help="One JSON line a clip, or what holds seconds.",
)
@click.option(
    "--segments",
    type=click.Choice(["path", "starts", "durations"]),
    default="durations",
    show_default=True,
    help="How far a token reaches: its frames on the best path, from there to the next token's, or all "
    "frames that are rather its own than any other's; durations comes nearest to word boundaries.",
)
@click.option(
    "--correction",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="FRAMES",
    help="With --segments starts: input frames by which tokens begin before their path does.",
)
@click.option("--wildcard", metavar="TOKEN", help="Token that stands for anything in what nobody transcribed.")
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How many of the least confident clips to name.",
)
@click.option("--frame-rate", type=float, help="Feature frames a second; the run's data.frame_rate by default.")
@plugin_files
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write; standard output by default, or as -. For textgrid a folder, which gets a file a clip.",
)
def align(
    run: Path,
    data: Path | None,
    kind: str,
    segments: Segments,
    correction: float,
    wildcard: str | None,
    worst: int,
    frame_rate: float | None,
    plugins: tuple[str, ...],
    device: str,
    out: Path | None,
) -> None:
    """Place the transcripts of a corpus in time with the best checkpoint of RUN.

    Each token comes with its first frame, the frame after its last, and a confidence: the mean of its posterior on
    the best path. A CTC network shows a label when it is sure of it, mostly for a few frames within a word, so its
    frames on the path are no word boundaries; those of `durations` are nearer, and leave no pauses. Clips that
    cannot be aligned are named, and the rest is written; the command then fails.
    """
    from ctckit.alignment import align_transcripts
    from ctckit.cli.evaluate import stored_clips
    from ctckit.cli.transcripts import check_output, write_transcripts
    from ctckit.errors import ConfigError, DataError
    from ctckit.files import STANDARD, write_text
    from ctckit.recogniser import load
    from ctckit.transcripts import Transcript

    if correction and segments != "starts":
        raise ConfigError("--correction moves the starts of --segments starts; give that too")
    recogniser = load(run, device, frame_rate=frame_rate, plugins=plugins)
    check_output(kind, recogniser.frame_rate, out)
    faults: list[DataError] = []
    clips = stored_clips(recogniser, None, data, faults)
    found = list(
        align_transcripts(recogniser, clips, faults, segments=segments, correction=correction, wildcard=wildcard)
    )
    for one in sorted(found, key=lambda one: one.confidence)[:worst]:
        click.echo(f"least confident: clip {one.clip_id!r} {one.confidence:.4f}{_weakest(one)}", err=True)
    if kind != "json":
        rate = recogniser.frame_rate
        placed = (
            Transcript(
                one.clip_id,
                one.tokens,
                one.seconds,
                one.confidences,
                None if rate is None else one.frames / rate,
            )
            for one in found
        )
        write_transcripts(placed, kind, recogniser.trained.config.data.unit, out, faults)
        return
    for fault in faults:
        click.echo(f"not aligned: {fault}", err=True)
    if found or not faults:
        write_text(
            out or STANDARD, "".join(json.dumps(_row(one), ensure_ascii=False) + "\n" for one in found), DataError
        )
    if faults:
        raise DataError(f"{len(faults)} of {len(faults) + len(found)} clips could not be aligned, as said above")


def _row(one: Aligned) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = [
        {"token": token, "start": start, "end": end, "score": round(score, 6), "confidence": round(confidence, 4)}
        for token, start, end, score, confidence in zip(
            one.tokens, one.starts, one.ends, one.scores, one.confidences, strict=True
        )
    ]
    for token, (start, end) in zip(tokens, one.seconds or (), strict=one.seconds is not None):
        token |= {"start_seconds": round(start, 3), "end_seconds": round(end, 3)}
    return {"clip": one.clip_id, "tokens": tokens, "confidence": round(one.confidence, 4)}


def _weakest(one: Aligned) -> str:
    numbers = [number for number, wild in enumerate(one.wild) if not wild]
    if not numbers:
        return ""
    number = min(numbers, key=lambda number: one.scores[number])
    place = f"frames {one.starts[number]} to {one.ends[number]}"
    return f", of it {one.tokens[number]!r} {one.confidences[number]:.4f} at {place}"
