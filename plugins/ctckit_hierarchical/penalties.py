"""Blank penalties: a shift of the blank class by the epoch, in the logit or in the path domain.

What the two domains do, and why a bias is no penalty, is derived in docs/founding-document.md C1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

import ctckit
from ctckit import ConfigError, Domain, Model, Progress


@dataclass
class Constant(ctckit.Penalty):
    """The same shift throughout."""

    value: float
    domain: Domain = "logit"

    def __post_init__(self) -> None:
        _require_shifts(value=self.value)

    def shift(self, at: Progress) -> float:
        """Return ``value``."""
        return self.value


@dataclass
class LinearDecay(ctckit.Penalty):
    """From ``start`` towards ``end`` in equal steps, one an epoch, reaching ``end`` in the last of ``epochs``.

    The table of docs/founding-document.md 3.3: -3.0 to -1.5 over 20 epochs, 0.075 an epoch, so -2.925 in epoch 1.
    The code in 4.1 there returns ``max(end, ...)``, which is -1.5 from epoch 1 on; the clamp belongs on the other
    side (docs/founding-document.md C3).

    Args:
        start: shift before the first step.
        end: shift from epoch ``epochs`` on.
        epochs: length of the decay; None takes the phase's.
        domain: where the shift acts.
    """

    start: float = -3.0
    end: float = -1.5
    epochs: int | None = None
    domain: Domain = "logit"

    def __post_init__(self) -> None:
        _require_shifts(start=self.start, end=self.end)
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; it must be at least 1")

    def shift(self, at: Progress) -> float:
        """Return the shift of the epoch under way."""
        done = min(at.phase_epoch / (self.epochs or at.phase_epochs), 1.0)
        return self.start + (self.end - self.start) * done


@dataclass
class Table(ctckit.Penalty):
    """A shift for each stretch of the run's epochs; the default is that of docs/founding-document.md 3.2.

    Args:
        until: last epoch of each stretch, counted over the whole run, ascending.
        shifts: one more than ``until``; the last holds from there on.
        domain: where the shift acts.
    """

    until: tuple[int, ...] = (10, 20, 30)
    shifts: tuple[float, ...] = (-3.0, -2.0, -1.0, -0.5)
    domain: Domain = "logit"

    def __post_init__(self) -> None:
        if len(self.shifts) != len(self.until) + 1 or list(self.until) != sorted(set(self.until)):
            raise ValueError(f"until {self.until} must ascend, and shifts {self.shifts} must be one more")
        _require_shifts(**{f"shifts[{i}]": shift for i, shift in enumerate(self.shifts)})

    def shift(self, at: Progress) -> float:
        """Return the shift of the epoch under way."""
        return self.shifts[sum(at.epoch > last for last in self.until)]


@dataclass
class BiasInit(ctckit.Penalty):
    """Start the bias of the blank at ``bias`` and leave it to training.

    To the gradient this is the same as a constant logit shift (docs/founding-document.md C1), except that the
    bias is learnt: what the failed strategy does with -8 (docs/founding-document.md 1.1), and a flat start
    with less.
    """

    bias: float = -8.0

    def shift(self, at: Progress) -> float:
        """Return 0."""
        return 0.0

    def prepare(self, model: Model) -> None:
        """Set the bias.

        Raises:
            ConfigError: the model shows no bias of the blank.
        """
        bias = model.blank_bias()
        if bias is None:
            raise ConfigError(f"penalty 'bias_init': {type(model).__name__} has no blank_bias() to set")
        with torch.no_grad():
            bias.fill_(self.bias)


def _require_shifts(**shifts: float) -> None:
    for name, shift in shifts.items():
        if not -math.inf < shift <= 0.0:
            raise ValueError(f"{name} is {shift}; a penalty is finite and at most 0")
