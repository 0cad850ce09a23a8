"""Corpora that lie in HDF5 files, read clip by clip."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import h5py
import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import BLANK_TOKEN, Alphabet
from ctckit.data.contents import Contents
from ctckit.data.groups import FoundClip, find_clips
from ctckit.data.hdf5 import (
    FAULTS,
    describe_item,
    open_file,
    plain_numbers,
    reading,
    require_whole,
)
from ctckit.data.schema import (
    SPEAKERS,
    PackedIndex,
    Unit,
    attribute_text,
    is_packed,
    read_index,
    text_of,
    transposed,
)
from ctckit.errors import ClipError, DataError, reason_of

Transcripts = Literal["needed", "any", "optional"]
"""What `open_corpus` asks of the transcript of each clip."""

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
        contents: groups and datasets of the file, seen against used.
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
    contents: Contents

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
            raise ClipError(
                str(self.path),
                self.ids[index],
                f"{kind} feature at frame {frame}, column {column}; extract the clip again or leave it out",
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

    def speakers(self) -> dict[str, str]:
        """Who speaks or signs in each clip, by its id; clips without a `SPEAKERS` attribute are left out."""
        for name in self.attribute_names:
            if name.casefold() in SPEAKERS:
                named = ((clip, self._attribute(name, index)) for index, clip in enumerate(self.ids))
                return {clip: speaker for clip, speaker in named if speaker}
        return {}

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
        except FAULTS as error:
            raise ClipError(
                str(self.path),
                self.ids[index],
                f"cannot be read ({reason_of(error)}); the file is damaged or has changed since it was opened",
            ) from error
        if stored.shape != (self.frame_counts[index], self.feature_size):
            raise ClipError(
                str(self.path),
                self.ids[index],
                f"features have shape {list(stored.shape)}, expected [{self.frame_counts[index]}, "
                f"{self.feature_size}]; the file has changed since it was opened",
            )
        return stored

    def _file(self) -> Any:
        # A handle from before a fork belongs to the parent: it is dropped here, never closed.
        if self._handle is None or self._handle_process != os.getpid():
            self._handle = open_file(self.path)
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
        self.contents = index.contents

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
        self.notes = {name: attribute_text(value, f"{path}: {name!r}") or "" for name, value in file.attrs.items()}
        self._features_key = features_key
        self.feature_size = 0
        found = find_clips(file, path, features_key, transcript_key, refuse)
        reader = _GroupReader(file, path, features_key, transcript_key, self.unit, transcripts)
        read: list[_ReadClip] = []
        for clip in found.clips:
            try:
                one = reader.read(clip)
                self._check_width(one, read)
            except DataError as error:
                refuse(error)
                continue
            self.feature_size = one.width
            read.append(one)
        if not read:
            raise DataError(f"{path}: no clip is left; see what is said of each")
        self.ids = tuple(one.clip_id for one in read)
        self.frame_counts = np.array([one.frames for one in read], dtype=np.int64)
        self.stored_type = np.result_type(*{one.dtype for one in read})
        self.attribute_names = tuple(sorted({name for one in read for name in one.attributes}))
        self.contents = found.contents(
            list(self.ids),
            {address for one in read for address in one.addresses},
            Counter(name for one in read for name in one.besides),
        )
        self._transcripts = tuple(one.transcript for one in read)
        self._attributes = tuple(one.attributes for one in read)

    def _check_width(self, one: _ReadClip, read: Sequence[_ReadClip]) -> None:
        if not read or one.width == self.feature_size:
            return
        turned = transposed({one.frames, *(other.frames for other in read)})
        raise ClipError(
            str(self.path),
            one.clip_id,
            f"features are {one.width} wide, but those of {read[0].clip_id!r} are {self.feature_size}; all clips "
            f"of a corpus need the same width{turned}",
        )

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
        refused: gets all that is wrong with each clip that cannot be trained on, which is then left out; None lets
            the first such clip end the opening. A packed file was checked when it was written, and always ends it.

    Raises:
        DataError: in one line, what is wrong with the file and what to do.
    """
    path = Path(path)

    def refuse(error: DataError) -> None:
        if refused is None:
            raise error
        refused.append(error)

    with open_file(path) as file:
        try:
            if is_packed(file):
                return PackedCorpus(path, read_index(file, path), unit)
            return GroupedCorpus(path, file, unit, features_key, transcript_key, transcripts, refuse)
        except FAULTS as error:
            raise DataError(f"{path}: damaged HDF5 file ({reason_of(error)}); copy or create it again") from error


def tokenize(text: str, unit: Unit) -> tuple[str, ...]:
    """Cuts a text into words at white space, or into characters with single spaces between words."""
    words = text.split()
    return tuple(words) if unit == "word" else tuple(" ".join(words))


@dataclass(frozen=True, slots=True)
class _ReadClip:
    """One group of a file, read but for the features."""

    clip_id: str
    frames: int
    width: int
    dtype: np.dtype[Any]
    transcript: tuple[str, ...] | None
    attributes: dict[str, str]
    addresses: tuple[int, ...]
    besides: tuple[str, ...]


