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
    return _counts(sides, weighted=_weighted(sides, sclite))


def aligned(reference: Sequence[str], hypothesis: Sequence[str], *, sclite: bool = False) -> list[Pair]:
    """Pair the tokens of both sides with fewest errors (kaldialign).

    sclite weighs a substitution 4 and the other errors 3, so where little fits it rather deletes and inserts, and
    may count more errors than there need be. Of several alignments with fewest errors sclite's is taken if it is
    one of them: that with most equal pairs.

    Args:
        reference: tokens of the transcript, compared as they are.
        hypothesis: tokens that were recognised.
        sclite: take what weighs least for sclite even where another has fewer errors; of several the one with
            fewest errors, if there is one with no more than there need be. sclite itself breaks the ties that are
            left in another way, which shows in clips that are mostly wrong.
    """
    sides = _numbers(reference, hypothesis)
    pairs = kaldialign.align(*sides, _NONE, sclite_mode=_weighted(sides, sclite))
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


def _counts(sides: tuple[list[int], list[int]], *, weighted: bool) -> tuple[int, int, int]:
    counts = kaldialign.edit_distance(*sides, sclite_mode=weighted)
    return counts["sub"], counts["del"], counts["ins"]


def _weighted(sides: tuple[list[int], list[int]], sclite: bool) -> bool:
    """Whether to take the alignment by sclite's weights or the one that has fewest errors."""
    fewest, lightest = (_counts(sides, weighted=weighted) for weighted in (False, True))
    if sclite:
        return _weight(lightest) < _weight(fewest)
    return sum(lightest) == sum(fewest)


def _weight(counts: tuple[int, int, int]) -> int:
    return counts[0] + 3 * sum(counts)
