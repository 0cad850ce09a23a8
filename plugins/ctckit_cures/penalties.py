"""Path shifts that learn from what the model emits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

import ctckit
from ctckit import BLANK, Emissions, EpochResult, Progress, StepResult


@dataclass
class BlankMassController(ctckit.Penalty):
    """Holds the blank down only while its mean posterior is above a target: a one-sided controller.

    After each step ``b <- clip(b - gain * (mean p_blank - target), strongest, 0)`` (docs/founding-document.md C1).

    Args:
        target: mean blank posterior aimed at, between 0 and 1. It must lie above the share of frames that hold no
            label; below it the controller fights the data.
        gain: nats per step and unit of excess.
        strongest: where the shift stops, nats, at most 0.
    """

    STATE: ClassVar[tuple[str, ...]] = ("value",)
    domain = "path"

    target: float = 0.8
    gain: float = 0.02
    strongest: float = -1.5
    value: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.target < 1.0:
            raise ValueError(f"target is {self.target}; a mean posterior lies between 0 and 1")
        if not self.gain > 0.0 or not self.strongest <= 0.0:
            raise ValueError(f"gain is {self.gain} and strongest {self.strongest}; they are above 0, and at most 0")

    def shift(self, at: Progress) -> float:
        """Return the shift that the steps so far have led to."""
        return self.value

    def observe_step(self, step: StepResult) -> None:
        """Move against the excess of blank."""
        self.value = min(max(self.value - self.gain * (step.blank_mass - self.target), self.strongest), 0.0)


@dataclass
class LabelPrior(ctckit.Penalty):
    """Divides the posteriors by a power of the mean posterior of each class, in the loss alone.

    Every class of a path is worth ``-alpha log prior``, so that a path gains nothing by taking the class that is
    frequent anyway. From a uniform start CTC then does not go peaky (Zeyer et al. 2021, arXiv 2105.14849); as a
    loss with a prior from the model's own posteriors it is Huang et al. 2024 (arXiv 2406.02560). There is no
    prior in the first epoch, and none at decoding.

    Args:
        alpha: power of the prior in the second epoch, at least 0.
        end: power from epoch ``epochs`` on; between them it changes evenly.
        epochs: counted over the whole run, at least 3; None takes half of it.
        estimate: ``epoch`` takes the mean over the epoch before, ``running`` a moving average over the steps.
        momentum: of the moving average.
        floor: least logarithm of a prior, nats.
    """

    STATE: ClassVar[tuple[str, ...]] = ("log_prior_C", "sum_C", "frames")
    domain = "path"

    alpha: float = 0.3
    end: float = 0.0
    epochs: int | None = None
    estimate: Literal["epoch", "running"] = "epoch"
    momentum: float = 0.99
    floor: float = -12.0
    log_prior_C: Tensor | None = field(default=None, init=False, repr=False)
    sum_C: Tensor | None = field(default=None, init=False, repr=False)
    frames: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.alpha >= 0.0 or not self.end >= 0.0:
            raise ValueError(f"alpha is {self.alpha} and end {self.end}; a power of the prior is at least 0")
        if self.epochs is not None and self.epochs < 3:
            raise ValueError(f"epochs is {self.epochs}; the prior begins in epoch 2, so it must be at least 3")
        if not 0.0 < self.momentum < 1.0 or not self.floor < 0.0:
            raise ValueError(
                f"momentum is {self.momentum} and floor {self.floor}; they are between 0 and 1, and below 0"
            )

    def shift(self, at: Progress) -> float:
        """Return by how much blank is worth less than the mean label, nats, at most 0."""
        shifts_C = self.class_shifts(at)
        return 0.0 if shifts_C is None else min(float(shifts_C[BLANK]), 0.0)

    def class_shifts(self, at: Progress) -> Tensor | None:
        """Return ``-alpha log prior``, moved so that the labels' mean is 0, which no gradient notices."""
        if self.log_prior_C is None:
            return None
        shifts_C = -self._alpha(at) * self.log_prior_C
        return shifts_C - shifts_C[BLANK + 1 :].mean()

    def observe_emissions(self, emissions: Emissions) -> None:
        """Add up the posteriors of the main head over real frames."""
        real_TB = emissions.real_TB
        sum_C = emissions.logits_TBC[real_TB].float().softmax(-1).sum(0).double().cpu()
        frames = float(emissions.lengths_B.sum())
        if self.sum_C is None:
            self.sum_C, self.frames = sum_C, frames
        elif self.estimate == "epoch":
            self.sum_C, self.frames = self.sum_C + sum_C, self.frames + frames
        else:
            self.sum_C = self.momentum * self.sum_C + (1.0 - self.momentum) * sum_C
            self.frames = self.momentum * self.frames + (1.0 - self.momentum) * frames
            if self.log_prior_C is not None:
                self._take()

    def observe(self, epoch: EpochResult) -> None:
        """Take the mean so far as the prior; an epoch's mean begins anew."""
        if self.sum_C is None:
            return
        self._take()
        if self.estimate == "epoch":
            self.sum_C, self.frames = None, 0.0

    def _take(self) -> None:
        assert self.sum_C is not None
        self.log_prior_C = (self.sum_C / self.frames).log().clamp(min=self.floor).float()

    def _alpha(self, at: Progress) -> float:
        last = self.epochs or max(at.epochs // 2, 3)
        done = min(max((at.epoch - 2) / (last - 2), 0.0), 1.0)
        return self.alpha + (self.end - self.alpha) * done
