"""HDF5 files: opening them, following their links, and reading a part whole or saying why not.

HDF5 gives zeros for values that were never written or lie in a file that is gone, and opens other files on its own
account where a link or a dataset says so. A corpus is one file, so nothing here follows a way out of it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from ctckit.errors import CtckitError, DataError, reason_of

Kind = Literal["group", "dataset", "type", "outside", "broken"]

FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises on damaged files, depending on where the damage is; RecursionError is a RuntimeError."""

_HOPS = 16
"""Soft links in a row that are followed, as HDF5 has it; more are a circle."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a name in a group stands for, found without opening it.

    Attributes:
        kind: of the object; ``outside`` leads to another file, ``broken`` to nothing.
        address: of the object within the file, by which two names for one are told; -1 without one.
        attributes: how many the object has.
        target: of a soft or external link where it leads; "" for a name of the object's own.
    """

    kind: Kind
    address: int = -1
    attributes: int = 0
    target: str = ""

    def __str__(self) -> str:
        if self.kind == "outside":
            return f"a link to another file ({self.target}), which is not read; copy what is meant into this file"
        if self.kind == "broken":
            return f"a broken link (to {self.target or 'nothing'}); mend it or take it out"
        return "a named type" if self.kind == "type" else f"a {self.kind}"


def open_file(path: Path) -> Any:
    """Open an HDF5 file for reading.

    Raises:
        DataError: there is none, or it cannot be opened; says why and what to do.
    """
    if not path.exists():
        near = _neighbours(path)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise DataError(f"{path}: no such file{hint}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected an HDF5 file; make one with `ctckit data import`")
    try:
        return h5py.File(path, "r")
    except FAULTS as error:
        reason = reason_of(error)
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


def names_of(group: Any, path: Path) -> list[str]:
    """Sorted names in a group, an `h5py.h5g.GroupID`.

    Raises:
        DataError: one is not UTF-8.
    """
    names = []
    for name in group:
        try:
            names.append(name.decode())
        except UnicodeDecodeError:
            where = h5py.h5i.get_name(group).decode(errors="replace")
            raise DataError(f"{path}: the name {name!r} in {where!r} is not UTF-8; rename it") from None
    return sorted(names)


def follow(group: Any, name: str, hops: int = 0) -> Link:
    """Say what a name in an `h5py.h5g.GroupID` stands for, without leaving the file."""
    key = name.encode()
    if not group.links.exists(key):
        return Link("broken")
    kind = group.links.get_info(key).type
    if kind == h5py.h5l.TYPE_HARD:
        found = h5py.h5o.get_info(group, key)
        return Link(_KINDS.get(found.type, "broken"), found.addr, found.num_attrs)
    if kind == h5py.h5l.TYPE_EXTERNAL:
        return Link("outside", target=":".join(part.decode(errors="replace") for part in group.links.get_val(key)))
    if kind != h5py.h5l.TYPE_SOFT:
        return Link("broken", target="a place that only another program knows")
    target = group.links.get_val(key).decode(errors="replace")
    end = _resolve(group, target, hops + 1) if hops < _HOPS else Link("broken")
    return Link(end.kind, end.address, end.attributes, end.target if end.kind == "outside" else target)


def _resolve(group: Any, target: str, hops: int) -> Link:
    # HDF5 itself would follow an external link in the middle of the path, so it is gone step by step
    at = h5py.h5o.open(group, b"/") if target.startswith("/") else group
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not parts:
        found = h5py.h5o.get_info(at)
        return Link("group", found.addr, found.num_attrs)
    for part in parts[:-1]:
        link = follow(at, part, hops)
        if link.kind != "group":
            return link if link.kind == "outside" else Link("broken")
        at = h5py.h5o.open(at, part.encode())
    return follow(at, parts[-1], hops)


def require_whole(dataset: Any) -> None:
    """Refuse a dataset that HDF5 would not read as it was meant.

    Raises:
        DataError: it holds no values, only some of them, or has them in other files, or in a form that this HDF5
            cannot read. The message is a reason, for the caller to put file and clip before.
    """
    if dataset.shape is None:
        raise DataError("has no values at all (an empty dataspace); write it again")
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code = properties.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise DataError(
                f"is compressed with filter {code}, which this HDF5 lacks; install and import its "
                "plugin (hdf5plugin; vbz of nanopore files has its own), or store it with gzip"
            )
    layout = properties.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        sources = sorted({source.file_name for source in dataset.virtual_sources()})
        raise DataError(
            f"is virtual, its values lie elsewhere ({', '.join(sources) or 'nowhere'}), and where they are gone "
            "HDF5 reads zeros; store the values themselves in this file"
        )
    if properties.get_external_count():
        name = properties.get_external(0)[0].decode(errors="replace")
        raise DataError(f"has its values in another file ({name}), which is not read; store them in this file")
    if not dataset.size:
        return
    if layout == h5py.h5d.CONTIGUOUS and not dataset.id.get_storage_size():
        raise DataError("was never written, and HDF5 would read zeros; write it again or leave the clip out")
    if layout == h5py.h5d.CHUNKED:
        chunks = math.prod(-(-size // step) for size, step in zip(dataset.shape, dataset.chunks, strict=True))
        written = dataset.id.get_num_chunks()
        if written < chunks:
            raise DataError(
                f"was not written to its end, {chunks - written} of {chunks} chunks are missing, and HDF5 would "
                "read zeros; write it again or leave the clip out"
            )


def first_missing_row(dataset: Any) -> int:
    """First row of a dataset in chunks that no stored chunk holds; its length where all are there."""
    step = dataset.chunks[0]
    stored = {dataset.id.get_chunk_info(number).chunk_offset[0] for number in range(dataset.id.get_num_chunks())}
    return next((row for row in range(0, len(dataset), step) if row not in stored), len(dataset))


@contextmanager
def reading(where: str, advice: str) -> Iterator[None]:
    """Turn whatever h5py raises into one line.

    Args:
        where: what is being read, to begin the message with.
        advice: what to do where it cannot be.

    Raises:
        DataError: of the block as it is, and for all that h5py raises.
    """
    try:
        yield
    except CtckitError:
        raise
    except FAULTS as error:
        raise DataError(f"{where} cannot be read ({reason_of(error)}); {advice}") from error


def describe_item(item: Any) -> str:
    """What an opened object is, for a message."""
    if isinstance(item, h5py.Dataset):
        return "an empty dataspace" if item.shape is None else f"{item.dtype} {list(item.shape)}"
    return "a group" if isinstance(item, h5py.Group) else "a named type"


def plain_numbers(item: Any) -> bool:
    """Whether an object is a dataset of real numbers or booleans; enumerations are names, not numbers."""
    return (
        isinstance(item, h5py.Dataset)
        and item.shape is not None
        and item.dtype.kind in "fiub"
        and h5py.check_enum_dtype(item.dtype) is None
    )


def _neighbours(path: Path) -> str | None:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:  # the folder is missing too: the message about the file says enough
        return None
    near = difflib.get_close_matches(path.name, names, n=1)
    return near[0] if near else None


_KINDS: dict[int, Kind] = {
    h5py.h5o.TYPE_GROUP: "group",
    h5py.h5o.TYPE_DATASET: "dataset",
    h5py.h5o.TYPE_NAMED_DATATYPE: "type",
}
