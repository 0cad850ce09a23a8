"""Copies corpora, of whatever layout, into ctckit's own format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ctckit.data.alphabet import Alphabet
from ctckit.data.dataset import Corpus
from ctckit.data.writer import CorpusWriter, FeatureType
from ctckit.errors import DataError


def import_hdf5(corpus: Corpus, output: Path, *, dtype: FeatureType | None = None, overwrite: bool = False) -> int:
    """Copies an open corpus, of whatever layout, into ctckit's own format.

    Args:
        corpus: the source.
        output: the corpus file to make.
        dtype: how features are stored; None takes float16 where it loses nothing, else float32.
        overwrite: replace an existing file.

    Returns:
        Number of clips.

    Raises:
        DataError: a clip cannot be used, or the file cannot be written.
    """
    with writer_like(corpus, output, corpus.alphabet(), dtype=dtype, overwrite=overwrite) as writer:
        copy_clips(corpus, range(len(corpus)), writer)
    return len(corpus)


def writer_like(
    corpus: Corpus,
    output: Path,
    alphabet: Alphabet | None,
    *,
    dtype: FeatureType | None = None,
    overwrite: bool = False,
) -> CorpusWriter:
    """Opens a writer for clips of `corpus`, which keeps its unit, its notes and its mark of simulation."""
    if Path(output).exists() and Path(output).samefile(corpus.path):
        raise DataError(f"{output}: is the file being read; choose another name")
    return CorpusWriter(
        output,
        corpus.feature_size,
        alphabet=alphabet,
        unit=corpus.unit,
        dtype=dtype or ("float16" if fits_half(corpus.stored_type) else "float32"),
        simulated=corpus.simulated,
        notes={"source": corpus.path.name, **corpus.notes},
        overwrite=overwrite,
    )


def copy_clips(corpus: Corpus, indices: Iterable[int], writer: CorpusWriter) -> None:
    """Appends clips of a corpus to a file under way."""
    for index in indices:
        writer.add(corpus.ids[index], corpus.features(index), corpus.transcript(index), corpus.attributes(index))


def fits_half(dtype: np.dtype[Any]) -> bool:
    """Whether float16 holds every value of a type."""
    # float16 has 11 bits of precision: all of uint8 and int8, but not all of int16.
    return bool(np.can_cast(dtype, np.float16, "safe"))
