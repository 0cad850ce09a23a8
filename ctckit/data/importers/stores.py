"""Where features of clips lie, and how a manifest's clip finds its own."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import near_misses
from ctckit.data.schema import transposed
from ctckit.errors import DataError, reason_of

RECORDINGS = frozenset(
    {
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".opus",
        ".sph",
        ".m4a",
        ".aac",
        ".mp4",
        ".avi",
        ".mov",
        ".mkv",
        ".webm",
        ".png",
        ".jpg",
        ".jpeg",
        ".tif",
    }
)
"""Suffixes of what features are made from; an id may carry one."""

OTHER_ARRAYS = {
    ".npz": "is an archive: save each array of it by itself with np.save",
    ".pt": "is torch's: save each clip with np.save(path, tensor.numpy())",
    ".pth": "is torch's: save each clip with np.save(path, tensor.numpy())",
    ".pkl": "is a pickle, which can run code and is not read: save each clip with np.save",
    ".mat": "is Matlab's: save each clip with np.save(path, scipy.io.loadmat(file)[key])",
    ".png": "is an image: ctckit takes features, one array [T, F] a clip",
    ".jpg": "is an image: ctckit takes features, one array [T, F] a clip",
    ".wav": "is sound: ctckit takes features, one array [T, F] a clip",
    ".flac": "is sound: ctckit takes features, one array [T, F] a clip",
    ".mp4": "is a video: ctckit takes features, one array [T, F] a clip",
}
"""What people have in a folder where one .npy a clip is expected, and the way from there."""


class Features(Protocol):
    """Features of clips, each under a key."""

    name: str
    """Of the folder or file, for the notes of a corpus."""

    def find(self, clip_id: str, *, by_stem: bool) -> str | None:
        """Key of a clip's features; ``by_stem`` lets the last part of a path decide where it is the only one."""

    def lacks(self, clip_id: str) -> str:
        """What there is not, for a message: "has no file features/a.npy"."""

    def unlisted(self, used: set[str]) -> list[str]:
        """Keys that no clip uses, in order."""

    def place(self, key: str) -> str:
        """Where features lie, for a message."""

    def check(self, keys: Sequence[str]) -> tuple[int, set[np.dtype[Any]]]:
        """The common width F and the types, from as little as tells them."""

    def load(self, key: str) -> npt.NDArray[Any]:
        """Features [T, F] as they are stored."""


class ArrayFolder:
    """A folder of ``ID.npy`` arrays [T, F], searched to its depth; an id may contain ``/`` for folders within it.

    Args:
        folder: the folder.

    Raises:
        DataError: there is no such folder, it holds no array, or two files have one id.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; it should hold one .npy file a clip")
        self.folder = folder
        self.name = folder.name
        self.files: dict[str, Path] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in sorted(folder.rglob("*.npy")):
            key = unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
            if key in self.files:
                raise DataError(
                    f"{path}: {self.files[key]} has the same id {key!r} in another Unicode form; remove one of them"
                )
            self.files[key] = path
            self._by_stem.setdefault(PurePosixPath(key).name, []).append(key)
        if not self.files:
            raise DataError(f"{folder}: holds no .npy file; expected one a clip, [T, F]{_others(folder)}")

    def find(self, clip_id: str, *, by_stem: bool) -> str | None:
        """The file whose path ends as the id does, or the other way round; the longest such end decides.

        Raises:
            DataError: several files fit equally well.
        """
        if clip_id in self.files:
            return clip_id
        names = [clip_id]
        if PurePosixPath(clip_id).suffix.lower() in RECORDINGS:
            names.append(clip_id[: -len(PurePosixPath(clip_id).suffix)])
        for name in names:
            found = _best(name, self._by_stem.get(PurePosixPath(name).name, ()), by_stem)
            if len(found) > 1:
                shown = " and ".join(str(self.files[key]) for key in found[:2])
                raise DataError(f"{self.folder}: clip {clip_id!r} may be {shown}; write more of the path as its id")
            if found:
                return found[0]
        return None

    def lacks(self, clip_id: str) -> str:
        """The file that was looked for, and one that differs only in how it is written."""
        name = clip_id
        if PurePosixPath(clip_id).suffix.lower() in RECORDINGS:
            name = PurePosixPath(clip_id).stem
        twin = near_misses([name], self.files).get(name)
        hint = f", but {twin[0] + '.npy'!r}: {twin[1]}" if twin else ""
        return f"has no file {self.folder / (name.lstrip('/') + '.npy')}{hint}"

    def unlisted(self, used: set[str]) -> list[str]:
        """Files that no clip uses."""
        return sorted(set(self.files) - used)

    def place(self, key: str) -> str:
        """The file."""
        return str(self.files[key])

    def check(self, keys: Sequence[str]) -> tuple[int, set[np.dtype[Any]]]:
        """Looks at the headers alone.

        Raises:
            DataError: a file is no array, has another shape than [T, F], or another width than the first.
        """
        return common_width((self.place(key), self.load(key)) for key in keys)

    def load(self, key: str) -> npt.NDArray[Any]:
        """Maps one file.

        Raises:
            DataError: it is no array.
        """
        return load_array(self.files[key])


def _best(name: str, keys: Iterable[str], by_stem: bool) -> list[str]:
    """Those of several paths that share the longest end with a name, if an end of one is all of the other."""
    wanted = PurePosixPath(name.lstrip("/")).parts[::-1]
    shared: dict[str, int] = {}
    for key in keys:
        parts = PurePosixPath(key).parts[::-1]
        same = next((n for n, (a, b) in enumerate(zip(wanted, parts, strict=False)) if a != b), None)
        length = min(len(wanted), len(parts))
        if same is None or by_stem:
            shared[key] = length if same is None else same
    longest = max(shared.values(), default=0)
    return [key for key, length in shared.items() if length == longest]


def _others(folder: Path) -> str:
    """What is there in place of arrays, and the way from there."""
    counts = Counter(path.suffix.lower() for path in folder.rglob("*") if path.is_file())
    for suffix, count in counts.most_common():
        if suffix in OTHER_ARRAYS:
            return f"; there are {count} of {suffix}, which {OTHER_ARRAYS[suffix]}"
    return ""


def load_array(path: Path) -> npt.NDArray[Any]:
    """Maps a ``.npy`` file.

    Raises:
        DataError: it is no array that can be read without running code.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = reason_of(error)
        raise DataError(f"{path}: is no readable numpy array ({reason}); save it with np.save") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is an archive of several arrays; save one array a clip with np.save")
    return array


def common_width(arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> tuple[int, set[np.dtype[Any]]]:
    """The width and the types of arrays [T, F], each with where it lies; one is held at a time.

    Raises:
        DataError: one is not [T, F] of numbers, or has another width than the first.
    """
    width, first = 0, ""
    lengths: set[int] = set()
    types: set[np.dtype[Any]] = set()
    for place, array in arrays:
        if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
            signal = "; store a signal as [T, 1]" if array.ndim == 1 and array.dtype.kind in "fiu" else ""
            raise DataError(
                f"{place}: is {array.dtype} {list(array.shape)}; expected numbers [T, F], at least one{signal}"
            )
        types.add(array.dtype)
        lengths.add(len(array))
        if not width:
            width, first = array.shape[1], place
        if array.shape[1] != width:
            turned = transposed(lengths)
            raise DataError(
                f"{place}: features are {array.shape[1]} wide, but those of {PurePosixPath(first).name} are "
                f"{width}; all clips of a corpus need the same width{turned}"
            )
    return width, types
