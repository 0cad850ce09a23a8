"""Weights of a beam search, tuned on a dev corpus: one lattice of scores serves all weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ctckit.edits import edit_counts
from ctckit.search import Search, alternatives, units
from ctckit.types import Alternative, Batch, Emissions

WEIGHTS = tuple(round(0.1 * step, 1) for step in range(21))
"""Of the language model, that are tried."""

BONUSES = tuple(0.5 * step for step in range(-4, 13))
"""For each token or word, nats, that are tried."""

PILOTS = ((0.0, 0.0), (0.5, 0.5), (1.0, 2.0))
"""Weights and bonuses under which clips are searched; what is found under any of them is weighed under all."""

BEST = 16
"""Hypotheses that each of these searches gives."""

Grid = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weighed:
    """Errors on a corpus under one set of weights.

    Attributes:
        weight: of the language model.
        bonus: for each token or word, nats.
        shift: of the blank, on top of what the run applies, nats.
        substitutions: edit counts over the corpus, as are the next two.
        deletions: see above.
        insertions: see above.
        reference_tokens: tokens in all references.
    """

    weight: float
    bonus: float
    shift: float
    substitutions: int
    deletions: int
    insertions: int
    reference_tokens: int

    @property
    def errors(self) -> int:
        """Edits in all."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate, per cent."""
        return 100.0 * self.errors / max(self.reference_tokens, 1)


def weigh(
    outputs: Iterable[tuple[Batch, Emissions]],
    search: Search,
    shift: float,
    shifts: Sequence[float],
    tokens: Sequence[str],
    references: Mapping[str, tuple[str, ...]],
) -> tuple[Weighed, ...]:
    """Score a corpus under each shift, weight and bonus.

    Each clip is searched a few times under each shift (``PILOTS``); all hypotheses found are then ranked anew under
    all weights, as if a search under those weights had found the same. ``PILOTS`` of weight 0 are all there are
    where there is no language model.

    Args:
        outputs: batches with what the model returns for them, each looked at once.
        search: with everything but its weight, bonus and shift as it is to be.
        shift: that the run applies, nats.
        shifts: to be tried on top of it, nats.
        tokens: of the alphabet, blank first.
        references: transcripts by clip id.
    """
    weights = WEIGHTS if search.language is not None else (0.0,)
    pilots = [pilot for pilot in PILOTS if search.language is not None or not pilot[0]]
    errors: Grid = np.zeros((len(shifts), len(weights), len(BONUSES), 3), np.int64)
    words = 0
    for batch, emissions in outputs:
        words += sum(len(references[clip]) for clip in batch.clip_ids)
        for number, extra in enumerate(shifts):
            lists = [
                alternatives(
                    replace(search, weight=weight, bonus=bonus, shift=extra, best=BEST)(
                        emissions.logits_TBC, emissions.lengths_B, shift
                    ),
                    tokens,
                )
                for weight, bonus in pilots
            ]
            for clip, *found in zip(batch.clip_ids, *lists, strict=True):
                merged = {one.tokens: one for several in found for one in several}
                errors[number] += _errors(list(merged.values()), search, weights, references[clip], tokens)
    return tuple(
        _weighed(weight, bonus, extra, errors[i, j, k], words)
        for i, extra in enumerate(shifts)
        for j, weight in enumerate(weights)
        for k, bonus in enumerate(BONUSES)
    )


def best_weights(weighed: Sequence[Weighed]) -> Weighed:
    """Fewest errors; of equals the one nearest to no shift, then the lightest weight, then the least bonus."""
    return min(weighed, key=lambda one: (one.errors, abs(one.shift), one.weight, abs(one.bonus), one.bonus))


def _weighed(weight: float, bonus: float, shift: float, edits: Grid, words: int) -> Weighed:
    substitutions, deletions, insertions = (int(count) for count in edits)
    return Weighed(weight, bonus, shift, substitutions, deletions, insertions, words)


def _errors(
    found: Sequence[Alternative],
    search: Search,
    weights: Sequence[float],
    reference: tuple[str, ...],
    tokens: Sequence[str],
) -> Grid:
    """Edit counts of the best hypothesis under each weight and bonus, ``[weights, bonuses, 3]``."""
    if not found:
        return np.broadcast_to(np.array(edit_counts(reference, ())), (len(weights), len(BONUSES), 3))
    separator = None if search.lexicon is None else tokens[search.lexicon.separator]
    fixed_N = np.array([one.acoustic + one.boosts for one in found])
    language_N = np.array([one.language for one in found])
    units_N = np.array([units(one.tokens, separator) for one in found])
    totals_WKN = (
        fixed_N + np.array(weights)[:, None, None] * language_N + np.array(BONUSES)[None, :, None] * units_N
    )
    edits_N3 = np.array([edit_counts(reference, one.tokens) for one in found])
    chosen: Grid = edits_N3[totals_WKN.argmax(-1)]
    return chosen
