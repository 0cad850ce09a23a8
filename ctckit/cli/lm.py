"""``ctckit lm``: language models from transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctckit.lm import LanguageModel

_unit = click.option(
    "--unit",
    type=click.Choice(["word", "character"]),
    default="word",
    show_default=True,
    help="What an n-gram is made of. Words may guide a run over characters too, which then spells them.",
)
_transcript = click.option("--transcript", default="transcript", show_default=True, help="Attribute of a clip.")


@click.group()
def lm() -> None:
    """Estimate and score n-gram language models, which guide a beam search (``decode --lm``)."""


@lm.command(
    epilog=examples(
        "ctckit lm train train.h5 --order 3 --out lm.arpa",
        "ctckit lm train train.h5 weather.txt --order 4 --dev dev.h5 --out lm.arpa",
    )
)
@click.argument("sources", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CORPUS|TEXT...")
@click.option("--order", type=click.IntRange(1, 6), default=3, show_default=True, help="Of the longest n-grams.")
@click.option("--dev", type=click.Path(path_type=Path), help="Corpus or text whose perplexity is printed.")
@_unit
@_transcript
@click.option("--out", type=click.Path(path_type=Path), required=True, help="ARPA file to write; - for stdout.")
def train(sources: tuple[Path, ...], order: int, dev: Path | None, unit: str, transcript: str, out: Path) -> None:
    """Estimate a model from the transcripts of corpora, or from texts with a sentence a line.

    Interpolated modified Kneser-Ney. Where the counts of an order allow for no estimate of its discounts, as with
    few sentences, they are 0.5, 1 and 1.5, and that is said. Leave dev and test out: what they say must be new.
    """
    from ctckit.errors import DataError
    from ctckit.files import STANDARD, write_text
    from ctckit.lm import LanguageModel, estimate, write_arpa

    said = [sentence for source in sources for sentence in _sentences(source, unit, transcript)]
    try:
        model = estimate(said, order)
    except ValueError as error:
        raise DataError(f"{', '.join(map(str, sources))}: {error}") from error
    text = write_arpa(model)
    write_text(out, text, DataError)

    def tell(line: str) -> None:
        click.echo(line, err=out == STANDARD)

    tell(f"{out}: order {order} from {len(said)} sentences")
    for n, (count, discounts) in enumerate(zip(model.counts, model.discounts, strict=True), 1):
        values = ", ".join(f"{value:.3f}" for value in discounts.values)
        fallback = "  (fallback: too few n-grams to estimate them)" if discounts.fallback else ""
        tell(f"  {n}-grams {count:>9}  discounts {values}{fallback}")
    if dev is not None:
        tell(_perplexity(LanguageModel(text.encode()), dev, unit, transcript))


@lm.command(epilog=examples("ctckit lm score lm.arpa test.h5"))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path), metavar="CORPUS|TEXT")
@_unit
@_transcript
def score(model: Path, source: Path, unit: str, transcript: str) -> None:
    """Print the perplexity of an ARPA file on transcripts; unknown tokens are counted and left out."""
    from ctckit.lm import LanguageModel

    click.echo(_perplexity(LanguageModel.read(model), source, unit, transcript))


def _perplexity(model: LanguageModel, source: Path, unit: str, transcript: str) -> str:
    from ctckit.errors import DataError

    found = model.perplexity(_sentences(source, unit, transcript))
    if not found.sentences:
        raise DataError(f"{source}: holds no sentence")
    return (
        f"{source}: perplexity {found.perplexity:.2f} over {found.tokens - found.unknown} tokens and "
        f"{found.sentences} ends; {found.unknown} unknown tokens left out"
    )


def _sentences(source: Path, unit: str, transcript: str) -> Iterator[tuple[str, ...]]:
    import h5py

    from ctckit.data import open_corpus
    from ctckit.errors import DataError, reason_of

    if source.is_file() and not h5py.is_hdf5(source):
        try:
            lines = source.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{source}: is neither HDF5 nor a text in UTF-8: {reason_of(error)}") from error
        for line in lines:
            words = line.split()
            if words:
                yield _cut(words, unit)
        return
    corpus = open_corpus(source, transcript_key=transcript, unit="word")
    for index in range(len(corpus)):
        yield _cut(corpus.transcript(index), unit)


def _cut(words: tuple[str, ...] | list[str], unit: str) -> tuple[str, ...]:
    return tuple(" ".join(words)) if unit == "character" else tuple(words)
