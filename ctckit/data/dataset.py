"""Corpora that lie in HDF5 files, read clip by clip."""

from __future__ import annotations

import difflib
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import h5py
import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import BLANK_TOKEN, Alphabet
from ctckit.data.schema import FORMAT, PackedIndex, Unit, is_packed, read_index, text_of
from ctckit.errors import DataError

Transcripts = Literal["needed", "any", "optional"]
"""What `open_corpus` asks of the transcript of each clip."""

SPLITS = frozenset({"train", "dev", "val", "valid", "validation", "test", "eval"})
"""Names by which people put the splits of a corpus into one file."""

_FINGERPRINT_CLIPS = 8

_FLOAT_OF_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""Every float16 as float32. Looking them up is 2.5 times as fast as numpy's conversion, and needs no torch."""


class Corpus(ABC):
    """A read-only corpus file whose features are read when asked for.

    An instance may be pickled and may be used on either side of a fork: every process opens the file for
    itself, on its first read. Clips are addressed by number, 0 .. N - 1, in the order of the file.

    Attributes:
        path: the file.
        feature_size: F, columns of the stored features.
        ids: clip ids, unique.
        frame_counts: int64 [N], frames of each clip.
        stored_type: of the features in the file; of several, the one that holds them all.
        unit: what a token of `transcript` is.
        attribute_names: names that `attribute` knows.
        simulated: whether the file says that its features are simulated.
        notes: free text that the file says about itself.
    """

    path: Path
    feature_size: int
    ids: Sequence[str]
    frame_counts: npt.NDArray[np.int64]
    stored_type: np.dtype[Any]
    unit: Unit
    attribute_names: tuple[str, ...]
    simulated: bool
    notes: Mapping[str, str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Any = None
        self._handle_process = -1

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_handle_process": -1}

    @property
    def where(self) -> str:
        """The file, as messages name it."""
        return str(self.path)

    def features(self, index: int) -> npt.NDArray[np.float32]:
        """Reads the features of one clip.

        Whole numbers are converted as they stand: 255 becomes 255.0, nothing is scaled.

        Returns:
            float32 [T, F], finite.

        Raises:
            DataError: the file cannot be read, the clip has another width than the corpus, or a value is NaN
                or infinite; names file, clip, frame and column.
        """
        stored = self._stored(index)
        if stored.dtype == np.float16:
            # Native byte order first: a file from elsewhere may have the other one.
            out = np.take(_FLOAT_OF_HALF, stored.astype(np.float16, copy=False).view(np.uint16))
        else:
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which is reported below
                out = stored.astype(np.float32, copy=False)
        if not np.isfinite(out).all():
            frame, column = (int(place) for place in np.argwhere(~np.isfinite(out))[0])
            kind = "NaN" if np.isnan(out[frame, column]) else "infinite"
            raise DataError(
                f"{self.path}: clip {self.ids[index]!r}: {kind} feature at frame {frame}, column {column}; "
                "extract the clip again or leave it out"
            )
        return out

    @abstractmethod
    def transcript(self, index: int) -> tuple[str, ...]:
        """Tokens of one clip, at least one unless the corpus was opened for less."""

    def has_transcript(self, index: int) -> bool:
        """Whether a clip has a transcript; all have unless the corpus was opened for less."""
        return True

    def attribute(self, name: str, index: int) -> str:
        """One attribute, such as the speaker, of one clip.

        Raises:
            DataError: no clip has it, or this one lacks it.
        """
        if name not in self.attribute_names:
            have = ", ".join(self.attribute_names) or "none"
            raise DataError(f"{self.path}: clips have no attribute {name!r}; they have: {have}")
        value = self._attribute(name, index)
        if not value:
            raise DataError(f"{self.path}: clip {self.ids[index]!r} has no attribute {name!r}; add it to the clip")
        return value

    def attributes(self, index: int) -> dict[str, str]:
        """All attributes of one clip; "" for one that it lacks."""
        return {name: self._attribute(name, index) for name in self.attribute_names}

    @abstractmethod
    def alphabet(self) -> Alphabet | None:
        """The alphabet that the file holds, or None where it holds none for this unit."""

    def fingerprint(self) -> str:
        """A cheap hash of the content, stable between machines, for provenance and for checks on resuming.

        It covers ids, frame counts, feature width and stored type, transcripts, the file's size in bytes and
        the features of a few clips spread over the file. It does not cover attributes, the path, or the
        features of the other clips.

        Returns:
            64 hexadecimal digits (SHA-256).
        """
        digest = hashlib.sha256(f"{len(self)} {self.feature_size} {self.stored_type} {self.unit}".encode())
        digest.update(str(self.path.stat().st_size).encode())
        digest.update(self.frame_counts.astype("<i8").tobytes())
        for index, clip in enumerate(self.ids):
            digest.update("\x1f".join((clip, *self.transcript(index))).encode() + b"\x1e")
        for index in np.unique(np.linspace(0, len(self) - 1, _FINGERPRINT_CLIPS).astype(int)):
            digest.update(self._stored(int(index)).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Closes this process's handle; the next read opens it again."""
        if self._handle is not None and self._handle_process == os.getpid():
            self._handle.close()
        self._handle = None

    def _stored(self, index: int) -> npt.NDArray[Any]:
        try:
            stored = self._read(self._file(), index)
        except (OSError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.path}: clip {self.ids[index]!r} cannot be read ({reason}); the file is damaged or "
                "has changed since it was opened"
            ) from error
        if stored.shape != (self.frame_counts[index], self.feature_size):
            raise DataError(
                f"{self.path}: clip {self.ids[index]!r}: features have shape {list(stored.shape)}, expected "
                f"[{self.frame_counts[index]}, {self.feature_size}]; the file has changed since it was opened"
            )
        return stored

    def _file(self) -> Any:
        # A handle from before a fork belongs to the parent: it is dropped here, never closed.
        if self._handle is None or self._handle_process != os.getpid():
            self._handle = _open(self.path)
            self._handle_process = os.getpid()
        return self._handle

    @abstractmethod
    def _read(self, file: Any, index: int) -> npt.NDArray[Any]:
        """Stored features of one clip, as they are."""

    @abstractmethod
    def _attribute(self, name: str, index: int) -> str:
        """Value of a known attribute, "" where the clip lacks it."""


class PackedCorpus(Corpus):
    """A corpus in ctckit's own format, see `ctckit.data.schema`."""

    def __init__(self, path: Path, index: PackedIndex, unit: Unit | None) -> None:
        super().__init__(path)
        self._index = index
        self.feature_size = index.feature_size
        self.ids = index.ids
        self.frame_counts = np.diff(index.offsets)
        self.stored_type = index.stored_type
        self.unit = unit or index.unit
        self.attribute_names = tuple(index.attributes)
        self.simulated = index.simulated
        self.notes = index.notes

    def transcript(self, index: int) -> tuple[str, ...]:
        """Tokens of one clip, cut anew where another unit than the file's was asked for."""
        start, stop = self._index.target_offsets[index : index + 2]
        tokens = self._index.alphabet.decode(self._index.targets[start:stop])
        if self.unit == self._index.unit:
            return tokens
        return tokenize((" " if self._index.unit == "word" else "").join(tokens), self.unit)

    def alphabet(self) -> Alphabet | None:
        """The stored alphabet; None where another unit than the file's was asked for."""
        return self._index.alphabet if self.unit == self._index.unit else None

    def _read(self, file: Any, index: int) -> npt.NDArray[Any]:
        start, stop = self._index.offsets[index : index + 2]
        return cast("npt.NDArray[Any]", file["features"][start:stop])

    def _attribute(self, name: str, index: int) -> str:
        return self._index.attributes[name][index]


class GroupedCorpus(Corpus):
    """A corpus with one HDF5 group a clip: a dataset of features, attributes for the rest.

    Groups may be nested; the id of a clip is its path in the file. The transcript is an attribute or a
    dataset of the group, either one text or an array of tokens.
    """

    def __init__(
        self,
        path: Path,
        file: Any,
        unit: Unit | None,
        features_key: str,
        transcript_key: str,
        transcripts: Transcripts,
        refuse: Callable[[DataError], None],
    ) -> None:
        super().__init__(path)
        self.unit = unit or "word"
        self.simulated = bool(file.attrs.get("simulated", False))
        self.notes = {name: _plain(value) for name, value in file.attrs.items()}
        self._features_key = features_key
        ids: list[str] = []
        counts: list[int] = []
        found: list[tuple[str, ...] | None] = []
        attributes: list[dict[str, str]] = []
        types: set[np.dtype[Any]] = set()
        self.feature_size = 0
        for clip, group in _clips(file, path, features_key, refuse):
            where = f"{path}: clip {clip!r}"
            try:
                dataset = _dataset(group[features_key], features_key, where)
                frames, width = dataset.shape
                if ids and width != self.feature_size:
                    turned = (
                        f"; all have {frames} rows, so they look transposed, [F, T]: store them as [T, F]"
                        if {*counts, frames} == {frames}
                        else ""
                    )
                    raise DataError(
                        f"{where}: features are {width} wide, but those of {ids[0]!r} are {self.feature_size}; "
                        f"all clips of a corpus need the same width{turned}"
                    )
                transcript = _transcript(group, where, transcript_key, self.unit, transcripts)
            except DataError as error:
                refuse(error)
                continue
            self.feature_size = int(width)
            ids.append(clip)
            types.add(dataset.dtype)
            counts.append(int(frames))
            found.append(transcript)
            attributes.append({k: _plain(v) for k, v in group.attrs.items() if k != transcript_key})
        if not ids:
            raise DataError(f"{path}: no clip is left; see what is said of each")
        self.ids = tuple(ids)
        self.frame_counts = np.array(counts, dtype=np.int64)
        self.stored_type = np.result_type(*types)
        self.attribute_names = tuple(sorted({name for one in attributes for name in one}))
        self._transcripts = tuple(found)
        self._attributes = tuple(attributes)

    def transcript(self, index: int) -> tuple[str, ...]:
        """Tokens of one clip; none where it has no transcript."""
        return self._transcripts[index] or ()

    def has_transcript(self, index: int) -> bool:
        """Whether the clip's group has the transcript's key."""
        return self._transcripts[index] is not None

    def alphabet(self) -> Alphabet | None:
        """None: such a file holds no alphabet."""
        return None

    def _read(self, file: Any, index: int) -> npt.NDArray[Any]:
        return cast("npt.NDArray[Any]", file[f"{self.ids[index]}/{self._features_key}"][()])

    def _attribute(self, name: str, index: int) -> str:
        return self._attributes[index].get(name, "")


def open_corpus(
    path: Path,
    *,
    unit: Unit | None = None,
    features_key: str = "features",
    transcript_key: str = "transcript",
    transcripts: Transcripts = "needed",
    refused: list[DataError] | None = None,
) -> Corpus:
    """Opens a corpus file, in ctckit's own format or with one HDF5 group a clip.

    Everything but the features is read and checked here.

    Args:
        path: the file.
        unit: what a token is; None takes what the file says, or words where it says nothing. A corpus of
            words can be opened by characters (the space is one) and the other way round.
        features_key: name of the features dataset in each group.
        transcript_key: name of the transcript attribute or dataset in each group.
        transcripts: what each clip must have. ``needed``: a transcript with a token, as training does. ``any``: a
            transcript, which may be empty, as silence is when a model is scored. ``optional``: nothing. A packed
            file always has all of them.
        refused: gets what is wrong with each clip that cannot be trained on, which is then left out; None lets the
            first such clip end the opening. A packed file was checked when it was written, and always ends it.

    Raises:
        DataError: in one line, what is wrong with the file and what to do.
    """
    path = Path(path)

    def refuse(error: DataError) -> None:
        if refused is None:
            raise error
        refused.append(error)

    with _open(path) as file:
        try:
            if is_packed(file):
                return PackedCorpus(path, read_index(file, path), unit)
            return GroupedCorpus(path, file, unit, features_key, transcript_key, transcripts, refuse)
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path}: damaged HDF5 file ({reason}); copy or create it again") from error


