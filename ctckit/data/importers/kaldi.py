"""Kaldi: ``text`` and ``utt2spk``, and features in archives that ``feats.scp`` points into."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import near_misses
from ctckit.data.importers.rows import Manifest, Row, collect, id_of, lines_of, row_of
from ctckit.data.importers.speakers import read_people
from ctckit.data.importers.stores import common_width
from ctckit.data.schema import Unit
from ctckit.errors import DataError, reason_of

SCRIPT = "feats.scp"

_ENTRY = re.compile(r"(?P<ark>.+?)(?::(?P<offset>\d+))?(?:\[(?P<first>\d+):(?P<last>\d+)\])?")
"""``file.ark:1234``, and a range of rows, its last one included."""

_MATRIX = b"\0B"
"""How a binary matrix begins. Archives may also hold pickles, which run code, and sound, which is no feature."""

_DAMAGE = (OSError, ValueError, AssertionError, EOFError, OverflowError, MemoryError, TypeError, struct.error)
"""What kaldiio raises for archives that are cut short or changed."""


def read_text(path: Path, unit: Unit) -> Manifest:
    """Reads Kaldi's ``text``, an id and words a line, with the speakers of ``utt2spk`` where that lies beside it.

    Raises:
        DataError: a line has no words, or a clip has no speaker.
    """
    rows = collect(_rows(path, unit), path)
    said = [f"read as Kaldi's text, {len(rows)} rows"]
    beside = path.with_name("utt2spk")
    if beside.is_file():
        people = read_people(beside)
        for row in rows:
            if row.clip_id not in people:
                raise DataError(
                    f"{beside}: does not say who speaks in {row.clip_id!r} ({path}: {row.place}); add it"
                )
        rows = tuple(replace(row, attributes={"speaker": people[row.clip_id]}) for row in rows)
        said.append("speaker from utt2spk")
    return Manifest(path, rows, tuple(said), unit)


def _rows(path: Path, unit: Unit) -> Iterator[Row]:
    for number, text in lines_of(path):
        clip_id, _, words = text.strip().replace("\t", " ", 1).partition(" ")
        yield row_of(path, f"line {number}", clip_id, words, "text", {}, unit)


class Archives:
    """Features of the archives that a ``feats.scp`` points into, read by kaldiio.

    A path is taken as it stands, from the folder of the script, or by its name beside the script, whichever is
    there first. Commands (``gunzip -c x |``) are refused, and so are archives of anything but matrices.

    Args:
        script: the ``feats.scp``.

    Raises:
        DataError: kaldiio is not installed, or an entry cannot be used.
    """

    def __init__(self, script: Path) -> None:
        try:
            from kaldiio.matio import read_kaldi
        except ImportError as error:
            raise DataError(
                f"{script}: Kaldi's archives are read by the package kaldiio, which is not installed; pip install "
                "'ctckit[kaldi]'"
            ) from error
        self._read = read_kaldi
        self.script = script
        self.name = script.name
        self._entries: dict[str, tuple[int, Path, int, slice]] = {}
        for number, text in lines_of(script):
            where = f"{script}: line {number}"
            clip_id, _, entry = text.strip().replace("\t", " ", 1).partition(" ")
            clip_id = id_of(clip_id, where)
            if clip_id in self._entries:
                raise DataError(
                    f"{where}: clip {clip_id!r} stands on line {self._entries[clip_id][0]} already; ids must be "
                    "unique"
                )
            self._entries[clip_id] = (number, *self._parse(entry.strip(), f"{where}: clip {clip_id!r}"))
        if not self._entries:
            raise DataError(f"{script}: holds no rows; expected an id and a place in an archive on each")

    def _parse(self, entry: str, where: str) -> tuple[Path, int, slice]:
        if entry.startswith("|") or entry.endswith("|"):
            raise DataError(f"{where}: {entry!r} is a command, which is not run; write the archive with copy-feats")
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise DataError(f"{where}: {entry!r} is no place in an archive; expected file.ark:offset")
        given = Path(match["ark"])
        places = [given, self.script.parent / given, self.script.parent / given.name]
        ark = next((place for place in places if place.is_file()), None)
        if ark is None:
            raise DataError(f"{where}: there is no archive {given}, from here or from beside {self.script.name}")
        rows = slice(None) if match["first"] is None else slice(int(match["first"]), int(match["last"]) + 1)
        return ark, int(match["offset"] or 0), rows

    def find(self, clip_id: str, *, by_stem: bool) -> str | None:
        """The id itself, where the script has it."""
        return clip_id if clip_id in self._entries else None

    def lacks(self, clip_id: str) -> str:
        """The script that lacks it, and an entry that differs only in how it is written."""
        twin = near_misses([clip_id], self._entries).get(clip_id)
        hint = f", but {twin[0]!r}: {twin[1]}" if twin else ""
        return f"is not in {self.script}{hint}"

    def unlisted(self, used: set[str]) -> list[str]:
        """Ids of the script that no row has."""
        return [clip_id for clip_id in self._entries if clip_id not in used]

    def place(self, key: str) -> str:
        """The script, the line, and the clip."""
        return f"{self.script}: line {self._entries[key][0]}: clip {key!r}"

    def check(self, keys: Sequence[str]) -> tuple[int, set[np.dtype[Any]]]:
        """Reads the first clip; an archive tells no sizes otherwise, and the writer refuses others as they come."""
        return common_width([(self.place(keys[0]), self.load(keys[0]))])

    def load(self, key: str) -> npt.NDArray[Any]:
        """Reads one matrix.

        Raises:
            DataError: there is none at this place.
        """
        _, ark, offset, rows = self._entries[key]
        try:
            with ark.open("rb") as stream:
                stream.seek(offset)
                array: npt.NDArray[Any] | None = None
                if stream.read(len(_MATRIX)) == _MATRIX:
                    stream.seek(offset)
                    array = self._read(stream)
        except _DAMAGE as error:
            reason = reason_of(error)
            raise DataError(
                f"{self.place(key)}: {ark} cannot be read at byte {offset} ({reason}); write it "
                "again with copy-feats"
            ) from error
        if array is None:
            raise DataError(
                f"{self.place(key)}: {ark} holds no binary matrix at byte {offset}; write it with copy-feats"
            )
        if rows.stop is not None and rows.stop > len(array):
            raise DataError(f"{self.place(key)}: rows up to {rows.stop - 1} of {len(array)} in {ark}")
        return array[rows]
