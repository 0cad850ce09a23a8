"""What was recognised beside what was said: minimum edit alignments of tokens, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence

import kaldialign

Pair = tuple[str | None, str | None]
"""Of an alignment: a token of the reference and one of the hypothesis, None where a side has none."""

_NONE = -1


def edit_counts(
    reference: Sequence[str], hypothesis: Sequence[str], *, sclite: bool = False
) -> tuple[int, int, int]:
    """Count substitutions, deletions and insertions of `aligned`; an empty reference has insertions alone."""
    sides = _numbers(reference, hypothesis)
    counts = kaldialign.edit_distance(*sides, sclite_mode=sclite or _sclite_is_minimal(*sides))
    return counts["sub"], counts["del"], counts["ins"]


def aligned(reference: Sequence[str], hypothesis: Sequence[str], *, sclite: bool = False) -> list[Pair]:
    """Pair the tokens of both sides with fewest errors (kaldialign).

    Of several such alignments it takes the one that sclite takes, if sclite takes one of them: the one with most
    equal pairs. sclite weighs a substitution 4 and the other errors 3, so where nothing fits it rather deletes and
    inserts, and may count more errors than there need be.

    Args:
        reference: tokens of the transcript, compared as they are.
        hypothesis: tokens that were recognised.
        sclite: take sclite's alignment even where another has fewer errors.
    """
    sides = _numbers(reference, hypothesis)
    pairs = kaldialign.align(*sides, _NONE, sclite_mode=sclite or _sclite_is_minimal(*sides))
    wanted, got = iter(reference), iter(hypothesis)
    return [(None if a == _NONE else next(wanted), None if b == _NONE else next(got)) for a, b in pairs]


def matches(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Say of each token of either side whether `aligned` pairs it with its like."""
    pairs = aligned(reference, hypothesis)
    return (
        tuple(wanted == got for wanted, got in pairs if wanted is not None),
        tuple(wanted == got for wanted, got in pairs if got is not None),
    )


def _numbers(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[int], list[int]]:
    """Tokens as numbers: kaldialign sorts its symbols, and takes one of them for none."""
    numbers: dict[str, int] = {}
    wanted, got = ([numbers.setdefault(token, len(numbers)) for token in side] for side in (reference, hypothesis))
    return wanted, got


def _sclite_is_minimal(wanted: list[int], got: list[int]) -> bool:
    least = kaldialign.edit_distance(wanted, got)["total"]
    return bool(kaldialign.edit_distance(wanted, got, sclite_mode=True)["total"] == least)
