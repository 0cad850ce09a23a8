"""``ctckit score``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ctckit.cli.breakdown import details as _details
from ctckit.cli.examples import examples

if TYPE_CHECKING:
    from ctckit.breakdown import Utterance
    from ctckit.transcripts import Read, Transcript

KINDS = click.Choice(["jsonl", "ctm", "stm", "trn", "text"])


@click.command(
    epilog=examples(
        "ctckit score test.stm decoded.ctm",
        "ctckit score reference.trn hypothesis.trn --sclite",
        "ctckit score data/test/text decoded.jsonl --details 20 --json",
    ),
)
@click.argument("reference", type=click.Path(path_type=Path), metavar="REF")
@click.argument("hypothesis", type=click.Path(path_type=Path), metavar="HYP")
@click.option("--ref-format", type=KINDS, help="Of REF; told by its name or its lines by default.")
@click.option("--hyp-format", type=KINDS, help="Of HYP; told by its name or its lines by default.")
@click.option(
    "--unit",
    type=click.Choice(["word", "character"]),
    default="word",
    show_default=True,
    help="What a token is. With characters, lines of words are parted into theirs, spaces included.",
)
@click.option("--sclite", is_flag=True, help="Align as sclite does, which may count more errors than the fewest.")
@_details
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def score(
    reference: Path,
    hypothesis: Path,
    ref_format: str | None,
    hyp_format: str | None,
    unit: Literal["word", "character"],
    sclite: bool,
    details: int,
    as_json: bool,
) -> None:
    """Score a file of hypotheses against a file of transcripts, without a model.

    Files are CTM, STM, TRN, Kaldi's `text` (id and words), or the JSON lines of `ctckit decode`. Tokens are
    compared as they are; upper and lower case differ. Words of a CTM go to the segments of an STM by their times,
    as in sclite, and what the STM does not want scored is left out. A clip that HYP lacks counts as deleted, one
    that REF lacks is left out, and both are named.
    """
    from ctckit.breakdown import broken_down
    from ctckit.cli.breakdown import rates, shown
    from ctckit.errors import DataError
    from ctckit.record.history import finite
    from ctckit.transcripts import Transcript, read

    wanted, got = read(reference, ref_format), read(hypothesis, hyp_format)
    missing = [name for name in wanted.transcripts if name not in got.transcripts]
    extra = [name for name in got.transcripts if name not in wanted.transcripts]
    if len(missing) == len(wanted.transcripts):
        raise DataError(f"{hypothesis}: has no clip of {reference}; it has {extra[0]!r}, wanted is {missing[0]!r}")
    utterances = [
        utterance
        for name, one in wanted.transcripts.items()
        for utterance in _utterances(one, got.transcripts.get(name, Transcript(name, (), ())), wanted, got, unit)
    ]
    found = broken_down(utterances, unit, sclite=sclite)
    if as_json:
        row = {
            "reference": {"file": str(reference), "format": wanted.kind, "told": wanted.said},
            "hypothesis": {"file": str(hypothesis), "format": got.kind, "told": got.said},
            "clips": len(utterances),
            "missing": missing,
            "extra": extra,
            "sclite": sclite,
            **found.row(details),
        }
        click.echo(json.dumps(finite(row), ensure_ascii=False))
        return
    for path, read_as in ((reference, wanted), (hypothesis, got)):
        click.echo(f"{path}: {len(read_as.transcripts)} clips, read as {read_as.kind} {read_as.said}")
    for names, what in ((missing, f"not in {hypothesis}, all deleted"), (extra, f"not in {reference}, left out")):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            click.echo(f"{what}: {', '.join(map(repr, names[:5]))}{more}")
    wrong = sum(errors.total > 0 for _, errors in found.clips)
    click.echo(rates(found))
    click.echo(f"sentence errors    {100 * wrong / len(utterances):.2f} %  ({wrong} of {len(utterances)} clips)")
    for line in shown(found, details):
        click.echo(line)


def _utterances(
    reference: Transcript, hypothesis: Transcript, wanted: Read, got: Read, unit: Literal["word", "character"]
) -> list[Utterance]:
    """Return a clip as what is scored: of a recording each segment, where the words of HYP have times."""
    from ctckit.breakdown import Utterance
    from ctckit.errors import DataError
    from ctckit.transcripts import Transcript, parted

    name = reference.clip_id
    if not reference.segments or hypothesis.spans is None:
        if any(segment.tokens is None for segment in reference.segments):
            raise DataError(
                f"{name!r} has a stretch that is not to be scored, and its words in HYP have no times; give a CTM"
            )
        return [Utterance(name, tokens(reference, wanted, unit), tokens(hypothesis, got, unit), reference.speaker)]
    found = zip(reference.segments, parted(reference.segments, hypothesis), strict=True)
    return [
        Utterance(
            f"{name} {segment.start:g}-{segment.end:g}",
            tokens(Transcript(name, segment.tokens), wanted, unit),
            tokens(Transcript(name, words), got, unit),
            segment.speaker,
        )
        for segment, words in found
        if segment.tokens is not None
    ]


def tokens(transcript: Transcript, read: Read, unit: str) -> tuple[str, ...]:
    """Return the tokens of a clip in the unit asked for.

    Raises:
        DataError: the tokens are characters, and words were asked for.
    """
    from ctckit.errors import DataError

    if unit == "character" and read.kind != "jsonl":
        return tuple(" ".join(transcript.tokens))
    if unit == "word" and any(token.isspace() for token in transcript.tokens):
        raise DataError(f"clip {transcript.clip_id!r} has a space among its tokens: give --unit character")
    return transcript.tokens
