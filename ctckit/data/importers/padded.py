"""Arrays of all clips, padded to one length: HDF5 or .npz with features [N, T, D], lengths, labels [N, U]."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import h5py
import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.importers.pairing import Imported, Wishes, write_clips
from ctckit.data.importers.rows import Manifest, Row, collect, is_token, row_of
from ctckit.data.importers.vocabulary import Vocabulary, read_vocabulary
from ctckit.data.schema import Unit, is_packed
from ctckit.errors import DataError, reason_of

USUAL = {
    "features": ("inputs", "feats", "x", "data"),
    "lengths": ("feature_lengths", "input_lengths", "frame_lengths", "frame_counts", "x_lengths"),
    "labels": ("targets", "transcripts", "transcript", "texts", "y"),
    "label_lengths": ("target_lengths", "labels_lengths", "y_lengths"),
    "ids": ("names", "clip_ids", "utterance_ids"),
}
"""Names of arrays that are taken where the first is absent and one of these alone is there."""


class PaddedFeatures:
    """Clips of one array.

    Args:
        path: where it comes from.
        features_NTD: array or dataset.
        lengths_N: frames of each clip.
        ids: of the clips, in their order.
    """

    def __init__(self, path: Path, features_NTD: Any, lengths_N: npt.NDArray[np.int64], ids: Sequence[str]) -> None:
        self.path, self.name = path, path.name
        self._features = features_NTD
        self._lengths = lengths_N
        self._rows = {clip_id: row for row, clip_id in enumerate(ids)}

    def find(self, clip_id: str, *, by_stem: bool) -> str | None:
        """The id itself."""
        return clip_id if clip_id in self._rows else None

    def lacks(self, clip_id: str) -> str:
        """The file that lacks it."""
        return f"is not in {self.path}"

    def unlisted(self, used: set[str]) -> list[str]:
        """None: a row has both, features and labels."""
        return []

    def place(self, key: str) -> str:
        """The file and the clip."""
        return f"{self.path}: clip {key!r}"

    def check(self, keys: Sequence[str]) -> tuple[int, set[np.dtype[Any]]]:
        """The width and the type of the one array."""
        return int(self._features.shape[2]), {self._features.dtype}

    def load(self, key: str) -> npt.NDArray[Any]:
        """Frames of one clip up to its length.

        Raises:
            DataError: the file cannot be read.
        """
        row = self._rows[key]
        try:
            return np.asarray(self._features[row, : self._lengths[row]])
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.place(key)} cannot be read ({reason_of(error)})") from error


def is_padded(path: Path) -> bool:
    """Whether a file is an archive of arrays, or HDF5 that is no corpus of ctckit and has an array [N, T, D]."""
    if zipfile.is_zipfile(path):
        return True
    if not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            tops = [item for item in file.values() if isinstance(item, h5py.Dataset)]
            return not is_packed(file) and any(item.ndim == 3 for item in tops)
    except OSError:  # whoever reads the corpus says why
        return False


def import_padded(
    path: Path,
    output: Path,
    *,
    vocabulary: Path | None = None,
    first_label: int | None = None,
    features_key: str = "features",
    labels_key: str = "labels",
    unit: Unit | None = None,
    **wishes: Unpack[Wishes],
) -> Imported:
    """Imports padded arrays from HDF5 or a ``.npz``.

    Arrays: ``features`` [N, T, D], ``lengths`` [N] in frames, ``labels`` [N, U] with ``label_lengths`` [N] as
    integers, or [N] texts; ``ids`` [N] where there are some. Other texts [N] become attributes.

    Args:
        path: the file.
        output: the corpus file to make.
        vocabulary: labels by number, see `read_vocabulary`; needed for integer labels.
        first_label: number of the vocabulary's first entry, where the labels leave that open.
        features_key: name of the features.
        labels_key: name of the labels.
        unit: what a token is; None takes characters where all labels of a vocabulary are one, else words.
        wishes: see `Wishes`.

    Raises:
        DataError: an array is missing or does not fit the others, or a label has no meaning.
    """
    with _opened(path) as arrays:
        names = {kind: _name(arrays, kind, kind) for kind in ("lengths", "label_lengths", "ids")}
        names["features"] = _name(arrays, "features", features_key)
        names["labels"] = _name(arrays, "labels", labels_key)
        features = _needed(arrays, names, "features", path, "[N, T, D]")
        labels = _needed(arrays, names, "labels", path, "[N, U] (integers) or [N] (texts)")
        lengths = _frames(arrays, names, features, path)
        count = len(features)
        ids = _ids(arrays, names["ids"], count, path)
        used = {name for name in names.values() if name}
        attributes = [
            name
            for name in arrays
            if name not in used and _is_text(arrays[name]) and arrays[name].shape == (count,)
        ]
        unread = sorted(set(arrays) - used - set(attributes))
        said = [
            f"read as padded arrays: {', '.join(f'{kind} from {name!r}' for kind, name in names.items() if name)}"
        ]
        if unread:
            said.append(f"not read: {', '.join(unread)}")
        extra = {name: _texts(arrays[name]) for name in attributes}
        per_clip = [{name: values[row] for name, values in extra.items()} for row in range(count)]
        alphabet: Alphabet | None = None
        if _is_text(labels):
            if vocabulary is not None:
                raise DataError(f"{path}: {names['labels']!r} are texts already; leave out --vocabulary")
            unit = unit or "word"
            rows = _text_rows(path, labels, str(names["labels"]), ids, per_clip, unit)
        else:
            where = f"{path}: {names['labels']!r}"
            _require_numbers(labels, count, where)
            if vocabulary is None:
                raise DataError(
                    f"{where} are numbers, and what each stands for is not in the file; name a file with one token "
                    "a line, or a JSON list or object, with --vocabulary"
                )
            sizes = _label_counts(arrays, names["label_lengths"], labels, path, where)
            numbers = np.asarray(labels)
            inside = numbers[np.arange(numbers.shape[1]) < sizes[:, None]]
            known = read_vocabulary(vocabulary, int(inside.min()), int(inside.max()), first_label)
            said.append(known.describe())
            unit = unit or ("character" if all(len(label) == 1 for label in known.labels.values()) else "word")
            said.append(f"a token is a {unit}")
            _check_unit(known, unit, vocabulary)
            rows = label_rows(path, numbers, sizes, ids, known, per_clip)
            alphabet = Alphabet(known.labels.values())
        manifest = Manifest(path, rows, tuple(said), unit, alphabet)
        return write_clips(output, manifest, PaddedFeatures(path, features, lengths, ids), wishes)


def _frames(
    arrays: Mapping[str, Any], names: Mapping[str, str | None], features: Any, path: Path
) -> npt.NDArray[np.int64]:
    """Frames of each clip that are no padding."""
    if features.ndim != 3 or features.dtype.kind not in "fiub" or 0 in features.shape:
        turned = "; store a signal as [N, T, 1]" if features.ndim == 2 else ""
        raise DataError(
            f"{path}: {names['features']!r} is {features.dtype} {list(features.shape)}, expected numbers "
            f"[N, T, D]{turned}"
        )
    count, longest = features.shape[:2]
    name = names["lengths"]
    if name is None:
        raise DataError(
            f"{path}: no array 'lengths' says how many frames of each clip are no padding; there is: "
            f"{_listed(arrays)}; add one of integers [N], {longest} for a clip without padding"
        )
    return lengths_of(arrays[name], count, longest, f"{path}: {name!r}")


def _text_rows(
    path: Path, labels: Any, key: str, ids: Sequence[str], attributes: Sequence[dict[str, str]], unit: Unit
) -> tuple[Row, ...]:
    """Rows of transcripts that are texts [N]."""
    if labels.shape != (len(ids),):
        raise DataError(f"{path}: {key!r} has shape {list(labels.shape)}, expected [{len(ids)}] texts")
    texts = _texts(labels)
    return collect(
        (row_of(path, f"row {n}", ids[n], texts[n], key, attributes[n], unit) for n in range(len(ids))), path
    )


def _require_numbers(labels: Any, count: int, where: str) -> None:
    if labels.ndim != 2 or len(labels) != count or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where} is {labels.dtype} {list(labels.shape)}, expected integers [{count}, U] or [{count}] texts"
        )


def _label_counts(
    arrays: Mapping[str, Any], name: str | None, labels: Any, path: Path, where: str
) -> npt.NDArray[np.int64]:
    """Labels of each clip that are no padding."""
    count, longest = labels.shape
    if name is None:
        raise DataError(
            f"{where}: no array 'label_lengths' says how many labels of each clip are no padding; there is: "
            f"{_listed(arrays)}; add one of integers [{count}]"
        )
    return lengths_of(arrays[name], count, longest, f"{path}: {name!r}")


def label_rows(
    path: Path,
    labels_NU: npt.NDArray[Any],
    lengths_N: npt.NDArray[np.int64],
    ids: Sequence[str],
    vocabulary: Vocabulary,
    attributes: Sequence[dict[str, str]],
) -> tuple[Row, ...]:
    """Rows of integer labels.

    Raises:
        DataError: a label is the blank or not in the vocabulary, or what lies behind the lengths is not padding.
    """
    inside = np.arange(labels_NU.shape[1]) < lengths_N[:, None]
    good = np.isin(labels_NU, list(vocabulary.labels))
    if (inside & ~good).any():
        row, column = (int(one) for one in np.argwhere(inside & ~good)[0])
        value = int(labels_NU[row, column])
        what = "the blank, which no target holds" if value == vocabulary.blank else "no label"
        raise DataError(
            f"{path}: row {row}: clip {ids[row]!r}: label {value} at place {column} is {what} "
            f"({vocabulary.describe()}); correct the labels or their lengths, or say where "
            "numbers begin (--first-label)"
        )
    padding = np.unique(labels_NU[~inside])
    if len(padding) > 1:
        row = int(np.argwhere(~inside & (labels_NU != padding[0]))[0][0])
        raise DataError(
            f"{path}: row {row}: clip {ids[row]!r}: behind the labels stand {len(padding)} different numbers where "
            "padding is one; the lengths do not belong to these labels"
        )
    return collect(
        (
            Row(
                f"row {row}", ids[row], tuple(vocabulary.labels[int(one)] for one in labels[:size]), attributes[row]
            )
            for row, (labels, size) in enumerate(zip(labels_NU, lengths_N, strict=True))
        ),
        path,
    )


def lengths_of(array: Any, count: int, longest: int, where: str) -> npt.NDArray[np.int64]:
    """Lengths [N], each of 1 to `longest`.

    Raises:
        DataError: they are not that.
    """
    lengths = np.asarray(array)
    if lengths.shape != (count,) or lengths.dtype.kind not in "iu":
        raise DataError(f"{where} is {lengths.dtype} {list(lengths.shape)}, expected integers [{count}]")
    bad = np.flatnonzero((lengths < 1) | (lengths > longest))
    if len(bad):
        raise DataError(
            f"{where}: row {bad[0]}: {lengths[bad[0]]} is not in 1 .. {longest} ({len(bad)} of {count} rows); "
            "leave the clip out or correct its length"
        )
    return lengths.astype(np.int64)


def _check_unit(vocabulary: Vocabulary, unit: Unit, path: Path) -> None:
    for number, label in vocabulary.labels.items():
        if not is_token(label, unit):
            raise DataError(f"{path}: {number} is {label!r}, which is not one {unit}; correct it or choose --unit")


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Any]]:
    """Arrays by name; those of HDF5 are read as they are asked for."""
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as archive:
                yield {name: archive[name] for name in archive}
        else:
            with h5py.File(path, "r") as file:
                yield {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        reason = reason_of(error)
        advice = "store texts as numpy strings" if "pickle" in reason else "write it again"
        raise DataError(f"{path}: cannot be read ({reason}); {advice}") from error


def _name(arrays: Mapping[str, Any], kind: str, wanted: str) -> str | None:
    if wanted in arrays or wanted != kind:
        return wanted if wanted in arrays else None
    usual = [name for name in USUAL[kind] if name in arrays]
    return usual[0] if len(usual) == 1 else None


def _needed(arrays: Mapping[str, Any], names: Mapping[str, str | None], kind: str, path: Path, shape: str) -> Any:
    name = names[kind]
    if name is None:
        option = "--features-key" if kind == "features" else "--transcript-key"
        raise DataError(f"{path}: no array of {kind} {shape}; there is: {_listed(arrays)} (name it with {option})")
    return arrays[name]


def _listed(arrays: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in sorted(arrays.items())) or "none"
    )


def _is_text(array: Any) -> bool:
    return array.dtype.kind in "SU" or h5py.check_string_dtype(array.dtype) is not None


def _texts(array: Any) -> list[Any]:
    return [
        one.decode(errors="surrogateescape") if isinstance(one, bytes) else str(one) for one in array[()].ravel()
    ]


def _ids(arrays: Mapping[str, Any], name: str | None, count: int, path: Path) -> list[str]:
    if name is None:
        return [f"clip{row:06d}" for row in range(count)]
    array = arrays[name]
    if array.shape != (count,) or not (_is_text(array) or array.dtype.kind in "iu"):
        raise DataError(f"{path}: {name!r} is {array.dtype} {list(array.shape)}, expected [{count}] ids")
    return _texts(array)
