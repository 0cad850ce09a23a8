"""Which number stands for which label, in files whose labels are numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctckit.data.importers.rows import reading
from ctckit.errors import DataError, reason_of

BLANKS = frozenset(
    {"<blank>", "<blk>", "<ctc>", "<ctc_blank>", "[blank]", "<eps>", "<epsilon>", "<pad>", "[pad]", "|blank|"}
)
"""How the blank is written in vocabularies, in lower case."""

_NUMBERED = re.compile(r"(\S+)[ \t]+(\d+)")


@dataclass(frozen=True)
class Vocabulary:
    """Labels by number.

    Attributes:
        name: of the file, for messages.
        labels: number -> label, without the blank.
        blank: the blank's number; None where the file names none.
    """

    name: str
    labels: Mapping[int, str]
    blank: int | None

    def describe(self) -> str:
        """What the first and the last number stand for, and what 0 is, for people."""
        first, last = min(self.labels), max(self.labels)
        zero = (
            "0 is the blank" if self.blank == 0 else f"0 is {self.labels[0]!r}" if first == 0 else "0 is no label"
        )
        other = f", the blank is {self.blank}" if self.blank else ""
        ends = f"{first} {self.labels[first]!r} to {last} {self.labels[last]!r}"
        return f"{self.name}: {zero}{other}, labels run from {ends}"


def read_vocabulary(path: Path, least: int, most: int, first_label: int | None) -> Vocabulary:
    """Reads a vocabulary for labels from `least` to `most`.

    A list does not say whether its first entry is 0 or 1. It is 0 where the list names the blank, or where only
    that fits the labels; it is 1 where only that fits; where both do, `first_label` has to say.

    Args:
        path: one token a line; or ``token number`` a line; or JSON: a list of tokens, or an object of tokens to
            numbers or of numbers to tokens.
        least: smallest label there is.
        most: largest label there is.
        first_label: number of a list's first entry; None takes what fits.

    Raises:
        DataError: the file is no vocabulary, or both numberings fit, or none.
    """
    entries = _entries(path)
    if isinstance(entries, dict):
        if first_label is not None:
            raise DataError(f"{path}: numbers its tokens itself; leave out --first-label")
        numbered = entries
    else:
        first = _first_number(path, entries, least, most) if first_label is None else first_label
        numbered = dict(enumerate(entries, start=first))
    _check(path, numbered)
    blanks = [number for number, token in numbered.items() if token.casefold() in BLANKS]
    if len(blanks) > 1:
        named = ", ".join(f"{numbered[number]!r} ({number})" for number in blanks)
        raise DataError(f"{path}: {named} may each be the blank; keep the one that is")
    labels = {number: token for number, token in sorted(numbered.items()) if number not in blanks}
    if not labels:
        raise DataError(f"{path}: holds no label besides the blank")
    return Vocabulary(path.name, labels, blanks[0] if blanks else None)


def _first_number(path: Path, tokens: list[str], least: int, most: int) -> int:
    if any(token.casefold() in BLANKS for token in tokens):
        return 0
    fitting = [first for first in (0, 1) if first <= least and most < first + len(tokens)]
    if not fitting:
        raise DataError(
            f"{path}: holds {len(tokens)} tokens, but labels run from {least} to {most}; it is not the vocabulary "
            "of these labels"
        )
    if len(fitting) > 1:
        raise DataError(
            f"{path}: labels run from {least} to {most} and may count its {len(tokens)} tokens from 0 or from 1 "
            f"({least} is {tokens[least]!r} or {tokens[least - 1]!r}); say which (--first-label 0 or 1)"
        )
    return fitting[0]


def _entries(path: Path) -> list[str] | dict[int, str]:
    with reading(path):
        text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".json":
        try:
            return _of_json(json.loads(text), path)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not JSON ({reason_of(error)})") from error
    # a line may be a space, which is a label; only what ends it is taken off
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if "" in lines:
        raise DataError(f"{path}: line {lines.index('') + 1} is empty; expected one token a line")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        return _unique([(int(one[2]), one[1]) for one in numbered if one], path)
    return lines


def _of_json(value: Any, path: Path) -> list[str] | dict[int, str]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return list(value)
    if isinstance(value, dict) and value:
        whole = [isinstance(one, int) and not isinstance(one, bool) for one in value.values()]
        if all(whole):
            return _unique([(number, token) for token, number in value.items()], path)
        if all(isinstance(one, str) for one in value.values()) and all(key.isdecimal() for key in value):
            return _unique([(int(number), token) for number, token in value.items()], path)
    raise DataError(f"{path}: expected a list of tokens, or an object of tokens and their numbers")


def _unique(pairs: list[tuple[int, str]], path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, token in pairs:
        if number in found:
            raise DataError(f"{path}: {token!r} and {found[number]!r} both have number {number}; correct one")
        found[number] = token
    return found


def _check(path: Path, numbered: Mapping[int, str]) -> None:
    seen: dict[str, int] = {}
    for number, token in numbered.items():
        if not token or "\0" in token or number < 0:
            raise DataError(f"{path}: number {number} is {token!r}, which is no label")
        if token in seen:
            raise DataError(f"{path}: {token!r} stands for both {seen[token]} and {number}; remove one")
        seen[token] = number
