"""Writes corpus files: streaming, in constant memory, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.schema import FORMAT, NOTE_PREFIX, VERSION, Unit
from ctckit.data.storable import path_fault, text_fault, token_fault
from ctckit.errors import DataError, reason_of
from ctckit.types import BLANK

FeatureType = Literal["float16", "float32"]

_CHUNK_BYTES: Final = 1 << 22
"""Rows are stored in chunks of about this size; larger than HDF5's cache, so reads copy just the rows asked
for."""


class CorpusWriter:
    """Writes one corpus file, clip by clip; a context manager.

    Features go to disk as they come; only ids, targets and attributes are kept in memory. Everything is
    written under a temporary name beside `path`, synced and renamed at the end; if anything fails, nothing
    stays behind and an older file of that name is untouched.

    Args:
        path: the file to make.
        feature_size: F.
        alphabet: the labels; None collects those of the transcripts, sorted.
        unit: what a token is.
        dtype: how features are stored. float16 halves the file and keeps three decimal digits.
        simulated: marks the features as simulated.
        notes: free text about the corpus, such as its source.
        overwrite: replace an existing file.

    Raises:
        DataError: the folder is missing or cannot be written, the file exists, or what is given could not be read
            back as it is.
    """

    def __init__(
        self,
        path: Path,
        feature_size: int,
        *,
        alphabet: Alphabet | None = None,
        unit: Unit = "word",
        dtype: FeatureType = "float16",
        simulated: bool = False,
        notes: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.feature_size = feature_size
        self._check_options(unit, dtype, alphabet, notes or {})
        self._unit = unit
        self._alphabet = alphabet
        self._dtype = np.dtype(dtype)
        self._limit = float(np.finfo(self._dtype).max)
        self._ids: dict[str, None] = {}
        self._offsets = [0]
        self._target_offsets = [0]
        self._targets: list[npt.NDArray[np.int64]] = []
        # Without an alphabet, tokens get provisional classes in order of appearance, renumbered at the end.
        self._seen: dict[str, int] = {}
        self._attributes: list[dict[str, str]] = []
        self._file: Any = None
        if self.path.is_dir():
            raise DataError(f"{self.path}: is a folder; name a file to write")
        if self.path.exists() and not overwrite:
            raise DataError(f"{self.path}: exists already; choose another name or overwrite it (--force)")
        if not self.path.parent.is_dir():
            raise DataError(f"{self.path}: the folder {self.path.parent} does not exist; create it first")
        self._temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:12]}.partial")
        try:
            self._sink = _Sink(self._temporary)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror}); choose another folder") from error
        with self._discarding("cannot be written"):
            self._file = h5py.File(self._sink, "w")
            attrs = self._file.attrs
            attrs["format"], attrs["version"], attrs["unit"], attrs["simulated"] = (
                FORMAT,
                VERSION,
                unit,
                simulated,
            )
            for name, text in (notes or {}).items():
                attrs[f"{NOTE_PREFIX}{name}"] = text
        rows = max(1, _CHUNK_BYTES // (feature_size * self._dtype.itemsize))
        self._buffer = np.empty((rows, feature_size), self._dtype)
        self._buffered = 0

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        else:
            self.prepare()
            self.publish()

    def __len__(self) -> int:
        return len(self._ids)

    def add(
        self,
        clip_id: str,
        features_TF: npt.NDArray[Any],
        tokens: Sequence[str],
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Appends one clip.

        Args:
            clip_id: unique.
            features_TF: numbers [T, F], finite; converted as they stand, never scaled.
            tokens: its transcript.
            attributes: such as speaker.

        Raises:
            DataError: the clip cannot be stored as it is, or the disk is full; names file and clip.
        """
        where = f"{self.path}: clip {clip_id!r}"
        if not clip_id or clip_id in self._ids:
            raise DataError(f"{where}: {'given twice' if clip_id else 'the id is empty'}; ids must be unique")
        fault = text_fault(clip_id) or path_fault(clip_id)
        if fault:
            raise DataError(f"{where}: the id {fault}; rename the clip")
        for token in tokens:
            fault = token_fault(token, self._unit)
            if fault:
                raise DataError(f"{where}: token {token!r} {fault}; correct the transcript")
        for name, value in (attributes or {}).items():
            fault = text_fault(name) or ("holds '/'" if "/" in name else path_fault(name))
            if fault:
                raise DataError(f"{where}: the attribute's name {name!r} {fault}; rename it")
            fault = text_fault(value)
            if fault:
                raise DataError(f"{where}: attribute {name!r}, {value!r}, {fault}; correct it")
        if not isinstance(features_TF, np.ndarray):
            raise DataError(f"{where}: features are {type(features_TF).__name__}, expected an array [T, F]")
        if features_TF.ndim != 2 or features_TF.shape[1] != self.feature_size or not len(features_TF):
            raise DataError(
                f"{where}: features have shape {list(features_TF.shape)}, expected [T, {self.feature_size}] "
                "with at least one frame"
            )
        if features_TF.dtype.kind not in "fiub":
            raise DataError(f"{where}: features are {features_TF.dtype}, expected numbers")
        # NaN fails these comparisons as well; the magnitude of the least integer is no integer of its type
        if not ((features_TF <= self._limit) & (features_TF >= -self._limit)).all():
            raise DataError(f"{where}: {self._explain(features_TF)}")
        if not tokens:
            raise DataError(f"{where}: empty transcript; complete it or leave the clip out")
        targets = self._encode(tokens, where)
        with self._discarding("writing failed"):
            self._store(features_TF)
            self._sink.check()
        self._ids[clip_id] = None
        self._offsets.append(self._offsets[-1] + len(features_TF))
        self._targets.append(targets)
        self._target_offsets.append(self._target_offsets[-1] + len(targets))
        self._attributes.append(dict(attributes or {}))

    def prepare(self) -> None:
        """Completes and syncs the file under its temporary name.

        Raises:
            DataError: there are no clips, or the disk is full.
        """
        if not self._ids:
            self.discard()
            raise DataError(f"{self.path}: no clips to write; nothing was written")
        targets = np.concatenate(self._targets)
        alphabet = self._alphabet
        if alphabet is None:
            try:
                alphabet = Alphabet(sorted(self._seen))
            except DataError as error:
                self.discard()
                raise DataError(f"{self.path}: {error}") from error
            targets = np.array([0, *alphabet.encode(tuple(self._seen), str(self.path))])[targets]
        names = sorted({name for one in self._attributes for name in one})
        with self._discarding("writing failed"):
            self._flush()
            text = h5py.string_dtype("utf-8")
            self._file["offsets"] = np.array(self._offsets, dtype=np.int64)
            self._file.create_dataset("ids", data=list(self._ids), dtype=text)
            self._file.create_dataset("alphabet", data=list(alphabet.tokens), dtype=text)
            self._file["targets"] = targets.astype(np.int32)
            self._file["target_offsets"] = np.array(self._target_offsets, dtype=np.int64)
            group = self._file.create_group("attributes")
            for name in names:
                group.create_dataset(name, data=[one.get(name, "") for one in self._attributes], dtype=text)
            self._file.close()
            self._sink.check()
            self._sink.sync()
            self._sink.close()

    def publish(self) -> None:
        """Gives the prepared file its name."""
        with self._discarding("cannot be renamed"):
            self._temporary.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Removes what was written so far."""
        if self._file is not None:
            # The failure that led here is what the user needs to hear, not that closing fails for the same
            # reason.
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                self._file.close()
        self._sink.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _check_options(self, unit: str, dtype: str, alphabet: Alphabet | None, notes: Mapping[str, str]) -> None:
        if self.feature_size < 1:
            raise DataError(f"{self.path}: features are {self.feature_size} wide; expected at least one column")
        if unit not in get_args(Unit):
            raise DataError(f"{self.path}: unknown unit {unit!r}; a corpus file says 'word' or 'character'")
        if dtype not in get_args(FeatureType):
            raise DataError(f"{self.path}: features are stored as float16 or float32, not {dtype!r}")
        for label in alphabet.labels if alphabet is not None else ():
            fault = token_fault(label, unit)
            if fault:
                raise DataError(f"{self.path}: label {label!r} of the alphabet {fault}; correct it")
        for name, text in notes.items():
            fault = text_fault(name) or text_fault(text)
            if fault:
                raise DataError(f"{self.path}: note {name!r}, {text!r}, {fault}; correct it")

    def _encode(self, tokens: Sequence[str], where: str) -> npt.NDArray[np.int64]:
        if self._alphabet is not None:
            return self._alphabet.encode(tokens, where)
        classes = [self._seen.setdefault(token, len(self._seen) + BLANK + 1) for token in tokens]
        return np.array(classes, dtype=np.int64)

    def _explain(self, features_TF: npt.NDArray[Any]) -> str:
        fits = (features_TF <= self._limit) & (features_TF >= -self._limit)
        frame, column = (int(number) for number in np.argwhere(~fits)[0])
        value = features_TF[frame, column]
        if np.isfinite(value):
            place = f"at frame {frame}, column {column}"
            return f"value {value} {place} does not fit {self._dtype}; use float32 (--dtype)"
        kind = "NaN" if np.isnan(value) else "infinite"
        return f"{kind} feature at frame {frame}, column {column}; extract the clip again or leave it out"

    def _store(self, features_TF: npt.NDArray[Any]) -> None:
        # Whole chunks are written at once: HDF5 would otherwise read each of them back to complete it.
        done = 0
        while done < len(features_TF):
            take = min(len(features_TF) - done, len(self._buffer) - self._buffered)
            self._buffer[self._buffered : self._buffered + take] = features_TF[done : done + take]
            self._buffered += take
            done += take
            if self._buffered == len(self._buffer):
                self._flush()

    def _flush(self) -> None:
        new = self._buffer[: self._buffered]
        if "features" not in self._file:
            # A corpus that ends within its first chunk is stored without chunks, in just the space that it
            # needs.
            whole = self._buffered == len(self._buffer)
            shape = {"maxshape": (None, self.feature_size), "chunks": self._buffer.shape} if whole else {}
            self._file.create_dataset("features", data=new, **shape)
        elif self._buffered:
            features = self._file["features"]
            rows = len(features)
            features.resize(rows + self._buffered, axis=0)
            features[rows:] = new
        self._buffered = 0

    @contextlib.contextmanager
    def _discarding(self, what: str) -> Iterator[None]:
        """Removes the temporary file on any failure; those of the system become a DataError."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            self.discard()
            reason = reason_of(error)
            raise DataError(f"{self.path}: {what} ({reason}); free space or choose another folder") from error
        except BaseException:
            self.discard()
            raise


