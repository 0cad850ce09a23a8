"""NIST's STM: file, channel, speaker, start, end, an optional <label>, words; ;; begins a remark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ctckit.data.importers.rows import Manifest, Row, collect, lines_of, row_of
from ctckit.data.schema import Unit
from ctckit.errors import DataError
from ctckit.transcripts.nist import IGNORED, REMARK, is_stm


def read_stm(path: Path, unit: Unit) -> Manifest:
    """Reads an STM file whose clips are a line each; the speaker becomes an attribute.

    Raises:
        DataError: a line has another form, or says that it is no transcript or several.
    """
    said = "read as STM, id from the file, speaker kept, channel, times and <label> not"
    return Manifest(path, collect(_rows(path, unit), path), (said,), unit)


def _rows(path: Path, unit: Unit) -> Iterator[Row]:
    for number, text in lines_of(path):
        fields = text.split()
        if fields[0].startswith(REMARK):
            continue
        where = f"{path}: line {number}"
        if not is_stm(fields):
            raise DataError(f"{where}: expected file, channel, speaker, start, end (seconds) and words")
        start, end = float(fields[3]), float(fields[4])
        if end <= start:
            raise DataError(f"{where}: clip {fields[0]!r} ends at {end} s and starts at {start}; correct the times")
        words = (
            fields[6:] if len(fields) > 5 and fields[5].startswith("<") and fields[5].endswith(">") else fields[5:]
        )
        if [word.casefold() for word in words] == [IGNORED]:
            raise DataError(f"{where}: clip {fields[0]!r} is not transcribed ({words[0]}); remove the line")
        if "{" in words and "}" in words:
            raise DataError(
                f"{where}: clip {fields[0]!r} has alternatives, {{ a / b }}, of which training needs one; choose it"
            )
        yield row_of(path, f"line {number}", fields[0], " ".join(words), "text", {"speaker": fields[2]}, unit)
