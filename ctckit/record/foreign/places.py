"""Where a history is: a file, standard input, or somewhere in a folder; and its bytes as text."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ctckit.errors import DataError
from ctckit.record.foreign.columns import DEV, TEST, TRAIN
from ctckit.record.history import HISTORY

STDIN: Final = Path("-")
"""Stands for standard input."""

KINDS: Final = (
    (HISTORY,),
    ("trainer_state.json",),
    ("metrics.csv",),
    (
        "*history*.json",
        "*history*.jsonl",
        "*history*.csv",
        "metrics.json",
        "metrics.jsonl",
        "results.csv",
        "log.csv",
    ),
    ("train.log", "training.log", "train_log.txt", "log.txt", "train*.log", "lightning_logs.txt", "nemo_log*.txt"),
    ("*.tfevents.*",),
    ("*.csv", "*.jsonl", "*.log"),
)
"""File names in a folder, those of one program in a group, the surest group first."""

DEEPEST: Final = 4
"""Folders below the given one that are searched."""

MOST_ENTRIES: Final = 20_000
"""Entries of folders beyond which a folder is no run."""

CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)")

SIDES: Final = DEV | TRAIN | TEST
"""Names of folders in which a training keeps the events of one side."""

MAGIC: Final = (
    (b"PK\x03\x04", "a zip archive, such as a checkpoint of torch"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"\x89HDF", "HDF5, such as a corpus"),
    (b"\x93NUMPY", "an array of numpy"),
    (b"\x80", "a pickle of Python, which is not opened because it could run code"),
    (b"\x89PNG", "a picture"),
    (b"%PDF", "a PDF"),
    (b"SQLite", "a database of SQLite"),
    (b"PAR1", "Parquet; write it as CSV"),
)


def find_history(folder: Path, notes: list[str]) -> Path:
    """Return the history in a folder; a folder of TensorBoard's events for these.

    Raises:
        DataError: there is none, or several, which are listed.
    """
    if (folder / HISTORY).is_file():
        return folder / HISTORY
    files = _files(folder)
    for patterns in KINDS:
        found = [path for path in files if any(path.match(pattern) for pattern in patterns)]
        if patterns == ("*.tfevents.*",):
            found = _with_sides(sorted({path.parent for path in found}))
        found = _latest_checkpoint(found)
        nearest = min((len(path.parts) for path in found), default=0)
        found = [path for path in found if len(path.parts) == nearest]
        if len(found) > 1:
            listed = ", ".join(str(path) for path in found[:8]) + (" ..." if len(found) > 8 else "")
            raise DataError(f"{folder}: holds {len(found)} histories; give one of them: {listed}")
        if found:
            notes.append(f"Taken from {found[0]}.")
            return found[0]
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{folder}: no history in it (history.jsonl, trainer_state.json, metrics.csv, a log, TensorBoard's); "
        f"there is {there}; give the file"
    )


def _with_sides(folders: Sequence[Path]) -> list[Path]:
    """Folders of events; those above instead where they are named by sides, as Keras names them."""
    return sorted({path.parent if path.name.lower() in SIDES else path for path in folders})


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    level, seen = [folder], 0
    for _ in range(DEEPEST + 1):
        below: list[Path] = []
        for place in level:
            try:
                entries = sorted(place.iterdir())
            except OSError as error:
                raise DataError(f"{place}: cannot be read: {error.strerror}") from error
            seen += len(entries)
            if seen > MOST_ENTRIES:
                raise DataError(
                    f"{folder}: more than {MOST_ENTRIES} files and folders in it; give the history itself"
                )
            found += [path for path in entries if path.is_file() and path.stat().st_size]
            below += [path for path in entries if path.is_dir() and not path.is_symlink() and path.name[:1] != "."]
        level = below
    return found


def _latest_checkpoint(found: Sequence[Path]) -> list[Path]:
    """Of the states beside checkpoints of one run, the last: each has all that came before it."""
    latest: dict[Path, Path] = {}
    others = []
    for path in found:
        if CHECKPOINT.fullmatch(path.parent.name) is None:
            others.append(path)
            continue
        run = path.parent.parent
        latest[run] = max(latest.get(run, path), path, key=_step)
    return others + [path for run, path in latest.items() if not any(other.parent == run for other in others)]


def _step(path: Path) -> int:
    found = CHECKPOINT.fullmatch(path.parent.name)
    return int(found[1]) if found else -1


def read_bytes(path: Path) -> bytes:
    """Read a file, or standard input.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; give a run's folder or a history") from error


def as_text(data: bytes, place: str, notes: list[str]) -> str:
    """Decode a file: UTF-8 or, where it begins with their mark, UTF-16 and UTF-32.

    Raises:
        DataError: it is binary; says what it looks like.
    """
    for mark, encoding in ((b"\xff\xfe\x00\x00", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    kind = next((kind for magic, kind in MAGIC if data.startswith(magic)), None)
    if b"brain.Event" in data[:64]:
        kind = "TensorBoard's events, which are read from a file named *.tfevents.* or from its folder"
    if kind is None and b"\0" in data[:65536]:
        kind = "binary"
    if kind is not None:
        raise DataError(f"{place}: not a history but {kind}; give a run's folder, JSON, CSV or a log")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        notes.append(f"Not all of it is UTF-8 (first at byte {error.start}): other characters were left out.")
        text = data.decode("utf-8-sig", errors="ignore")
    return text.replace("\r\n", "\n").replace("\r", "\n")
