"""Clips that cannot be used, put together by what is wrong with them, so that one hides no other."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ctckit.errors import ClipError, DataError

SHOWN = 5

_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(\.\d+)?(e[+-]?\d+)?")
"""What differs between two faults of one kind: names and numbers."""


def by_kind(errors: Iterable[DataError]) -> list[str]:
    """Return a line for each kind of fault: the clips that have it, and what is said of the first.

    Args:
        errors: of any number of clips, each with one reason or several.
    """
    kinds: dict[str, tuple[str, list[str]]] = {}
    for error in errors:
        clip_id = error.clip_id if isinstance(error, ClipError) else ""
        for reason in error.reasons if isinstance(error, ClipError) else (str(error),):
            kinds.setdefault(_PARTICULAR.sub("_", reason), (reason, []))[1].append(clip_id)
    lines = []
    for reason, clips in sorted(kinds.values(), key=lambda kind: -len(kind[1])):
        named = [repr(clip) for clip in clips if clip]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        lines.append(f"{', '.join(named[:SHOWN])}{more}: {reason}" if named else reason)
    return lines
