"""Rows of a manifest, one a clip: what they hold, and how a value becomes an id, a transcript or an attribute."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctckit.data.alphabet import BLANK_TOKEN, Alphabet
from ctckit.data.dataset import tokenize
from ctckit.data.schema import LIST, Unit, text_of
from ctckit.errors import DataError


@dataclass(frozen=True)
class Row:
    """One clip of a manifest.

    Attributes:
        place: where it stands in the file, such as "line 3".
        clip_id: unique in the file.
        tokens: its transcript, at least one.
        attributes: everything else that the row says, by name.
    """

    place: str
    clip_id: str
    tokens: tuple[str, ...]
    attributes: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """The rows of a file: each of them was read, or the file was refused.

    Attributes:
        path: the file.
        rows: in its order.
        said: how it was read, for people, a line each.
        unit: what a token is.
        alphabet: labels in the order of their classes; None collects them from the rows.
        ids_are_paths: whether ids are paths of recordings, so that a clip is named by its features instead.
    """

    path: Path
    rows: tuple[Row, ...]
    said: tuple[str, ...]
    unit: Unit
    alphabet: Alphabet | None = None
    ids_are_paths: bool = False


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what can go wrong between a disk and a text into a DataError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (number, text) of the lines that hold something, without a byte order mark."""
    with reading(path), path.open(encoding="utf-8-sig") as stream:
        for number, text in enumerate(stream, start=1):
            if text.strip():
                yield number, text


def collect(rows: Iterator[Row], path: Path) -> tuple[Row, ...]:
    """All rows, once it is known that there are some and that no id occurs twice.

    Raises:
        DataError: there is none, or an id occurs twice.
    """
    places: dict[str, str] = {}
    found = []
    for row in rows:
        if row.clip_id in places:
            raise DataError(
                f"{path}: {row.place}: clip {row.clip_id!r} stands on {places[row.clip_id]} already; ids must be "
                "unique"
            )
        places[row.clip_id] = row.place
        found.append(row)
    if not found:
        raise DataError(f"{path}: holds no rows; expected one a clip")
    return tuple(found)


def row_of(
    path: Path, place: str, clip_id: Any, transcript: Any, key: str, attributes: dict[str, Any], unit: Unit
) -> Row:
    """Checks the values of one row.

    Args:
        path: the file.
        place: where the row stands in it.
        clip_id: the value that names the clip.
        transcript: a text, or a list of tokens.
        key: what the transcript is called in the file.
        attributes: everything else.
        unit: what a token is.

    Raises:
        DataError: a value is missing, or is not what it should be.
    """
    where = f"{path}: {place}"
    name = id_of(clip_id, where)
    tokens = tokens_of(transcript, f"{where}: clip {name!r}", key, unit)
    return Row(place, name, tokens, {k: cell(v, f"{where}: clip {name!r}: {k!r}") for k, v in attributes.items()})


def id_of(value: Any, where: str) -> str:
    """The id that a value is, in NFC: macOS decomposes file names, manifests rarely do."""
    if isinstance(value, bool | float) or not isinstance(value, str | int | None):
        raise DataError(f"{where}: the id is {value!r}, expected a text; write it as one")
    text = unicodedata.normalize("NFC", cell(value, f"{where}: the id")).strip().removesuffix(".npy")
    if not text:
        raise DataError(f"{where}: the id is empty; every clip needs one")
    return text


def tokens_of(value: Any, where: str, key: str, unit: Unit) -> tuple[str, ...]:
    """The tokens that a value is: a text is cut, a list is taken token by token.

    Raises:
        DataError: it is missing, or something else than text.
    """
    named = f"{where}: {key!r}"
    if isinstance(value, list):
        tokens = tuple(_token(one, named, unit) for one in value)
    else:
        text = text_of(value, named) or ""
        if LIST.fullmatch(text.strip()):
            raise DataError(
                f"{named} is a list written as text ({text.strip()[:40]!r}); write its tokens with spaces between "
                "them (' '.join), or the list itself as JSON lines"
            )
        tokens = tokenize(text, unit)
    if not tokens:
        raise DataError(f"{where}: empty transcript; complete it or remove the line")
    if BLANK_TOKEN in tokens:
        raise DataError(f"{named} holds {BLANK_TOKEN!r}, which is reserved for the blank; take it out")
    if any("\0" in token for token in tokens):
        raise DataError(f"{named} holds the character NUL; take it out")
    return tokens


def _token(value: Any, named: str, unit: Unit) -> str:
    text = text_of(value, named)
    if text is None:
        raise DataError(f"{named} holds a token that is missing (NaN or null); complete it")
    if not is_token(text, unit):
        raise DataError(f"{named} holds the token {text!r}, which is not one {unit}; correct it or choose --unit")
    return text.strip() if unit == "word" else text


def is_token(text: str, unit: Unit) -> bool:
    """Whether a text is one token, and not several or none."""
    return len(text.split()) == 1 if unit == "word" else len(text) == 1


def cell(value: Any, named: str) -> str:
    """An attribute as text; "" for one that is missing, JSON for what has parts.

    Raises:
        DataError: the text cannot be stored: it holds NUL, or halves of characters.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\0" in text:
        raise DataError(f"{named} holds the character NUL; take it out")
    text_of(text, named)
    return text
