"""What the rules remember of a run: its last epochs whole, and of the others a few figures.

Taking in an epoch, and keeping this in a checkpoint, costs the same in epoch 200 as in epoch 1. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ctckit.doctor.observations import Observation

WINDOW = 10
"""Epochs that are kept whole; no rule looks further back than this but for what ``Past`` sums up."""

ERRORS = 5
"""Latest error rates that are kept apart from the best of those before."""


@dataclass(slots=True)
class Past:
    """The epochs of a run, in order, as far as rules need them.

    Attributes:
        recent: the last ``WINDOW`` epochs.
        epochs: how many there were.
        fits: the last ``WINDOW`` training losses that were recorded.
        fits_known: how many there were.
        errors: the last ``ERRORS`` word error rates that were recorded.
        best_error_before: the best of those before, or None.
        off_plateau: whether any epoch was off the plateau.
        lowest_val_loss: the lowest dev loss, or None.
        lowest_epoch: the first epoch that had it.
        epochs_since_lowest: that came after it.
        best_error_to_lowest: the best word error rate up to it, or None.
        best_error_since_lowest: the best after it, or None.
    """

    recent: list[Observation] = field(default_factory=list)
    epochs: int = 0
    fits: list[float] = field(default_factory=list)
    fits_known: int = 0
    errors: list[float] = field(default_factory=list)
    best_error_before: float | None = None
    off_plateau: bool = False
    lowest_val_loss: float | None = None
    lowest_epoch: int = 0
    epochs_since_lowest: int = 0
    best_error_to_lowest: float | None = None
    best_error_since_lowest: float | None = None

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> Self:
        """Take in the epochs of a run."""
        past = cls()
        for observation in observations:
            past.add(observation)
        return past

    @property
    def now(self) -> Observation:
        """The last epoch."""
        return self.recent[-1]

    def add(self, one: Observation) -> None:
        """Take in the next epoch."""
        self.recent = [*self.recent[1 - WINDOW :], one]
        self.epochs += 1
        if one.fit is not None:
            self.fits = [*self.fits[1 - WINDOW :], one.fit]
            self.fits_known += 1
        self.off_plateau = self.off_plateau or one.on_plateau is False
        if one.val_wer is not None:
            if len(self.errors) == ERRORS:
                self.best_error_before = _lower(self.best_error_before, self.errors[0])
            self.errors = [*self.errors[1 - ERRORS :], one.val_wer]
            self.best_error_since_lowest = _lower(self.best_error_since_lowest, one.val_wer)
        if one.val_loss is not None and (self.lowest_val_loss is None or one.val_loss < self.lowest_val_loss):
            self.lowest_val_loss, self.lowest_epoch, self.epochs_since_lowest = one.val_loss, one.epoch, 0
            self.best_error_to_lowest = _lower(self.best_error_to_lowest, self.best_error_since_lowest)
            self.best_error_since_lowest = None
        else:
            self.epochs_since_lowest += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        # lists, because a checkpoint gives back lists
        recent = [{**asdict(one), "not_finite": list(one.not_finite)} for one in self.recent]
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "recent": recent, "fits": list(self.fits), "errors": list(self.errors)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what ``state_dict`` returned."""
        recent = [Observation(**{**row, "not_finite": tuple(row["not_finite"])}) for row in state["recent"]]
        kept = {"recent": recent, "fits": list(state["fits"]), "errors": list(state["errors"])}
        return cls(**{**state, **kept})


def _lower(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)
