"""Carves a dev set out of a corpus, by speaker, signer or another attribute."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctckit.data.alphabet import Alphabet, near_misses, written_alike
from ctckit.data.dataset import Corpus
from ctckit.data.importers import copy_clips, writer_like
from ctckit.errors import DataError


@dataclass(frozen=True)
class Split:
    """What went where.

    Attributes:
        dev_groups: values of the attribute that went to dev, sorted.
        train_groups: all others, sorted.
        dev_clips: number of clips in dev.
        train_clips: number of clips in train.
    """

    dev_groups: tuple[str, ...]
    train_groups: tuple[str, ...]
    dev_clips: int
    train_clips: int


def split_corpus(
    corpus: Corpus,
    by: str,
    train_out: Path,
    dev_out: Path,
    *,
    count: int | None = None,
    values: Sequence[str] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Split:
    """Writes two corpus files whose clips share no value of an attribute.

    Both keep the alphabet of the source, so that a label which only dev holds is still a class of the model,
    and one model fits both. `ctckit data inspect` reports labels that train never shows.

    Args:
        corpus: the source.
        by: the attribute, such as speaker.
        train_out: file for the clips that remain.
        dev_out: file for the clips taken out.
        count: take so many values, drawn by `seed`; give this or `values`.
        values: take exactly these.
        seed: of the draw.
        overwrite: replace existing files.

    Raises:
        DataError: the attribute or a value is unknown, one value is spelt in two ways, or nothing would be left on
            one side; neither file is written.
    """
    groups = [corpus.attribute(by, index) for index in range(len(corpus))]
    known = sorted(set(groups))
    _refuse_spellings(known, by, corpus)
    if (count is None) == (values is None):
        raise DataError("a split needs either a count of groups (--count) or their names (--values)")
    if values is not None:
        taken = sorted(set(values))
        unknown = [value for value in taken if value not in known]
        if unknown:
            shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise DataError(f"{corpus.path}: no clip has {by} {unknown[0]!r}; there is: {shown}")
    else:
        assert count is not None
        taken = sorted(np.random.default_rng(seed).permutation(known)[: max(count, 0)].tolist())
    if not 0 < len(taken) < len(known):
        raise DataError(
            f"{corpus.path}: taking {len(taken) if values is not None else count} of {len(known)} values of "
            f"{by!r} "
            "leaves one side empty; take at least one and leave at least one"
        )
    if Path(train_out).absolute() == Path(dev_out).absolute():
        raise DataError(f"{train_out}: is named for train and for dev; choose two names")
    chosen = set(taken)
    dev = [index for index, group in enumerate(groups) if group in chosen]
    train = [index for index, group in enumerate(groups) if group not in chosen]
    alphabet = corpus.alphabet() or Alphabet.from_transcripts(corpus.transcript(i) for i in range(len(corpus)))
    with ExitStack() as stack:
        writers = []
        for output, indices in ((train_out, train), (dev_out, dev)):
            writer = writer_like(corpus, output, alphabet, overwrite=overwrite)
            stack.callback(writer.discard)
            copy_clips(corpus, indices, writer)
            writers.append(writer)
        # Both are complete on disk before either gets its name.
        for writer in writers:
            writer.prepare()
        for writer in writers:
            writer.publish()
    return Split(tuple(taken), tuple(group for group in known if group not in chosen), len(dev), len(train))


def _refuse_spellings(known: Sequence[str], by: str, corpus: Corpus) -> None:
    """A speaker of two spellings would stand on both sides."""
    alike = written_alike(known)
    if alike:
        (difference,) = {what for _, what in near_misses([alike[0][1]], [alike[0][0]]).values()}
        shown = " and ".join(map(repr, alike[0]))
        more = f" (and {len(alike) - 1} more)" if len(alike) > 1 else ""
        raise DataError(
            f"{corpus.path}: {by} is spelt in several ways, {shown}{more}: {difference}; one of them could stand "
            "on both sides: make them agree"
        )
