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
    if any(len(row) != len(words) for row in errors):
        raise ValueError("every run needs one error count for each utterance")
    errors_RN, words_N = np.array(errors, dtype=np.float64), np.array(words, dtype=np.float64)
    if not words_N.sum() > 0:
        raise ValueError("the references hold no tokens")
    random = np.random.default_rng(seed)
    count = len(words_N)
    rates: list[npt.NDArray[np.float64]] = []
    left = resamples
    while left:
        rows = min(max(BLOCK // count, 1), left)
        left -= rows
        drawn = random.integers(0, count, (rows, count))
        rates.append(100.0 * errors_RN[:, drawn].sum(-1) / words_N[drawn].sum(-1))
    rates_RS = np.concatenate(rates, axis=1)
    plain = 100.0 * errors_RN.sum(1) / words_N.sum()
    gaps_RS = rates_RS - rates_RS[0]
    return Comparison(
        tuple(_estimate(value, row) for value, row in zip(plain, rates_RS, strict=True)),
        tuple(_estimate(value - plain[0], row) for value, row in zip(plain, gaps_RS, strict=True)),
        tuple(float((row < 0).mean() + 0.5 * (row == 0).mean()) for row in gaps_RS),
    )


def _estimate(value: float, drawn: npt.NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))
