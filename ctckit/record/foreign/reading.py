"""From a place to a record: find the history, tell its shape, take its columns, put its epochs together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctckit.errors import DataError
from ctckit.record.epoch import Epoch
from ctckit.record.foreign.columns import DEV, TRAIN, Choices, Unit, checked_units, in_per_cent, take_columns
from ctckit.record.foreign.epochs import arranged, merged, numbered
from ctckit.record.foreign.events import event_rows
from ctckit.record.foreign.places import STDIN, as_text, find_history, read_bytes
from ctckit.record.foreign.shapes import as_json, rows_of_text
from ctckit.record.history import Recorded, recorded, rows_of

MARK = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8."""


def read_any(
    path: Path, units: Mapping[str, Unit] | None = None, *, columns: Mapping[str, str] | None = None, run: str = ""
) -> Recorded:
    """Read a history, ctckit's own or another program's.

    Args:
        path: a run's folder, a file, or ``-`` for standard input.
        units: of figures, where the values do not tell.
        columns: by figure, the column to take for it.
        run: which run of a file that holds several: its name, a number where no column names them, or "all".

    Raises:
        DataError: it cannot be read, or nothing in it is recognised; says what is there.
    """
    choices = Choices(units or {}, columns or {}, run)
    notes: list[str] = []
    found = find_history(path, notes) if path.is_dir() else path
    place = "standard input" if path == STDIN else str(found)
    name = place if path == STDIN else found.name
    if found.is_dir() or ".tfevents." in found.name:
        if not found.exists():
            raise DataError(f"{found}: cannot be read: no such file; give a run's folder or a history")
        return _record(event_rows(found, notes), name, place, choices, notes)
    data = read_bytes(found)
    if not data.removeprefix(MARK).strip():
        raise DataError(f"{place}: holds no rows: it is empty, so nothing has been recorded yet")
    if _is_own(data):
        if choices:
            options = [
                option
                for option, given in (("unit", choices.units), ("column", choices.columns), ("run", choices.run))
                if given
            ]
            raise DataError(
                f"{place}: a history of ctckit's own says its units and columns; leave out --{options[0]}"
            )
        own = recorded(rows_of(data.removeprefix(MARK), Path(place)), found)
        return replace(own, name=place if path == STDIN else own.name, notes=(*notes, *own.notes))
    text = as_text(data, place, notes)
    is_table = found.suffix.lower() in (".csv", ".tsv")
    rows = rows_of_text(text, place, notes, frozenset(choices.columns.values()), table=is_table)
    return _record(rows, name, place, choices, notes)


def _record(
    rows: Sequence[Mapping[str, Any]], name: str, place: str, choices: Choices, notes: list[str]
) -> Recorded:
    """Make a record of rows by column.

    Raises:
        DataError: no column is recognised, a column has the wrong type, or a unit cannot be told.
    """
    kept, run = arranged(rows, place, choices, notes)
    named = take_columns(kept, place, choices, notes)
    counted = numbered(merged(named.rows), notes, place, run)
    if not counted:
        raise DataError(f"{place}: holds no epochs: the columns {', '.join(named.columns.values())} are empty")
    units = checked_units(choices.units, named, {figure for row in named.rows for figure in row}, place)
    scaled, columns = in_per_cent(counted, named, units, notes, place)
    epochs = [Epoch.from_row(row, f"{place}, epoch {row['epoch']}") for row in scaled]
    ordered = tuple(sorted(epochs, key=lambda one: one.epoch))
    return Recorded(name, ordered, notes=tuple(notes), columns=columns, foreign=True)


def _is_own(data: bytes) -> bool:
    """Whether a file begins as ctckit's histories do."""
    first = data.removeprefix(MARK).split(b"\n", 1)[0].strip()
    if not first.startswith(b"{"):
        return False
    try:
        row = as_json(first.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return False
    kind = row.get("kind") if isinstance(row, dict) else None
    return isinstance(kind, str) and kind.lower() not in DEV | TRAIN
