"""Clips to recognise, from where their features lie: a NumPy file, a folder of them, a corpus, standard input."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ctckit.data.dataset import Corpus
from ctckit.errors import DataError, reason_of

NUMPY = (".npy", ".npz")
"""File names of arrays."""


class StoredClip(NamedTuple):
    """One clip as it is stored.

    Attributes:
        clip_id: of a folder's file its path in the folder without the suffix; of an archive its key.
        features_TF: as stored; whoever uses them checks them.
        reference: tokens of the transcript; None where there is none.
    """

    clip_id: str
    features_TF: npt.NDArray[Any]
    reference: tuple[str, ...] | None = None


def clips_of_corpus(corpus: Corpus, faults: list[DataError]) -> Iterator[StoredClip]:
    """Yield the clips of a corpus; ``faults`` gets what is wrong with each that cannot be read."""
    for index, clip_id in enumerate(corpus.ids):
        try:
            features = corpus.features(index)
        except DataError as error:
            faults.append(error)
            continue
        yield StoredClip(clip_id, features, corpus.transcript(index) if corpus.has_transcript(index) else None)


def clips_of_arrays(path: Path, faults: list[DataError]) -> Iterator[StoredClip]:
    """Yield the clips of a ``.npy`` (one), a ``.npz`` (one a key), or a folder of both (searched to its depth).

    Args:
        path: the file or folder.
        faults: gets what is wrong with each file that cannot be read.

    Raises:
        DataError: there is no such file, or none in the folder.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_file():
        yield from _read(path, path.stem, str(path), faults)
        return
    files = sorted(file for file in path.rglob("*") if file.suffix in NUMPY and file.is_file())
    if not files:
        raise DataError(f"{path}: holds no {' or '.join(NUMPY)} file, one array [T, F] a clip")
    taken: dict[str, Path] = {}
    for file in files:
        clip_id = file.relative_to(path).with_suffix("").as_posix()
        if clip_id in taken:
            faults.append(DataError(f"{file}: {taken[clip_id].name} beside it has the same clip id {clip_id!r}"))
            continue
        taken[clip_id] = file
        yield from _read(file, clip_id, str(file), faults)


def clips_of_stream(stream: IO[bytes] | None, faults: list[DataError]) -> Iterator[StoredClip]:
    """Yield the clips of a ``.npy`` or ``.npz`` that comes through a stream, by default standard input."""
    content = (sys.stdin.buffer if stream is None else stream).read()
    if content.startswith(b"\x89HDF"):
        raise DataError("standard input: is HDF5, which is not read from a stream; name the file")
    yield from _read(io.BytesIO(content), "stdin", "standard input", faults)


def _read(source: Path | IO[bytes], clip_id: str, where: str, faults: list[DataError]) -> Iterator[StoredClip]:
    try:
        loaded = np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = reason_of(error)
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "neither numbers nor a NumPy file; arrays of objects are not read"
        faults.append(DataError(f"{where}: is no readable .npy or .npz ({reason})"))
        return
    if isinstance(loaded, np.ndarray):
        yield StoredClip(clip_id, loaded)
        return
    with loaded:
        keys = list(loaded)
        if not keys:
            faults.append(DataError(f"{where}: is an empty archive, it holds no clips"))
        for key in keys:
            try:
                array = loaded[key]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                faults.append(DataError(f"{where}: key {key!r} cannot be read ({reason_of(error)})"))
                continue
            yield StoredClip(key, array)
