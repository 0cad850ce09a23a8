"""Who speaks (or signs) in which clip, from a file beside the manifest."""

from __future__ import annotations

from pathlib import Path

from ctckit.data.importers.rows import id_of, lines_of
from ctckit.data.schema import SPEAKERS
from ctckit.errors import DataError

_IDS = frozenset({"id", "name", "clip", "clip_id", "utterance_id", "utt", "utt_id"})


def read_people(path: Path) -> dict[str, str]:
    """Reads clip -> person: Kaldi's ``utt2spk`` (two words a line), or a table with a header or without one.

    Args:
        path: ``id person`` a line, separated by white space, or by one of comma, semicolon, bar and tab. A first
            line such as ``id,speaker`` is a header; of a header's columns those two are taken.

    Raises:
        DataError: a line has no id or person, or an id has two persons.
    """
    people: dict[str, str] = {}
    separator: str | None = None
    columns: tuple[int, int] | None = None
    for number, text in lines_of(path):
        where = f"{path}: line {number}"
        if columns is None:
            separator = max("\t,;|", key=text.count)
            separator = separator if separator in text else None
        fields = [field.strip().strip('"') for field in text.strip("\r\n").split(separator)]
        if columns is None:
            names = [field.casefold() for field in fields]
            ids = [place for place, name in enumerate(names) if name in _IDS]
            persons = [place for place, name in enumerate(names) if name in SPEAKERS]
            if len(ids) == len(persons) == 1:
                columns = ids[0], persons[0]
                continue
            columns = 0, 1
            if len(fields) != 2:
                raise DataError(
                    f"{where}: expected two fields, a clip's id and who it shows, or a header with such columns "
                    f"(id, speaker); found {len(fields)}"
                )
        if len(fields) <= max(columns) or not fields[columns[1]]:
            raise DataError(f"{where}: says of no clip who it shows; write its id and the speaker")
        clip_id, person = id_of(fields[columns[0]], where), fields[columns[1]]
        if people.setdefault(clip_id, person) != person:
            raise DataError(f"{where}: clip {clip_id!r} is of {person!r}, but of {people[clip_id]!r} above it")
    if not people:
        raise DataError(f"{path}: holds no rows; expected a clip's id and the speaker on each")
    return people
