"""Bonito's training data (nanopore): chunks.npy, references.npy and reference_lengths.npy."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Unpack

import numpy as np

from ctckit.data.alphabet import Alphabet
from ctckit.data.importers.padded import PaddedFeatures, label_rows, lengths_of
from ctckit.data.importers.pairing import Imported, Wishes, write_clips
from ctckit.data.importers.rows import Manifest
from ctckit.data.importers.stores import load_array
from ctckit.data.importers.vocabulary import Vocabulary
from ctckit.data.schema import Unit
from ctckit.errors import DataError

FILES: Final = ("chunks.npy", "references.npy", "reference_lengths.npy")

_BASES: Final = Vocabulary("bonito", {1: "A", 2: "C", 3: "G", 4: "T"}, blank=0)
"""Its alphabet is N A C G T, where N (0) is the blank and the padding."""


def import_bonito(folder: Path, output: Path, *, unit: Unit | None = None, **wishes: Unpack[Wishes]) -> Imported:
    """Imports a folder of Bonito's: signals [N, T] as one column, bases as classes 1 to 4, as Bonito counts them.

    Args:
        folder: holds the three files.
        output: the corpus file to make.
        unit: what a token is; None takes characters.
        wishes: see `Wishes`.

    Raises:
        DataError: a file is missing or does not fit the others.
    """
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise DataError(f"{folder}: no {absent[0]}; Bonito's training data is {', '.join(FILES)}")
    chunks, references, lengths = (load_array(folder / name) for name in FILES)
    if chunks.ndim != 2 or chunks.dtype.kind not in "fiu" or 0 in chunks.shape:
        raise DataError(f"{folder / FILES[0]}: is {chunks.dtype} {list(chunks.shape)}, expected signals [N, T]")
    count, samples = chunks.shape
    if references.ndim != 2 or len(references) != count or references.dtype.kind not in "iu":
        raise DataError(
            f"{folder / FILES[1]}: is {references.dtype} {list(references.shape)}, expected integers [{count}, U]"
        )
    sizes = lengths_of(lengths, count, references.shape[1], str(folder / FILES[2]))
    ids = [f"chunk{row:07d}" for row in range(count)]
    rows = label_rows(folder / FILES[1], np.asarray(references), sizes, ids, _BASES, [{}] * count)
    said = [f"read as Bonito's, {samples} samples a chunk in one column, {_BASES.describe()}"]
    if (folder / "validation" / FILES[0]).is_file():
        said.append(f"{folder / 'validation'} is a corpus of its own; import it by itself")
    manifest = Manifest(folder, rows, tuple(said), unit or "character", Alphabet(_BASES.labels.values()))
    features = PaddedFeatures(folder / FILES[0], chunks[:, :, None], np.full(count, samples), ids)
    return write_clips(output, manifest, features, wishes)