def tokenize(text: str, unit: Unit) -> tuple[str, ...]:
    """Cuts a text into words at white space, or into characters with single spaces between words."""
    words = text.split()
    return tuple(words) if unit == "word" else tuple(" ".join(words))


def _open(path: Path) -> Any:
    if not path.exists():
        near = _neighbours(path)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise DataError(f"{path}: no such file{hint}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected an HDF5 file; make one with `ctckit data import`")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = " ".join(str(error).split())
        if "signature not found" in reason:
            what = f"not an HDF5 file ({path.stat().st_size} bytes); make one with `ctckit data import`"
        elif "unable to lock" in reason:
            what = (
                "another program has it open for writing; wait until that closes it, or set "
                "HDF5_USE_FILE_LOCKING=FALSE where it only seems so"
            )
        elif "truncated" in reason:
            what = f"truncated HDF5 file ({reason}); copy or create it again"
        else:
            what = f"cannot be opened ({reason}); check that it is complete and readable"
        raise DataError(f"{path}: {what}") from error


def _neighbours(path: Path) -> str | None:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:  # the folder is missing too: the message about the file says enough
        return None
    near = difflib.get_close_matches(path.name, names, n=1)
    return near[0] if near else None


def _clips(
    file: Any, path: Path, features_key: str, refuse: Callable[[DataError], None]
) -> Iterator[tuple[str, Any]]:
    """Yields (id, group) of each clip, depth first in the order of names."""
    if not len(file):
        raise DataError(f"{path}: the file is empty, it holds no clips")
    datasets = [name for name in _names(file, path) if isinstance(file.get(name), h5py.Dataset)]
    if datasets:
        shown = ", ".join(f"{name} {_kind(file[name])}" for name in datasets[:6])
        raise DataError(
            f"{path}: unknown layout: datasets at the top level ({shown}); expected a file with the "
            "attribute "
            f"format={FORMAT!r}, or one group a clip that holds {features_key!r}"
        )
    splits = [name for name in _names(file, path) if name.casefold() in SPLITS]
    if len(splits) > 1 and not any(features_key in file[name] for name in splits):
        raise DataError(
            f"{path}: holds {', '.join(splits)} side by side, which are corpora of their own; write each into "
            f"a file of its own (h5copy -i {path.name} -o {splits[0]}.h5 -s {splits[0]} -d {splits[0]})"
        )
    yield from _walk(file, "", path, features_key, refuse)


