"""Confidences fitted on a dev corpus, so that of all tokens with 80 % four in five are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctckit.edits import matches
from ctckit.record.calibration import Bin, Measured, Reliability
from ctckit.types import Hypothesis, LogOdds, log_odds

BINS = 10
"""Of a reliability diagram."""

LEAST_SLOPE = 1e-3
"""Of log odds; below it, confidence says nothing about being right."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Raw confidences, and which of them were right."""

    confidences: Floats
    right: Flags


def outcomes(decoded: Iterable[Hypothesis]) -> tuple[Outcomes, Outcomes]:
    """Return the raw confidences of tokens and of clips with what came of them.

    A token is right where a minimum edit alignment pairs it with its like; a clip is right if all of it is.

    Args:
        decoded: by a recogniser without calibration, with references.
    """
    token: list[tuple[float, bool]] = []
    clip: list[tuple[float, bool]] = []
    for one in decoded:
        _, right = matches(one.reference, one.tokens)
        token += zip(one.confidences, right, strict=True)
        if one.confidence is not None:
            clip.append((one.confidence, one.tokens == one.reference))
    return _outcomes(token), _outcomes(clip)


def _outcomes(pairs: Sequence[tuple[float, bool]]) -> Outcomes:
    return Outcomes(
        np.array([pair[0] for pair in pairs], np.float64), np.array([pair[1] for pair in pairs], np.bool_)
    )


def fit(seen: Outcomes) -> LogOdds:
    """Fit temperature and offset by maximum likelihood.

    With Platt's targets ("Probabilistic outputs for support vector machines", 1999, 2.2) in the place of 0 and 1,
    so that a corpus without errors does not give certainty. Where confidence and being right have nothing to do
    with each other, the temperature is large and every confidence becomes the share that is right.
    """
    x = np.array([log_odds(confidence) for confidence in seen.confidences])
    right, count = int(seen.right.sum()), len(x)
    y = np.where(seen.right, (right + 1.0) / (right + 2.0), 1.0 / (count - right + 2.0))
    design = np.stack([x, np.ones_like(x)], 1)
    weights = np.array([1.0, 0.0])
    # Newton's method on a convex loss; the ridge keeps the step defined where all confidences are alike
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-(design @ weights)))
        gradient = design.T @ (p - y)
        hessian = design.T @ (design * (p * (1.0 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    slope = float(weights[0])
    if slope < LEAST_SLOPE:  # less sure would be right more often: only the share is worth anything
        share = float(y.mean())
        return LogOdds(1.0 / LEAST_SLOPE, log_odds(share))
    return LogOdds(1.0 / slope, float(weights[1]))


def measured(seen: Outcomes, fitted: LogOdds) -> Measured:
    """Return how reliable confidences are, as they come and as fitted."""
    calibrated = np.array([fitted(confidence) for confidence in seen.confidences])
    return Measured(reliability(seen), reliability(Outcomes(calibrated, seen.right)))


def reliability(seen: Outcomes) -> Reliability:
    """Sort confidences into bins of about equal counts, equal confidences into one bin."""
    order = np.argsort(seen.confidences, kind="stable")
    confidences, right = seen.confidences[order], seen.right[order]
    _, group, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # of each group of equal confidences
    number = (middle[group] * BINS / len(order)).astype(int)
    bins = [
        Bin(
            float(confidences[number == one].mean()), float(right[number == one].mean()), int((number == one).sum())
        )
        for one in np.unique(number)
    ]
    error = sum(one.count * abs(one.confidence - one.right) for one in bins) / len(order)
    held = np.clip(confidences, 1e-7, 1.0 - 1e-7)
    log_loss = -np.where(right, np.log(held), np.log1p(-held)).mean()
    return Reliability(tuple(bins), float(error), float(log_loss))
