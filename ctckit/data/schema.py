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

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import BLANK_TOKEN, Alphabet
from ctckit.data.contents import Contents
from ctckit.data.hdf5 import describe_item, first_missing_row, follow, reading, require_whole
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
        contents: groups and datasets of the file, seen against used.
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
    contents: Contents


SPEAKERS = frozenset(
    {
        "speaker",
        "speaker_id",
        "speakers",
        "spk",
        "spk_id",
        "signer",
        "signer_id",
        "signers",
        "writer",
        "writer_id",
        "reader",
        "reader_id",
        "client_id",
        "performer",
        "person",
        "subject",
    }
)
"""Names of attributes and columns, in lower case, that say whose clip it is."""

LIST = re.compile(r"""[\[(]\s*(['"]).*\1\s*,?\s*[\])]""", re.DOTALL)
"""A list or tuple of texts as programs print it, ``['HELLO', 'GO']``: brackets and quotes would become labels."""


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


def transposed(frame_counts: set[int]) -> str:
    """What to say of clips of several widths whose frames are of these numbers; "" unless they are all of one."""
    if len(frame_counts) > 1:
        return ""
    return f"; all have {min(frame_counts)} rows, so they look transposed, [F, T]: store them as [T, F]"


def attribute_text(value: Any, where: str) -> str | None:
    """Return an attribute, such as a speaker, as text.

    Args:
        value: as h5py has it.
        where: file, clip and name, for the message.

    Returns:
        Text as it is, numbers as they are written, "" for what stands for nothing (NaN, an empty dataspace); None
        for what is neither: arrays of numbers, references, compounds.

    Raises:
        DataError: text that is not UTF-8.
    """
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.names is None:
        value = value.item()
    if isinstance(value, bool | np.bool_ | np.integer | int):
        return str(value)
    if isinstance(value, float | np.floating):
        return "" if value != value else str(value)
    texts = isinstance(value, np.ndarray) and all(isinstance(one, bytes | str) for one in value.ravel())
    if isinstance(value, bytes | str | h5py.Empty) or texts:
        return text_of(value, where) or ""
    return None


def is_packed(file: Any) -> bool:
    """Whether an open HDF5 file claims to be a corpus file of ctckit."""
    value = file.attrs.get("format", "")
    return isinstance(value, bytes | str) and _text(value) == FORMAT


def read_index(file: Any, path: Path) -> PackedIndex:
    """Reads and checks the index of an open corpus file.

    Args:
        file: open `h5py.File`.
        path: its name, for messages.

    Raises:
        DataError: another version, a missing part, or parts that contradict one another.
    """
    stored = file.attrs.get("version", 0)
    if not isinstance(stored, int | np.integer):
        raise DataError(f"{path}: damaged corpus file, its version is {stored!r}; write it again")
    version = int(stored)
    if version != VERSION:
        advice = "upgrade ctckit" if version > VERSION else "write it again with `ctckit data import`"
        raise DataError(f"{path}: corpus format {version}, but this ctckit reads format {VERSION}; {advice}")
    needed = ("features", "offsets", "ids", "alphabet", "targets", "target_offsets")
    missing = [name for name in needed if not file.id.links.exists(name.encode())]
    if missing:
        raise DataError(f"{path}: damaged corpus file, {missing[0]!r} is missing; write it again")
    unit = _text(file.attrs.get("unit", "word"))
    if unit not in get_args(Unit):
        raise DataError(f"{path}: unknown unit {unit!r}; a corpus file says 'word' or 'character'")
    features = _part(file, "features", path)
    if (
        features.shape is None
        or features.ndim != 2
        or features.dtype not in (np.float16, np.float32)
        or not features.size
    ):
        raise DataError(f"{path}: damaged corpus file, features are {describe_item(features)}; write it again")
    ids = _texts(file, "ids", path)
    offsets = _offsets(file, len(ids), len(features), path, "offsets", ids, "frames")
    _whole_features(features, offsets, ids, path)
    targets = _integers(file, "targets", path)
    target_offsets = _offsets(file, len(ids), len(targets), path, "target_offsets", ids, "transcript")
    if len(set(ids)) != len(ids):
        raise DataError(f"{path}: damaged corpus file, some clip ids occur twice; write it again")
    tokens = _texts(file, "alphabet", path)
    if not tokens or tokens[BLANK] != BLANK_TOKEN:
        raise DataError(f"{path}: the alphabet must begin with {BLANK_TOKEN!r}, class {BLANK}; write it again")
    try:
        alphabet = Alphabet(tokens[BLANK + 1 :])
    except DataError as error:
        raise DataError(f"{path}: {error}; write it again") from None
    bad = np.flatnonzero((targets <= BLANK) | (targets >= len(alphabet)))
    if len(bad):
        clip = ids[int(np.searchsorted(target_offsets, bad[0], side="right")) - 1]
        value = int(targets[bad[0]])
        kind = "the blank, which no target may hold" if value == BLANK else f"not in 1 .. {len(alphabet) - 1}"
        raise DataError(
            f"{path}: clip {clip!r}: target {value} is {kind}; correct the transcript and write it again"
        )
    attributes = {}
    holder = follow(file.id, "attributes")
    if holder.kind not in ("group", "broken") or (holder.kind == "broken" and holder.target):
        raise DataError(f"{path}: damaged corpus file, 'attributes' is {holder}; write it again")
    for name in sorted(file["attributes"]) if holder.kind == "group" else ():
        attributes[name] = _texts(file["attributes"], name, path)
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
        contents=_contents(file, needed, tuple(attributes)),
    )