def _names(group: Any, path: Path) -> list[str]:
    """Sorted names of what a group holds; h5py gives those that are no UTF-8 as bytes."""
    names = list(group)
    odd = [name for name in names if isinstance(name, bytes)]
    if odd:
        raise DataError(f"{path}: the name {odd[0]!r} in {group.name!r} is not UTF-8; rename it")
    return sorted(names)


def _holds_clips(item: Any, features_key: str) -> bool:
    """Whether a group is a clip, or one of those below it is."""
    if not isinstance(item, h5py.Group):
        return False
    return features_key in item or any(_holds_clips(item.get(child), features_key) for child in item)


def _walk(
    group: Any,
    prefix: str,
    path: Path,
    features_key: str,
    refuse: Callable[[DataError], None],
    only: Sequence[str] | None = None,
) -> Iterator[tuple[str, Any]]:
    for name in _names(group, path) if only is None else only:
        clip = f"{prefix}{name}"
        item = group.get(name)
        if not isinstance(item, h5py.Group):
            refuse(DataError(f"{path}: {clip!r}: {_kind(item)} where a group was expected"))
            continue
        children = _names(item, path)
        if features_key in children:
            yield clip, item
            # an id may be the beginning of another; groups without features are the clip's own affair
            below = [child for child in children if _holds_clips(item.get(child), features_key)]
            yield from _walk(item, f"{clip}/", path, features_key, refuse, below)
        elif children and all(isinstance(item.get(child), h5py.Group) for child in children):
            yield from _walk(item, f"{clip}/", path, features_key, refuse)
        else:
            there = ", ".join(sorted([*children, *item.attrs])) or "nothing"
            refuse(
                DataError(
                    f"{path}: clip {clip!r}: no dataset {features_key!r}; there is: {there} (name the right one "
                    "with --features-key)"
                )
            )


