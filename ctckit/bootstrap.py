"""Is one run better than another, or was it luck: the paired bootstrap over utterances (Bisani and Ney, 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLOCK = 1_000_000
"""Draws of an utterance held at once, so that memory does not grow with corpus or resamples."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure in per cent with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What resampling says about several runs on the same utterances.

    Attributes:
        error_rates: of each run.
        differences: of each run's error rate to the first's; negative is better than the first.
        better: probability that each run makes fewer errors than the first, equal ones counting half.
    """

    error_rates: tuple[Estimate, ...]
    differences: tuple[Estimate, ...]
    better: tuple[float, ...]


def compare(
    errors: Sequence[Sequence[int]], words: Sequence[int], *, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Resample utterances, the same ones for all runs.

    Args:
        errors: of each run, edits of each utterance.
        words: reference tokens of each utterance.
        resamples: corpora drawn, with replacement.
        seed: of the draw.

    Raises:
        ValueError: the runs have different numbers of utterances, or there are no reference tokens.
    """
    return compare_over_seeds([[row] for row in errors], words, resamples=resamples, seed=seed)


def compare_over_seeds(
    errors: Sequence[Sequence[Sequence[int]]], words: Sequence[int], *, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Resample utterances and seeds, the same ones for all variants.

    The error rate of a variant is the mean over its seeds. Runs of several seeds on one corpus are no larger
    corpus: their errors on an utterance go together, so that pooling them as if they were independent would make
    the interval too narrow. Each resample therefore draws utterances once for all seeds, and draws the seeds with
    replacement too, so that a difference between two variants which the seeds do not agree on is not called sure.
    With one seed it is the paired bootstrap over utterances. Two or three seeds still tell little about the luck
    of the seed: the interval is then too narrow rather than too wide.

    Args:
        errors: of each variant, of each seed, edits of each utterance; the seeds in the same order for all.
        words: reference tokens of each utterance.
        resamples: corpora drawn, with replacement.
        seed: of the draw.

    Raises:
        ValueError: numbers of seeds or utterances differ, or there are no reference tokens.
    """
    seeds = {len(runs) for runs in errors}
    if len(seeds) != 1 or 0 in seeds:
        raise ValueError("every variant needs a run for each seed")
    if any(len(row) != len(words) for runs in errors for row in runs):
        raise ValueError("every run needs one error count for each utterance")
    errors_RSN, words_N = np.array(errors, dtype=np.float64), np.array(words, dtype=np.float64)
    if not words_N.sum() > 0:
        raise ValueError("the references hold no tokens")
    utterance_draw, seed_draw = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    count, runs = len(words_N), errors_RSN.shape[1]
    rates: list[npt.NDArray[np.float64]] = []
    left = resamples
    while left:
        rows = min(max(BLOCK // (count * runs), 1), left)
        left -= rows
        drawn = utterance_draw.integers(0, count, (rows, count))
        seeds_drawn = seed_draw.integers(0, runs, (rows, runs))
        sums_RSB = errors_RSN[:, :, drawn].sum(-1)
        of_drawn_seeds_RB = sums_RSB[:, seeds_drawn, np.arange(rows)[:, None]].mean(-1)
        rates.append(100.0 * of_drawn_seeds_RB / words_N[drawn].sum(-1))
    rates_RB = np.concatenate(rates, axis=1)
    plain = 100.0 * errors_RSN.sum(-1).mean(-1) / words_N.sum()
    gaps_RB = rates_RB - rates_RB[0]
    return Comparison(
        tuple(_estimate(value, row) for value, row in zip(plain, rates_RB, strict=True)),
        tuple(_estimate(value - plain[0], row) for value, row in zip(plain, gaps_RB, strict=True)),
        tuple(float((row < 0).mean() + 0.5 * (row == 0).mean()) for row in gaps_RB),
    )


def _estimate(value: float, drawn: npt.NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))
