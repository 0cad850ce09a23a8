"""A schedule, a penalty that learns, and a monitor that acts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

import ctckit

Share = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass
class TriStage(ctckit.Schedule):
    """Rise, hold and fall in straight lines over the phase.

    Args:
        lr: rate while held.
        rise: share of the phase in which the rate rises.
        fall: share of the phase in which it falls.
        end: share of ``lr`` at which it ends.
    """

    lr: float
    rise: Share = 0.1
    fall: Share = 0.5
    end: Share = 0.05

    def learning_rate(self, at: ctckit.Progress) -> float:
        """Return the rate at this batch."""
        done = at.phase_fraction
        if done < self.rise:
            return self.lr * (self.end + (1.0 - self.end) * done / self.rise)
        left = 1.0 - done
        return self.lr * (1.0 if left >= self.fall else self.end + (1.0 - self.end) * left / self.fall)


@dataclass
class BlankTarget(ctckit.Penalty):
    """Steer the mean blank posterior towards ``share`` by an integral controller.

    Args:
        share: blank posterior to steer to.
        gain: nats that one step adds for a deviation of 1.
        strongest: shift at most, negative.
    """

    share: Share = 0.7
    gain: float = 0.05
    strongest: float = -3.0
    now: float = field(default=0.0, init=False, repr=False)

    STATE: ClassVar[tuple[str, ...]] = ("now",)

    def shift(self, at: ctckit.Progress) -> float:
        """Return what the controller has come to."""
        return self.now

    def observe_step(self, step: ctckit.StepResult) -> None:
        """Correct the shift by the deviation seen."""
        self.now = min(max(self.now - self.gain * (step.blank_mass - self.share), self.strongest), 0.0)


@dataclass
class StalledLabels(ctckit.Monitor):
    """End the phase when for ``patience`` epochs no further label of the dev corpus has been emitted.

    Args:
        patience: epochs to wait.
    """

    patience: int = 5
    most: int = field(default=0, init=False, repr=False)
    waited: int = field(default=0, init=False, repr=False)

    STATE: ClassVar[tuple[str, ...]] = ("most", "waited")

    def observe(self, epoch: ctckit.EpochResult) -> Sequence[ctckit.Finding | ctckit.Action]:
        """Compare the labels emitted with the most so far."""
        emitted = epoch.val.covered_labels
        self.waited = 0 if emitted > self.most else self.waited + 1
        self.most = max(self.most, emitted)
        if self.waited < self.patience or emitted == epoch.val.reference_labels:
            return []
        self.waited = 0
        finding = ctckit.Finding(
            rule="labels_stalled",
            severity="warning",
            message=f"{emitted} of {epoch.val.reference_labels} labels emitted, no more for {self.patience} epochs",
            evidence={"covered_labels": emitted, "reference_labels": epoch.val.reference_labels},
            advice="the phase ends here; raise the learning rate or strengthen the shift",
        )
        return [finding, ctckit.SaveCheckpoint(finding, "stalled"), ctckit.StopPhase(finding)]
