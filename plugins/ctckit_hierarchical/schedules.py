"""Learning-rate schedules: every row of docs/founding-document.md Appendix.

Time is that of the phase. Warmup and plateau move once an epoch, as the founding document has it; linear and cosine
move with every batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import ctckit
from ctckit import EpochResult, Progress


@dataclass
class Constant(ctckit.Schedule):
    """The same rate throughout."""

    lr: float

    def __post_init__(self) -> None:
        _require_rates(lr=self.lr)

    def learning_rate(self, at: Progress) -> float:
        """Return ``lr``."""
        return self.lr


@dataclass
class Warmup(ctckit.Schedule):
    """From ``start_lr`` to ``lr`` in equal steps over the first ``epochs`` epochs, constant afterwards.

    ``get_warmup_lr`` of docs/founding-document.md 4.1: epoch 1 of 5 trains at ``start_lr + (lr - start_lr) / 5``.
    """

    lr: float = 1e-3
    start_lr: float = 1e-6
    epochs: int = 5

    def __post_init__(self) -> None:
        _require_rates(lr=self.lr, start_lr=self.start_lr)
        _require_epochs(self.epochs)

    def learning_rate(self, at: Progress) -> float:
        """Return the rate of the epoch under way."""
        return self.start_lr + (self.lr - self.start_lr) * min(at.phase_epoch / self.epochs, 1.0)


@dataclass
class Plateau(ctckit.Schedule):
    """Multiply the rate by ``factor`` after more than ``patience`` epochs without a lower dev loss.

    As torch's ReduceLROnPlateau (mode min, relative threshold), with one difference: while the network is still on
    the unigram plateau nothing is counted, because there a falling rate starves the run before it has begun.

    Args:
        lr: rate at the start.
        factor: between 0 and 1.
        patience: epochs without improvement that are let pass.
        min_lr: smallest rate.
        threshold: relative improvement that counts.
        hold_on_plateau: whether epochs on the unigram plateau are left out.
    """

    lr: float = 1e-3
    factor: float = 0.5
    patience: int = 8
    min_lr: float = 1e-6
    threshold: float = 1e-4
    hold_on_plateau: bool = True
    scale: float = field(default=1.0, init=False, repr=False)
    best_loss: float = field(default=math.inf, init=False, repr=False)
    bad_epochs: int = field(default=0, init=False, repr=False)

    STATE: ClassVar[tuple[str, ...]] = ("scale", "best_loss", "bad_epochs")

    def __post_init__(self) -> None:
        _require_rates(lr=self.lr, min_lr=self.min_lr)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}; it lies between 0 and 1")
        if self.patience < 0:
            raise ValueError(f"patience is {self.patience}; it must not be negative")

    def learning_rate(self, at: Progress) -> float:
        """Return the reduced rate."""
        return max(self.lr * self.scale, min(self.min_lr, self.lr))

    def observe(self, epoch: EpochResult) -> None:
        """Count the epoch."""
        if self.hold_on_plateau and epoch.on_plateau:
            return
        if epoch.val.loss < self.best_loss * (1.0 - self.threshold):
            self.best_loss = epoch.val.loss
            self.bad_epochs = 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.scale *= self.factor
            self.bad_epochs = 0


@dataclass
class WarmupPlateau(Plateau):
    """``Warmup`` over ``warmup_epochs``, then ``Plateau``; epochs of the warmup are not counted."""

    start_lr: float = 1e-6
    warmup_epochs: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._warmup = Warmup(self.lr, self.start_lr, self.warmup_epochs)

    def learning_rate(self, at: Progress) -> float:
        """Return the warmup's rate, then the reduced one."""
        if at.phase_epoch < self.warmup_epochs:
            return self._warmup.learning_rate(at)
        return super().learning_rate(at)

    def observe(self, epoch: EpochResult) -> None:
        """Count the epoch, once the warmup is over."""
        if epoch.at.phase_epoch >= self.warmup_epochs:
            super().observe(epoch)


@dataclass
class Linear(ctckit.Schedule):
    """From ``lr`` to ``end_lr`` in a straight line over the phase."""

    lr: float
    end_lr: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(lr=self.lr, end_lr=self.end_lr)

    def learning_rate(self, at: Progress) -> float:
        """Return the rate at this batch."""
        return self.lr + (self.end_lr - self.lr) * at.phase_fraction


@dataclass
class Cosine(ctckit.Schedule):
    """From ``lr`` to ``end_lr`` along half a cosine over the phase (SGDR without restarts, arXiv 1608.03983)."""

    lr: float
    end_lr: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(lr=self.lr, end_lr=self.end_lr)

    def learning_rate(self, at: Progress) -> float:
        """Return the rate at this batch."""
        return _half_cosine(self.lr, self.end_lr, at.phase_fraction)


@dataclass
class WarmupCosine(ctckit.Schedule):
    """``Warmup`` over ``warmup_epochs``, then half a cosine to ``end_lr`` over the rest of the phase."""

    lr: float = 1e-3
    start_lr: float = 1e-6
    warmup_epochs: int = 5
    end_lr: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(end_lr=self.end_lr)
        self._warmup = Warmup(self.lr, self.start_lr, self.warmup_epochs)

    def learning_rate(self, at: Progress) -> float:
        """Return the warmup's rate, then the cosine's."""
        if at.phase_epoch <= self.warmup_epochs:
            return self._warmup.learning_rate(at)
        warm = self.warmup_epochs / at.phase_epochs
        return _half_cosine(self.lr, self.end_lr, (at.phase_fraction - warm) / (1.0 - warm))


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * fraction))


def _require_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0.0 <= rate < math.inf:
            raise ValueError(f"{name} is {rate}; a learning rate is finite and not negative")


def _require_epochs(epochs: int) -> None:
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; it must be at least 1")
