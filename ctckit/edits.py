"""What was recognised beside what was said: minimum edit alignments of tokens, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence

import kaldialign

Pair = tuple[str | None, str | None]
"""Of an alignment: a token of the reference and one of the hypothesis, None where a side has none."""

_NONE = -1
_PAIR, _INSERTION, _DELETION = range(3)


def edit_counts(
    reference: Sequence[str], hypothesis: Sequence[str], *, sclite: bool = False
) -> tuple[int, int, int]:
    """Count substitutions, deletions and insertions of `aligned`; an empty reference has insertions alone."""
    sides = _numbers(reference, hypothesis)
    if not sclite:
        return _counts(sides, weighted=_weighted(sides))
    pairs = _sclites(*sides)
    deleted, inserted = (sum(pair[side] == _NONE for pair in pairs) for side in (1, 0))
    return sum(wanted != got for wanted, got in pairs) - deleted - inserted, deleted, inserted


def aligned(reference: Sequence[str], hypothesis: Sequence[str], *, sclite: bool = False) -> list[Pair]:
    """Pair the tokens of both sides with fewest errors (kaldialign).

    sclite weighs a substitution 4 and the other errors 3, so where little fits it rather deletes and inserts, and
    may count more errors than there need be. Of several alignments with fewest errors one that is lightest for
    sclite is taken if there is one: that with most equal pairs.

    Args:
        reference: tokens of the transcript, compared as they are.
        hypothesis: tokens that were recognised.
        sclite: take the alignment that sclite 2.4.10 takes, pair by pair, fewest errors or not; it is not made by
            kaldialign, whose sclite mode has the same weights and breaks ties in another way.
    """
    sides = _numbers(reference, hypothesis)
    pairs = _sclites(*sides) if sclite else kaldialign.align(*sides, _NONE, sclite_mode=_weighted(sides))
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


def _weighted(sides: tuple[list[int], list[int]]) -> bool:
    """Whether kaldialign's alignment by sclite's weights has as few errors as there need be."""
    fewest, lightest = (_counts(sides, weighted=weighted) for weighted in (False, True))
    return sum(lightest) == sum(fewest)


def _sclites(reference: Sequence[int], hypothesis: Sequence[int]) -> list[tuple[int, int]]:
    """Align as sclite does: of equally light ways into a place the pair, then the insertion, then the deletion.

    It is the only one of the six orders that gives the counts that sclite prints.
    """
    row = [3 * place for place in range(len(hypothesis) + 1)]
    moves = [bytes([_INSERTION]) * len(row)]
    for number, wanted in enumerate(reference, 1):
        above, row = row, [3 * number]
        taken = bytearray([_DELETION])
        for place, got in enumerate(hypothesis, 1):
            paired = above[place - 1] + 4 * (wanted != got)
            inserted, deleted = row[-1] + 3, above[place] + 3
            lightest = min(paired, inserted, deleted)
            row.append(lightest)
            taken.append(_PAIR if paired == lightest else _INSERTION if inserted == lightest else _DELETION)
        moves.append(bytes(taken))
    pairs = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        move = moves[i][j]
        i, j = i - (move != _INSERTION), j - (move != _DELETION)
        pairs.append((_NONE if move == _INSERTION else reference[i], _NONE if move == _DELETION else hypothesis[j]))
    return pairs[::-1]