class _Sink:
    """The file below HDF5, which shows HDF5 no errors.

    The HDF5 library cannot close a file that it cannot write: on a full disk it fails again for every object that
    is still open, and may crash the process. So the first error is kept for `check`, and what is written from then
    on is kept in memory, where HDF5 finds it again until the file is closed. That is little: the writer checks
    after every clip.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("x+b", buffering=0)
        self._error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []
        self._position = 0
        self._size = 0

    def check(self) -> None:
        """Raises the first error there was."""
        if self._error is not None:
            raise self._error

    def sync(self) -> None:
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()
        self._kept.clear()

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        if self._error is None:
            try:
                self._stream.seek(self._position)
                while len(rest):
                    rest = rest[self._stream.write(rest) :]
            except OSError as error:
                self._error = error
        if len(rest):
            self._kept.append((self._position + size - len(rest), bytes(rest)))
        self._position += size
        self._size = max(self._size, self._position)
        return size

    def truncate(self, size: int) -> int:
        self._size = size
        if self._error is None:
            try:
                self._stream.truncate(size)
            except OSError as error:
                self._error = error
        return size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, size = self._position, len(view)
        self._stream.seek(start)
        done = 0
        while done < size and (more := self._stream.readinto(view[done:])):
            done += more
        view[done:] = bytes(size - done)
        for place, data in self._kept:
            first, last = max(start, place), min(start + size, place + len(data))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        self._position += size
        return size

    def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        self.readinto(buffer)
        return bytes(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is buffered here."""
