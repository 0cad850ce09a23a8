"""The corpus file of ctckit: one HDF5 file, ragged arrays laid end to end.

Layout, version 1::

    attributes     format = "ctckit-corpus", version = 1, unit = "word" | "character", simulated = bool,
                   and any number of string notes (source, licence, ...), each prefixed "note."
    features       float16 or float32 [sum of T, F], uncompressed, all clips one after another
    offsets        int64 [N + 1], clip n owns rows offsets[n] up to offsets[n + 1]; every clip has at least
    one ids            UTF-8 [N], unique
    alphabet       UTF-8 [C], "<blank>" first
    targets        int32 [sum of U], classes 1 .. C - 1; the blank (0) never occurs
    target_offsets int64 [N + 1], every clip has at least one target
    attributes/X   UTF-8 [N], one dataset an attribute such as speaker or signer; "" where a clip has none

Rows of a clip are adjacent and never compressed, so reading one is a single copy from the page cache,
whatever the order in which clips are drawn. Nothing refers to other files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import BLANK_TOKEN, Alphabet
from ctckit.errors import DataError
from ctckit.types import BLANK

FORMAT = "ctckit-corpus"
VERSION = 1
NOTE_PREFIX = "note."

Unit = Literal["word", "character"]
"""What one target stands for: a word (or gloss, or any token between spaces) or a single character."""


@dataclass(frozen=True)
class PackedIndex:
    """Everything in a corpus file but the features, checked.

    Attributes:
        unit: what a token is.
        simulated: whether the features come from a simulation.
        notes: free text about the corpus.
        feature_size: F.
        stored_type: float16 or float32.
        offsets: int64 [N + 1] into the rows of ``features``.
        ids: N clip ids.
        alphabet: the labels.
        targets: int64 [sum of U].
        target_offsets: int64 [N + 1].
        attributes: N strings for each name.
    """

    unit: Unit
    simulated: bool
    notes: Mapping[str, str]
    feature_size: int
    stored_type: np.dtype[Any]
    offsets: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    alphabet: Alphabet
    targets: npt.NDArray[np.int64]
    target_offsets: npt.NDArray[np.int64]
    attributes: Mapping[str, tuple[str, ...]]


def text_of(value: Any, where: str) -> str | None:
    """Return a stored value as text, once it is known to be text.

    Args:
        value: an HDF5 attribute, the content of a dataset, or a value from JSON; an array is joined by spaces.
        where: file, clip and key, for the message.

    Returns:
        The text; None where the value stands for none: None, NaN, an empty dataspace.

    Raises:
        DataError: it is no text, or not UTF-8.
    """
    if isinstance(value, bytes | str):
        try:
            # h5py hides what is no UTF-8 in surrogates
            return (value.encode() if isinstance(value, str) else value).decode()
        except UnicodeError as error:
            raise DataError(f"{where} is not UTF-8 ({error}); write the text as UTF-8") from error
    if isinstance(value, np.ndarray | list | tuple):
        texts = [text_of(one, where) for one in (value.ravel() if isinstance(value, np.ndarray) else value)]
        if None in texts and len(texts) > 1:
            raise DataError(f"{where} holds a token that is missing (NaN or null); complete it")
        return None if None in texts else " ".join(text for text in texts if text is not None)
    if (
        value is None
        or type(value).__name__ == "Empty"
        or (isinstance(value, float | np.floating) and value != value)
    ):
        return None
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    kind = f"the number {value}" if number else type(value).__name__
    raise DataError(f"{where} is {kind}, expected text; store the words, not class numbers")


def is_packed(file: Any) -> bool:
    """Whether an open HDF5 file claims to be a corpus file of ctckit."""
    return _text(file.attrs.get("format", "")) == FORMAT


def read_index(file: Any, path: Path) -> PackedIndex:
    """Reads and checks the index of an open corpus file.

    Args:
        file: open `h5py.File`.
        path: its name, for messages.

    Raises:
        DataError: another version, a missing part, or parts that contradict one another.
    """
    version = int(file.attrs.get("version", 0))
    if version != VERSION:
        advice = "upgrade ctckit" if version > VERSION else "write it again with `ctckit data import`"
        raise DataError(f"{path}: corpus format {version}, but this ctckit reads format {VERSION}; {advice}")
    needed = ("features", "offsets", "ids", "alphabet", "targets", "target_offsets")
    missing = [name for name in needed if name not in file]
    if missing:
        raise DataError(f"{path}: damaged corpus file, {missing[0]!r} is missing; write it again")
    unit = _text(file.attrs.get("unit", "word"))
    if unit not in get_args(Unit):
        raise DataError(f"{path}: unknown unit {unit!r}; a corpus file says 'word' or 'character'")
    features = file["features"]
    if features.ndim != 2 or features.dtype not in (np.float16, np.float32):
        raise DataError(f"{path}: damaged corpus file, features are {features.dtype} {list(features.shape)}")
    ids = _texts(file["ids"])
    offsets = _offsets(file["offsets"], len(ids), len(features), path, "offsets", ids, "frames")
    targets = np.asarray(file["targets"][()], dtype=np.int64)
    target_offsets = _offsets(
        file["target_offsets"], len(ids), len(targets), path, "target_offsets", ids, "transcript"
    )
    if len(set(ids)) != len(ids):
        raise DataError(f"{path}: damaged corpus file, some clip ids occur twice; write it again")
    tokens = _texts(file["alphabet"])
    if not tokens or tokens[BLANK] != BLANK_TOKEN:
        raise DataError(f"{path}: the alphabet must begin with {BLANK_TOKEN!r}, class {BLANK}; write it again")
    alphabet = Alphabet(tokens[BLANK + 1 :])
    bad = np.flatnonzero((targets <= BLANK) | (targets >= len(alphabet)))
    if len(bad):
        clip = ids[int(np.searchsorted(target_offsets, bad[0], side="right")) - 1]
        value = int(targets[bad[0]])
        kind = "the blank, which no target may hold" if value == BLANK else f"not in 1 .. {len(alphabet) - 1}"
        raise DataError(
            f"{path}: clip {clip!r}: target {value} is {kind}; correct the transcript and write it again"
        )
    attributes = {}
    for name, dataset in file["attributes"].items() if "attributes" in file else ():
        attributes[name] = _texts(dataset)
        if len(attributes[name]) != len(ids):
            raise DataError(f"{path}: damaged corpus file, attribute {name!r} has {len(attributes[name])} values")
    notes = {k.removeprefix(NOTE_PREFIX): _text(v) for k, v in file.attrs.items() if k.startswith(NOTE_PREFIX)}
    return PackedIndex(
        unit="word" if unit == "word" else "character",
        simulated=bool(file.attrs.get("simulated", False)),
        notes=notes,
        feature_size=int(features.shape[1]),
        stored_type=features.dtype,
        offsets=offsets,
        ids=ids,
        alphabet=alphabet,
        targets=targets,
        target_offsets=target_offsets,
        attributes=attributes,
    )


def _offsets(
    dataset: Any, clips: int, total: int, path: Path, name: str, ids: tuple[str, ...], what: str
) -> npt.NDArray[np.int64]:
    offsets = np.asarray(dataset[()], dtype=np.int64)
    if clips == 0:
        raise DataError(f"{path}: holds no clips; import some with `ctckit data import`")
    if offsets.shape != (clips + 1,) or offsets[0] != 0 or offsets[-1] != total:
        raise DataError(f"{path}: damaged corpus file, {name!r} does not fit its data; write it again")
    steps = np.diff(offsets)
    if (steps < 0).any():
        raise DataError(f"{path}: damaged corpus file, {name!r} does not rise; write it again")
    if (steps == 0).any():
        clip = ids[int(np.flatnonzero(steps == 0)[0])]
        raise DataError(f"{path}: clip {clip!r}: no {what}; leave the clip out or complete it")
    return offsets


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _texts(dataset: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in dataset[()])
