"""How far confidences can be believed: what a history records of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bin:
    """Confidences that lie beside one another.

    Attributes:
        confidence: their mean, 0 to 1.
        right: the share of them that were right, 0 to 1.
        count: how many they are.
    """

    confidence: float
    right: float
    count: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidences beside what came of them.

    Attributes:
        bins: in the order of confidence, of about equal counts.
        error: expected calibration error, the mean distance of confidence and share over the bins, 0 to 1 (Naeini,
            Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015).
        log_loss: mean negative log-likelihood of right and wrong, nats.
    """

    bins: tuple[Bin, ...]
    error: float
    log_loss: float

    @property
    def count(self) -> int:
        """Confidences in all."""
        return sum(one.count for one in self.bins)

    @property
    def right(self) -> float:
        """Share of them that were right."""
        return sum(one.right * one.count for one in self.bins) / self.count


@dataclass(frozen=True, slots=True)
class Measured:
    """Confidences of one kind on one corpus, before and after calibration."""

    raw: Reliability
    calibrated: Reliability


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What ``ctckit calibrate`` found.

    Attributes:
        corpus: on which it was measured.
        epoch: of the checkpoint.
        fitted: whether the corpus is the one that the calibration was fitted on.
        token: confidences of tokens.
        clip: confidences of clips.
    """

    corpus: str
    epoch: int
    fitted: bool
    token: Measured
    clip: Measured


def calibrated_row(one: Calibrated) -> dict[str, Any]:
    """Flatten for a history."""
    return asdict(one)


def calibrated_from_row(row: Mapping[str, Any]) -> Calibrated:
    """Read what ``calibrated_row`` made.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return Calibrated(
        str(row["corpus"]), int(row["epoch"]), bool(row["fitted"]), _measured(row["token"]), _measured(row["clip"])
    )


def _measured(row: Mapping[str, Any]) -> Measured:
    return Measured(_reliability(row["raw"]), _reliability(row["calibrated"]))


def _reliability(row: Mapping[str, Any]) -> Reliability:
    bins = tuple(Bin(float(one["confidence"]), float(one["right"]), int(one["count"])) for one in row["bins"])
    if not bins or any(one.count < 1 for one in bins):
        raise ValueError("bins without confidences")
    return Reliability(bins, float(row["error"]), float(row["log_loss"]))
