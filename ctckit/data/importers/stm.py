"""NIST's STM: file, channel, speaker, start, end, an optional <label>, words; ;; begins a remark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ctckit.data.importers.rows import Manifest, Row, collect, lines_of, row_of
from ctckit.data.schema import Unit
from ctckit.errors import DataError

_IGNORED = "ignore_time_segment_in_scoring"
"""Stands in the place of words where nobody transcribed."""


def read_stm(path: Path, unit: Unit) -> Manifest:
    """Reads an STM file whose clips are a line each; the speaker becomes an attribute.

    Raises:
        DataError: a line has another form, or says that it is no transcript or several.
    """
    said = "read as STM, id from the file, speaker kept, channel, times and <label> not"
    return Manifest(path, collect(_rows(path, unit), path), (said,), unit)


def is_stm(fields: Sequence[str]) -> bool:
    """Whether the words of a line begin as those of an STM do."""
    return len(fields) >= 5 and _seconds(fields[3]) is not None and _seconds(fields[4]) is not None


def is_ctm(fields: Sequence[str]) -> bool:
    """Whether the words of a line are those of a CTM: file, channel, start, duration, one word, a confidence."""
    times = len(fields) in (5, 6) and _seconds(fields[2]) is not None and _seconds(fields[3]) is not None
    return times and _seconds(fields[4]) is None


def _rows(path: Path, unit: Unit) -> Iterator[Row]:
    for number, text in lines_of(path):
        fields = text.split()
        if fields[0].startswith(";;"):
            continue
        where = f"{path}: line {number}"
        if not is_stm(fields):
            raise DataError(f"{where}: expected file, channel, speaker, start, end (seconds) and words")
        start, end = _seconds(fields[3]), _seconds(fields[4])
        if start is not None and end is not None and end <= start:
            raise DataError(f"{where}: clip {fields[0]!r} ends at {end} s and starts at {start}; correct the times")
        words = (
            fields[6:] if len(fields) > 5 and fields[5].startswith("<") and fields[5].endswith(">") else fields[5:]
        )
        if [word.casefold() for word in words] == [_IGNORED]:
            raise DataError(f"{where}: clip {fields[0]!r} is not transcribed ({words[0]}); remove the line")
        if "{" in words and "}" in words:
            raise DataError(
                f"{where}: clip {fields[0]!r} has alternatives, {{ a / b }}, of which training needs one; choose it"
            )
        yield row_of(path, f"line {number}", fields[0], " ".join(words), "text", {"speaker": fields[2]}, unit)


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
