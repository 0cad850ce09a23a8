"""Tables with a header, PHOENIX's among them: columns for the id and the transcript, others become attributes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ctckit.data.alphabet import near_misses
from ctckit.data.importers.rows import Manifest, Row, collect, reading, row_of
from ctckit.data.schema import Unit
from ctckit.errors import DataError

SEPARATORS: Final = {",": "','", ";": "';'", "|": "'|'", "\t": "tabs", " ": "spaces"}
"""What may stand between columns, and how it is said."""

_QUOTING = ",;"
"""Separators of tables that quote; elsewhere a quote is text like any other."""

_USUAL = {"id": ("name", "clip", "utterance_id"), "transcript": ("annotation", "orth", "text", "gloss", "glosses")}
"""Names of columns that are taken where the default one is absent and one of these alone is there."""

_PHOENIX = frozenset({"annotation", "orth"})
"""What PHOENIX-2014 and 2014T call the glosses."""


class Columns(NamedTuple):
    """Names of the columns (or keys) of a clip's id and transcript."""

    id: str = "id"
    transcript: str = "transcript"

    def among(self, names: Sequence[str]) -> Columns | str:
        """The columns that are there under these names or usual ones; the name that is not, where one is absent."""
        found = []
        for wanted in self:
            usual = [name for name in names if name.casefold() in _USUAL.get(wanted, ())]
            if wanted in names:
                found.append(wanted)
            elif len(usual) == 1:
                found += usual
            else:
                return wanted
        return Columns(*found)

    def of(self, names: Sequence[str], where: str) -> Columns:
        """As `among`.

        Raises:
            DataError: a column is absent, or several may be it.
        """
        found = self.among(names)
        if isinstance(found, Columns):
            return found
        twin = near_misses([found], names).get(found)
        hint = f"; {twin[0]!r} is another name: {twin[1]}" if twin else ""
        raise DataError(
            f"{where}: no column {found!r}; there is: {', '.join(names)}{hint} (name the right one with "
            "--id-column, --transcript-column)"
        )


def read_table(
    path: Path, columns: Columns, unit: Unit, *, delimiter: str | None = None, phoenix: bool = False
) -> Manifest:
    """Reads a table with a header.

    Args:
        path: the table; quotes count with commas and semicolons alone.
        columns: of id and transcript.
        unit: what a token is.
        delimiter: what separates columns; None takes the separator under which the header has those columns, else
            the one that the header has most of.
        phoenix: take nothing but a table of PHOENIX: bars, and glosses in ``annotation`` or ``orth``.

    Raises:
        DataError: the header or a row cannot be used.
    """
    with reading(path):
        header = header_of(path)
        chosen = delimiter or separator_of(header, columns, path)
        names = _split(header, chosen)
        if phoenix and not is_phoenix(chosen if delimiter is None else "|", columns.among(names)):
            raise DataError(
                f"{path}: line 1: is no table of PHOENIX, id|...|annotation or name|...|orth; there is: "
                f"{', '.join(names)}, separated by {SEPARATORS[chosen]} "
                "(leave out --from phoenix to read any table)"
            )
        found = columns.of(names, f"{path}: line 1")
        _check_names(names, path)
        rows = collect(_rows(path, chosen, names, found, unit), path)
    others = [name for name in names if name not in found]
    said = (
        f"read as {'PHOENIX CSV' if is_phoenix(chosen, found) else 'a table'}, separated by "
        f"{SEPARATORS[chosen]}, id from column {found.id!r}, text from {found.transcript!r}"
        + (f"; attributes: {', '.join(others)}" if others else "")
    )
    return Manifest(path, rows, (said,), unit)


def header_of(path: Path) -> str:
    """The first line, without its end and a byte order mark."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return stream.readline().strip("\r\n")


def is_phoenix(delimiter: str, columns: Columns | str) -> bool:
    """Whether a table has the form of PHOENIX's."""
    return delimiter == "|" and isinstance(columns, Columns) and columns.transcript.casefold() in _PHOENIX


def separator_of(header: str, columns: Columns, path: Path) -> str:
    """The separator that a header shows."""
    order = "\t,;|" if path.suffix.lower() == ".tsv" else ",;|\t"
    fitting = [one for one in order if isinstance(columns.among(_split(header, one)), Columns)]
    return fitting[0] if len(fitting) == 1 else max(order, key=header.count)


def _split(header: str, delimiter: str) -> list[str]:
    fields: list[str] = next(csv.reader([header], delimiter=delimiter, quoting=_quoting(delimiter)), [])
    return [name.strip() for name in fields]


def _quoting(delimiter: str) -> Any:
    return csv.QUOTE_MINIMAL if delimiter in _QUOTING else csv.QUOTE_NONE


def _check_names(names: Sequence[str], path: Path) -> None:
    if len(set(names)) != len(names):
        raise DataError(f"{path}: line 1: a column name occurs twice: {', '.join(names)}")
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path}: line 1: column {number} has no name; name it or take it out")
        check_attribute(name, f"{path}: line 1")


def check_attribute(name: str, where: str) -> None:
    """Refuses a name that HDF5 would read as a path."""
    if not name or "/" in name or name == "." or "\0" in name:
        raise DataError(f"{where}: {name!r} cannot be the name of an attribute; rename it without '/'")


def _rows(path: Path, delimiter: str, names: list[str], columns: Columns, unit: Unit) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        quoting = _quoting(delimiter)
        reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=quoting == csv.QUOTE_MINIMAL)
        try:
            next(reader, None)
            for fields in reader:
                if not fields:
                    continue  # a blank line holds no clip
                place = f"line {reader.line_num}"
                if len(fields) != len(names):
                    raise DataError(
                        f"{path}: {place}: {len(fields)} fields, but the header has {len(names)} (separated by "
                        f"{SEPARATORS[delimiter]}); quote fields that contain the separator, or name another with "
                        "--delimiter"
                    )
                record = dict(zip(names, fields, strict=True))
                clip_id, transcript = record.pop(columns.id), record.pop(columns.transcript)
                yield row_of(path, place, clip_id, transcript, columns.transcript, record, unit)
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num}: {error}; check the quotes") from error