def _dataset(item: Any, key: str, where: str) -> Any:
    if not isinstance(item, h5py.Dataset) or item.ndim != 2 or item.dtype.kind not in "fiub":
        signal = isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.kind in "fiub"
        advice = "; store a signal as [T, 1]" if signal else ""
        raise DataError(f"{where}: {key!r} must be numbers of shape [T, F], found {_kind(item)}{advice}")
    properties = item.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code = properties.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise DataError(
                f"{where}: {key!r} is compressed with filter {code}, which this HDF5 lacks; install and import its "
                "plugin (hdf5plugin; vbz of nanopore files has its own), or store it with gzip"
            )
    if 0 in item.shape:
        raise DataError(f"{where}: features are empty, shape {list(item.shape)}; leave the clip out")
    return item


def _transcript(group: Any, where: str, key: str, unit: Unit, needed: Transcripts) -> tuple[str, ...] | None:
    if key in group.attrs:
        value = group.attrs[key]
    elif key in group and isinstance(group[key], h5py.Dataset):
        value = group[key][()]
    elif needed == "optional":
        return None
    else:
        there = ", ".join(sorted([*group, *group.attrs])) or "nothing"
        raise DataError(
            f"{where}: no attribute or dataset {key!r}; there is: {there} (name the right one with "
            "--transcript-key)"
        )
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU":
        raise DataError(f"{where}: transcript is {value.dtype}, expected text; store the words, not class numbers")
    text = text_of(value, f"{where}: {key!r}")
    if text is None and needed == "optional":
        return None
    if text is None:
        raise DataError(f"{where}: empty transcript, {key!r} is NaN or null; complete it or leave the clip out")
    tokens = tokenize(text, unit)
    if not tokens and needed == "needed":
        raise DataError(f"{where}: empty transcript; complete it or leave the clip out")
    if BLANK_TOKEN in tokens:
        raise DataError(f"{where}: transcript holds {BLANK_TOKEN!r}, which is reserved for the blank; take it out")
    return tokens


def _plain(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _kind(item: Any) -> str:
    if isinstance(item, h5py.Dataset):
        return f"{item.dtype} {list(item.shape)}"
    return "a group" if isinstance(item, h5py.Group) else "a broken link"
