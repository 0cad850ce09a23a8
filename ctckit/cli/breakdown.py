"""How errors taken apart look on a terminal, for ``evaluate`` and ``score``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctckit.breakdown import Breakdown, Errors

details = click.option(
    "--details",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="N",
    help="How many confusions of each kind, worst clips and speakers to show.",
)


def rates(found: Breakdown) -> str:
    """Return word and character errors, and which of them are those of the tokens."""
    words, characters = (", the tokens", "") if found.unit == "word" else (", between spaces", ", the tokens")
    return (
        f"word errors        {_errors(found.words, 'words' + words)}\n"
        f"character errors   {_errors(found.characters, 'characters' + characters)}"
    )


def shown(found: Breakdown, number: int) -> Iterator[str]:
    """Yield the lines of confusions, worst clips and speakers, ``number`` of each."""
    substituted = [
        f"{wanted!r} as {got!r} {count}" for (wanted, got), count in found.substitutions.most_common(number)
    ]
    deleted = [f"{token!r} {count}" for token, count in found.deletions.most_common(number)]
    inserted = [f"{token!r} {count}" for token, count in found.insertions.most_common(number)]
    for name, entries in (("substituted", substituted), ("deleted", deleted), ("inserted", inserted)):
        if entries:
            yield f"{name:<19}{', '.join(entries)}"
    join = " ".join if found.unit == "word" else "".join
    for one, errors in found.worst(number):
        yield f"worst              {one.clip_id}: {_errors(errors, 'tokens')}"
        yield f"  wanted  {join(one.reference)}"
        yield f"  got     {join(one.hypothesis)}"
    for speaker, errors in list(found.speakers.items())[:number]:
        yield f"speaker            {speaker}: {_errors(errors, 'tokens')}"
    if number and len(found.speakers) > number:
        yield f"                   and {len(found.speakers) - number} more with fewer errors a token"


def _errors(errors: Errors, what: str) -> str:
    rate = "no rate" if math.isnan(errors.rate) else f"{errors.rate:.2f} %"
    return f"{rate}  (S {errors.substitutions}, D {errors.deletions}, I {errors.insertions} of {errors.of} {what})"
