"""The states that a run has gone through, and the one that it is in: what a monitor and a reader follow alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ctckit.doctor import limits
from ctckit.doctor.pace import Forecast, forecast
from ctckit.doctor.past import Past
from ctckit.doctor.states import MEANINGS, Evidence, Judgement, State, state_of
from ctckit.record.epoch import Epoch
from ctckit.types import Finding, Severity, gravest

STATE = "state"
"""Rule of the finding that reports a run's state."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive epochs in one state."""

    state: State
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The state of a run after its last epoch.

    Attributes:
        state: now.
        since: the epoch from which on it has been in it.
        epochs: epochs that it has been in it.
        severity: info where nothing is to be done, warning, or error.
        reason: stable name of the rule that decided.
        why: one sentence with figures.
        evidence: the figures.
        stalled: whether a run on its way has stopped moving.
        outlook: where a run on its way ends if it goes on as it does; None where there is no plan or no pace yet.
        course: all states so far.
    """

    state: State
    since: int
    epochs: int
    severity: Severity
    reason: str
    why: str
    evidence: Evidence
    stalled: bool
    outlook: Forecast | None = None
    course: tuple[Stretch, ...] = field(default=())

    @property
    def slow(self) -> bool:
        """Whether a run on its way moves, but will not be there when its plan ends."""
        return self.outlook is not None and not self.outlook.arrives

    @property
    def headline(self) -> str:
        """One line: the state, since when, what it means."""
        but = ", and has stopped moving" if self.stalled else ", too slowly for its plan" if self.slow else ""
        return f"{self.state} since epoch {self.since} ({count(self.epochs)}): {MEANINGS[self.state]}{but}."

    @property
    def standing(self) -> list[Any]:
        """What is worth a word when it changes: the state, how grave it is, whether it moves; JSON values."""
        return [str(self.state), self.severity, self.stalled, self.slow]

    def finding(self) -> Finding:
        """Return it as a finding, for a monitor that reports the state."""
        return Finding(
            rule=STATE,
            severity=self.severity,
            message=f"{self.headline} {self.why}",
            evidence={"state": str(self.state), "since": self.since, "reason": self.reason, **self.evidence},
            advice="" if self.severity == "info" else "`ctckit diagnose` on this run says what to try",
            source="docs/founding-document.md C2",
        )


def count(epochs: int) -> str:
    """Epochs in words."""
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


@dataclass(slots=True)
class Course:
    """Follows the states of a run, epoch by epoch, at the same cost in epoch 200 as in epoch 1.

    Attributes:
        past: the epochs, as far as rules need them.
        stretches: the states so far.
        epochs: that the run has been in the present one.
        judgement: of the last epoch that says anything about a state.
        began: updates taken when the present state began; None where they are not recorded.
    """

    past: Past = field(default_factory=Past)
    stretches: list[Stretch] = field(default_factory=list)
    epochs: int = 0
    judgement: Judgement | None = None
    began: float | None = None

    @classmethod
    def of(cls, epochs: Sequence[Epoch]) -> Self:
        """Follow a run from its first epoch to its last."""
        course = cls()
        for epoch in epochs:
            course.add(epoch)
        return course

    def add(self, epoch: Epoch) -> None:
        """Take in the next epoch."""
        self.past.add(epoch)
        self.epochs += 1
        judgement = state_of(self.past)
        if judgement is None:
            return
        self.judgement = judgement
        if self.stretches and self.stretches[-1].state == judgement.state:
            self.stretches[-1] = Stretch(judgement.state, self.stretches[-1].first, epoch.epoch)
        else:
            self.stretches.append(Stretch(judgement.state, epoch.epoch, epoch.epoch))
            self.epochs = 1
            self.began = epoch.update

    def diagnose(self, planned: int | None = None) -> Diagnosis:
        """Tell the state of the run after its last epoch.

        Args:
            planned: epochs that the run is to have, if that is known.

        Raises:
            ValueError: there is no epoch, or none says anything about a state.
        """
        if not self.past.epochs:
            raise ValueError("a diagnosis needs at least one finished epoch")
        now = self.judgement
        if now is None:
            raise ValueError(
                "no epoch records an error rate, a deletion rate, an overfit ratio, or a loss beside the unigram "
                "plateau"
            )
        since = self.stretches[-1].first
        on_its_way = now.state is State.ESCAPING
        stalled = on_its_way and not self.past.falls()
        recent = [one for one in self.past.recent if one.epoch >= since]
        outlook = forecast(recent, planned) if on_its_way else None
        slow = outlook is not None and not outlook.arrives
        why, evidence = now.why, dict(now.evidence)
        if outlook is not None and slow:
            why = f"{why} {_outlook(outlook)}"
            evidence |= {
                "planned_epochs": outlook.planned,
                "forecast_val_wer": round(outlook.val_wer, 1),
                "forecast_training_loss": round(outlook.training_loss, 3),
            }
        return Diagnosis(
            state=now.state,
            since=since,
            epochs=self.epochs,
            severity=self._severity(now.state, stalled or slow),
            reason=now.reason,
            why=why,
            evidence=evidence,
            stalled=stalled,
            outlook=outlook,
            course=tuple(self.stretches),
        )

    def _severity(self, state: State, late: bool) -> Severity:
        match state:
            case State.BROKEN:
                return "error"
            case State.DIVERGED:
                return "error" if self.epochs > 1 else "warning"
            case State.PLATEAU:
                # who fell back onto it is not waiting to leave it
                return gravest([self._patience(), "warning" if self.past.off_plateau else "info"])
            case State.ESCAPING:
                return "warning" if late else "info"
            case State.HEALTHY | State.STARTING:
                return "info"
        return "warning"

    def _patience(self) -> Severity:
        """Every run starts on the plateau: staying there is nothing at first, then odd, then what is wrong."""
        update = self.past.now.update
        updates = None if update is None or self.began is None else update - self.began
        epochs = float(self.epochs)
        if updates is not None:
            # the first of its epochs has been trained already when the state is first seen
            per_epoch = updates / max(self.epochs - 1, 1)
            epochs = min(epochs, (updates + per_epoch) / limits.EPOCH_UPDATES) if per_epoch else epochs
        if epochs > limits.PATIENCE:
            return "error"
        return "warning" if epochs > limits.USUAL else "info"

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "past": self.past.state_dict(),
            "stretches": [_as_json(stretch) for stretch in self.stretches],
            "epochs": self.epochs,
            "judgement": None if self.judgement is None else _as_json(self.judgement),
            "began": self.began,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what ``state_dict`` returned, here or in ctckit 0.1.0, which kept no updates."""
        judgement = state["judgement"]
        return cls(
            past=Past.from_state_dict(state["past"]),
            stretches=[Stretch(**{**row, "state": State(row["state"])}) for row in state["stretches"]],
            epochs=state["epochs"],
            judgement=judgement and Judgement(**{**judgement, "state": State(judgement["state"])}),
            began=state.get("began"),
        )


def diagnose(epochs: Sequence[Epoch], planned: int | None = None) -> Diagnosis:
    """Tell the state of a run.

    Args:
        epochs: of the run, in order, at least one.
        planned: epochs that the run is to have, if that is known.

    Raises:
        ValueError: there is none, or none says anything about a state.
    """
    return Course.of(epochs).diagnose(planned)


def _outlook(outlook: Forecast) -> str:
    there = f"{outlook.val_wer:.0f} % word errors and a training loss of {outlook.training_loss:.2f}"
    if not outlook.left:
        return f"The plan of {outlook.planned} epochs is over, and labels are not recognised yet."
    needed = (
        "word errors hardly fall"
        if outlook.needed is None
        else f"{limits.MANY_ERRORS:g} % is {count(outlook.needed)} away"
    )
    return (
        f"At the pace of the last {outlook.pace} epochs, the plan of {outlook.planned} ends at {there}; {needed}."
    )


def _as_json(record: Judgement | Stretch) -> dict[str, Any]:
    # plain text for the state, because a checkpoint holds no enumerations
    return {**asdict(record), "state": str(record.state)}
