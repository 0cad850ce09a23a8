"""JSON lines: one object a clip, NeMo's manifests among them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctckit.data.importers.rows import Manifest, Row, collect, lines_of, row_of
from ctckit.data.importers.tables import Columns, check_attribute
from ctckit.data.schema import Unit
from ctckit.errors import DataError, reason_of

NEMO_KEY = "audio_filepath"
"""By this key a manifest of NeMo is told."""


def read_jsonl(path: Path, columns: Columns, unit: Unit) -> Manifest:
    """Reads one object a line; keys but those of id and transcript become attributes.

    Raises:
        DataError: a line is no object, or its values are not what they should be.
    """
    found = columns.of(list(_first(path)), f"{path}: line 1")
    rows = collect(_rows(path, found, unit), path)
    return Manifest(
        path, rows, (f"read as JSON lines, id from {found.id!r}, text from {found.transcript!r}",), unit
    )


def read_nemo(path: Path, columns: Columns, unit: Unit) -> Manifest:
    """Reads a manifest of NeMo: ``audio_filepath``, ``text``, ``duration`` in seconds, and whatever else it has.

    Ids are the paths of the recordings, by which features are found.

    Raises:
        DataError: a line is no object, or its values are not what they should be.
    """
    if columns.id == Columns().id:
        columns = columns._replace(id=NEMO_KEY)
    found = columns.of(list(_first(path)), f"{path}: line 1")
    rows = collect(_rows(path, found, unit), path)
    for row in rows:
        duration = row.attributes.get("duration", "1")
        if not _positive(duration):
            raise DataError(
                f"{path}: {row.place}: clip {row.clip_id!r}: duration is {duration!r}, expected seconds above 0; "
                "correct it or remove the line"
            )
    said = f"read as a manifest of NeMo, features by the path in {found.id!r}, text from {found.transcript!r}"
    return Manifest(path, rows, (said,), unit, ids_are_paths=True)


def object_of(text: str, where: str) -> dict[str, Any]:
    """One line's object.

    Raises:
        DataError: it is no JSON, no object, or has a key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise DataError(f"{where}: key {twice[0]!r} occurs twice; remove one")
        return dict(pairs)

    try:
        record = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else reason_of(error)
        raise DataError(f"{where}: not JSON ({reason}); one object a line") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object with an id and a transcript")
    return record


def _first(path: Path) -> dict[str, Any]:
    for number, text in lines_of(path):
        return object_of(text, f"{path}: line {number}")
    raise DataError(f"{path}: holds no rows; expected one a clip")


def _rows(path: Path, columns: Columns, unit: Unit) -> Iterator[Row]:
    for number, text in lines_of(path):
        where = f"{path}: line {number}"
        record = object_of(text, where)
        for key in columns:
            if key not in record:
                raise DataError(f"{where}: no key {key!r}, which other lines have; there is: {', '.join(record)}")
        clip_id, transcript = record.pop(columns.id), record.pop(columns.transcript)
        for name in record:
            check_attribute(name, where)
        yield row_of(path, f"line {number}", clip_id, transcript, columns.transcript, record, unit)


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
