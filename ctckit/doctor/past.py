"""What the rules remember of a run: its last epochs whole, and of the others a few figures.

Taking in an epoch, and keeping this in a checkpoint, costs the same in epoch 200 as in epoch 1. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ctckit.doctor.limits import EPOCH_UPDATES, FALLS, LOOK, LOOK_UPDATES
from ctckit.record.epoch import Epoch

WINDOW = 10
"""Epochs that are kept whole; no rule looks further back than this but for what ``Past`` sums up."""

ERRORS = 5
"""Latest error rates that are kept apart from the best of those before."""

SEGMENTS = 3
"""Stretches of updates that are kept: one to compare with, one that is whole, and the one under way."""


@dataclass(slots=True)
class Past:
    """The epochs of a run, in order, as far as rules need them.

    Attributes:
        recent: the last ``WINDOW`` epochs.
        epochs: how many there were.
        fits: the last ``WINDOW`` training losses that were recorded.
        fits_known: how many there were.
        lowest_fit: the lowest training loss, or None.
        lowest_fit_epoch: the epoch that had it.
        errors: the last ``ERRORS`` word error rates that were recorded.
        best_error_before: the best of those before, or None.
        off_plateau: whether any epoch was off the plateau.
        lowest_val_loss: the lowest dev loss, or None.
        lowest_epoch: the first epoch that had it.
        epochs_since_lowest: that came after it.
        best_error_to_lowest: the best word error rate up to it, or None.
        best_error_since_lowest: the best after it, or None.
        segments: the last stretches of ``LOOK_UPDATES`` updates, each where it began and its lowest training loss;
            they tell of a loss where an epoch is a handful of updates.
    """

    recent: list[Epoch] = field(default_factory=list)
    epochs: int = 0
    fits: list[float] = field(default_factory=list)
    fits_known: int = 0
    lowest_fit: float | None = None
    lowest_fit_epoch: int = 0
    errors: list[float] = field(default_factory=list)
    best_error_before: float | None = None
    off_plateau: bool = False
    lowest_val_loss: float | None = None
    lowest_epoch: int = 0
    epochs_since_lowest: int = 0
    best_error_to_lowest: float | None = None
    best_error_since_lowest: float | None = None
    segments: list[list[float]] = field(default_factory=list)

    @classmethod
    def of(cls, epochs: Iterable[Epoch]) -> Self:
        """Take in the epochs of a run."""
        past = cls()
        for epoch in epochs:
            past.add(epoch)
        return past

    @property
    def now(self) -> Epoch:
        """The last epoch."""
        return self.recent[-1]

    @property
    def age(self) -> float:
        """Epochs so far, where an epoch of fewer than ``EPOCH_UPDATES`` updates counts for its share."""
        update = self.now.update
        return self.now.epoch if update is None else min(self.now.epoch, update / EPOCH_UPDATES)

    def best_error(self) -> float | None:
        """Return the best word error rate so far."""
        return min(
            [*self.errors, *([] if self.best_error_before is None else [self.best_error_before])], default=None
        )

    def falls(self) -> bool:
        """Whether the training loss is lower by a share ``FALLS`` than ``LOOK`` epochs before; True while young.

        Epochs of a handful of updates are too short to be asked: there, stretches of updates are compared.
        """
        then = self.recent[-LOOK - 1] if len(self.recent) > LOOK else None
        now, before = self.now.update, None if then is None else then.update
        if now is not None and before is not None and now - before < LOOK_UPDATES:
            if len(self.segments) < SEGMENTS:
                return True
            earlier, *later = (lowest for _, lowest in self.segments)
            return min(later) < (1.0 - FALLS) * earlier
        if self.fits_known <= LOOK:
            return True
        return min(self.fits[-LOOK:]) < (1.0 - FALLS) * min(self.fits[-2 * LOOK : -LOOK])

    def add(self, one: Epoch) -> None:
        """Take in the next epoch."""
        self.recent = [*self.recent[1 - WINDOW :], one]
        self.epochs += 1
        if one.fit is not None:
            self.fits = [*self.fits[1 - WINDOW :], one.fit]
            self.fits_known += 1
            if self.lowest_fit is None or one.fit < self.lowest_fit:
                self.lowest_fit, self.lowest_fit_epoch = one.fit, one.epoch
            self._add_segment(one.update, one.fit)
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

    def _add_segment(self, update: float | None, fit: float) -> None:
        if update is None:
            return
        if not self.segments or update >= self.segments[-1][0] + LOOK_UPDATES:
            self.segments = [*self.segments[1 - SEGMENTS :], [update, fit]]
        else:
            begin, lowest = self.segments[-1]
            self.segments = [*self.segments[:-1], [begin, min(lowest, fit)]]

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept = {"fits": list(self.fits), "errors": list(self.errors), "segments": list(self.segments)}
        return {**values, **kept, "recent": [one.state_dict() for one in self.recent]}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what ``state_dict`` returned."""
        recent = [Epoch.from_state_dict(row) for row in state["recent"]]
        # lists, because a checkpoint gives back lists
        return cls(**{**state, "recent": recent, "fits": list(state["fits"]), "errors": list(state["errors"])})


def _lower(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)