def _part(file: Any, name: str, path: Path) -> Any:
    link = follow(file.id, name)
    if link.kind != "dataset":
        raise DataError(f"{path}: damaged corpus file, {name!r} is {link}; write it again")
    return file[name]


def _values(file: Any, name: str, path: Path) -> npt.NDArray[Any]:
    """A part of one axis, whole."""
    dataset = _part(file, name, path)
    if dataset.shape is None or dataset.ndim != 1:
        raise DataError(f"{path}: damaged corpus file, {name!r} is {describe_item(dataset)}; write it again")
    with reading(f"{path}: {name!r}", "the file is damaged, copy or create it again"):
        try:
            require_whole(dataset)
        except DataError as error:
            raise DataError(f"{path}: {name!r} {error}") from None
        return np.asarray(dataset[()])


def _integers(file: Any, name: str, path: Path) -> npt.NDArray[np.int64]:
    values = _values(file, name, path)
    if values.dtype.kind not in "iu" or (values > np.iinfo(np.int64).max).any():
        raise DataError(
            f"{path}: damaged corpus file, {name!r} holds {values.dtype}, expected int64; write it again"
        )
    return values.astype(np.int64)


def _texts(file: Any, name: str, path: Path) -> tuple[str, ...]:
    values = _values(file, name, path)
    if not all(isinstance(value, bytes | str) for value in values):
        raise DataError(
            f"{path}: damaged corpus file, {name!r} holds {values.dtype}, expected text; write it again"
        )
    return tuple(text_of(value, f"{path}: {name!r}") or "" for value in values)


def _whole_features(features: Any, offsets: npt.NDArray[np.int64], ids: tuple[str, ...], path: Path) -> None:
    try:
        require_whole(features)
    except DataError as error:
        if features.chunks is None:
            raise DataError(f"{path}: 'features' {error}") from None
        row = first_missing_row(features)
        clip = ids[min(int(np.searchsorted(offsets, row, side="right")) - 1, len(ids) - 1)]
        raise DataError(f"{path}: 'features' {error}, from clip {clip!r} on") from None


def _contents(file: Any, parts: tuple[str, ...], attributes: tuple[str, ...]) -> Contents:
    groups: list[str] = []
    datasets: list[str] = []

    def meet(name: str, item: Any) -> None:
        (groups if isinstance(item, h5py.Group) else datasets).append(name)

    file.visititems(meet)
    known = {"format", "version", "unit", "simulated"}
    besides = [name for name in sorted(file) if name not in (*parts, "attributes")]
    besides += [f"attribute {k!r}" for k in file.attrs if k not in known and not k.startswith(NOTE_PREFIX)]
    return Contents(
        groups=len(groups),
        datasets=len(datasets),
        used_groups=int("attributes" in groups),
        used_datasets=len(parts) + len(attributes),
        aliases=0,
        besides=dict.fromkeys(besides, 1),
    )


def _offsets(
    file: Any, clips: int, total: int, path: Path, name: str, ids: tuple[str, ...], what: str
) -> npt.NDArray[np.int64]:
    offsets = _integers(file, name, path)
    if clips == 0:
        raise DataError(f"{path}: holds no clips; import some with `ctckit data import`")
    if offsets.shape != (clips + 1,) or offsets[0] != 0 or offsets[-1] != total:
        raise DataError(f"{path}: damaged corpus file, {name!r} does not fit its data; write it again")
    if (offsets[1:] < offsets[:-1]).any():  # differences could wrap around
        raise DataError(f"{path}: damaged corpus file, {name!r} does not rise; write it again")
    empty = np.flatnonzero(offsets[1:] == offsets[:-1])
    if len(empty):
        clip = ids[int(empty[0])]
        raise DataError(f"{path}: clip {clip!r}: no {what}; leave the clip out or complete it")
    return offsets


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