class _GroupReader:
    """Reads the groups that are clips, each with all that is wrong with it."""

    def __init__(
        self, file: Any, path: Path, features_key: str, transcript_key: str, unit: Unit, transcripts: Transcripts
    ) -> None:
        self._file, self._path = file, path
        self._features_key, self._transcript_key = features_key, transcript_key
        self._unit, self._needed = unit, transcripts
        self._owners: dict[int, str] = {}

    def read(self, clip: FoundClip) -> _ReadClip:
        """Read one.

        Raises:
            ClipError: with all its faults.
        """
        faults: list[str] = []
        group = dataset = None
        with _noting(faults):
            group = self._file[clip.clip_id]
        if group is None:
            raise ClipError(str(self._path), clip.clip_id, *faults)
        with _noting(faults):
            dataset = self._features(clip, group)
        values: dict[str, Any] = {}
        with _noting(faults):
            # one after another in h5py takes longer than all the rest of a clip, so it is asked only where some are
            for name in group.attrs if clip.attributes else ():
                with reading(f"attribute {name!r}", "write it again"):
                    values[name] = group.attrs[name]
        addresses = [clip.features.address]
        besides: list[str] = []
        transcript = None
        with _noting(faults):
            transcript = self._transcript(clip, group, values, addresses, besides)
        attributes: dict[str, str] = {}
        for name, value in values.items():
            if name == self._transcript_key:
                continue
            with _noting(faults):
                text = attribute_text(value, f"attribute {name!r}")
                if text is None:
                    besides.append(f"attribute {name!r}")
                else:
                    attributes[name] = text
        if faults or dataset is None:
            raise ClipError(str(self._path), clip.clip_id, *faults)
        if h5py.h5a.get_num_attrs(dataset.id):
            besides.append(f"attributes of {self._features_key!r}")
        frames, width = dataset.shape
        return _ReadClip(
            clip.clip_id,
            int(frames),
            int(width),
            dataset.dtype,
            transcript,
            attributes,
            tuple(addresses),
            tuple(besides),
        )

    def _features(self, clip: FoundClip, group: Any) -> Any:
        key, link = self._features_key, clip.features
        if link.kind in ("outside", "broken"):
            raise DataError(f"{key!r} is {link}")
        owner = self._owners.setdefault(link.address, clip.clip_id)
        if owner != clip.clip_id:
            raise DataError(
                f"its {key!r} are those of clip {owner!r} under another name; leave one of the clips out"
            )
        with reading(repr(key), "the file is damaged, copy or create it again"):
            item = group[key]
            if not plain_numbers(item) or item.ndim != 2:
                advice = "; store a signal as [T, 1]" if plain_numbers(item) and item.ndim == 1 else ""
                raise DataError(f"{key!r} must be numbers of shape [T, F], found {describe_item(item)}{advice}")
            if 0 in item.shape:
                raise DataError(f"features are empty, shape {list(item.shape)}; leave the clip out")
            _whole(item, key)
        return item

    def _transcript(
        self, clip: FoundClip, group: Any, values: Mapping[str, Any], addresses: list[int], besides: list[str]
    ) -> tuple[str, ...] | None:
        key = self._transcript_key
        link = clip.transcript
        if key in values:
            value = values[key]
            if link is not None:
                besides.append(key)
        elif link is not None:
            if link.kind != "dataset":
                raise DataError(f"{key!r} is {link}, expected text")
            with reading(repr(key), "the file is damaged, copy or create it again"):
                item = group[key]
                if item.shape is not None:
                    _whole(item, key)
                value = item[()]
            addresses.append(link.address)
        elif self._needed == "optional":
            return None
        else:
            there = ", ".join(sorted([*clip.names, *values])) or "nothing"
            raise DataError(
                f"no attribute or dataset {key!r}; there is: {there} (name the right one with --transcript-key)"
            )
        if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU":
            raise DataError(f"transcript is {value.dtype}, expected text; store the words, not class numbers")
        text = text_of(value, repr(key))
        if text is None and self._needed == "optional":
            return None
        if text is None:
            raise DataError(f"empty transcript, {key!r} is NaN or null; complete it or leave the clip out")
        tokens = tokenize(text, self._unit)
        if not tokens and self._needed == "needed":
            raise DataError("empty transcript; complete it or leave the clip out")
        if BLANK_TOKEN in tokens:
            raise DataError(f"transcript holds {BLANK_TOKEN!r}, which is reserved for the blank; take it out")
        return tokens


@contextmanager
def _noting(faults: list[str]) -> Iterator[None]:
    """Keep what is wrong and go on, so that one fault of a clip hides no other."""
    try:
        with reading("the group", "the file is damaged, copy or create it again"):
            yield
    except DataError as error:
        faults.append(str(error))


def _whole(item: Any, key: str) -> None:
    try:
        require_whole(item)
    except DataError as error:
        raise DataError(f"{key!r} {error}") from None
