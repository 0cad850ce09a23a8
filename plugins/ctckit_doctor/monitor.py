"""Watches a run: its state on every change, the founding document's red flags, and what else its figures show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import ctckit
from ctckit import (
    Action,
    Epoch,
    EpochResult,
    Finding,
    Sample,
    ScaleLearningRate,
    SetDropout,
    ShiftPenalty,
    StopPhase,
    StopTraining,
)

LARGEST_DROPOUT = 0.5

STATE = "state"
"""What ``off`` calls the report of a run's state."""

Act = Callable[["Doctor", Finding, Epoch], Sequence[Action]]


@dataclass
class Doctor(ctckit.Monitor):
    """Reports the state of a run and what its figures show; rules in ``act`` do what the document asks for.

    Every rule advises (a finding when it begins to hold) unless it is named in ``off``. A rule in ``act`` has the
    document's action as well, and again after ``patience`` epochs while it holds. A rule that holds but is
    explained by the reference ``1 - U/T``, or by falling word errors, is a note and is not acted on. Nothing acts
    by default, because the document's remedies strengthen the penalty where measurements say that the front end is
    at fault. ``ctckit.rules()`` lists the rules; docs/founding-document.md 5.2, 7.2 has the document's.

    Actions: ``blank_ratio_high``, ``blank_excess``, ``overfit_ratio_high`` and ``few_labels`` stop the run,
    ``val_loss_rising`` ends the phase, ``blank_falls_slowly`` shifts the penalty by ``penalty_step``,
    ``wer_stalls`` multiplies the learning rate by ``rate_factor``, ``fits_without_generalising`` adds
    ``dropout_step``, and ``contingency`` sets the penalty to -5 and the dropout to 0.05.

    Attributes:
        act: rules that act.
        off: rules that are silent; ``state`` is the report of the state.
        penalty_step: nats, negative.
        rate_factor: between 0 and 1.
        dropout_step: added up to 0.5.
        patience: epochs between two actions of one rule.
    """

    STATE: ClassVar[tuple[str, ...]] = ("course", "holding", "acted", "reported")

    act: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    penalty_step: float = -0.5
    rate_factor: float = 0.3
    dropout_step: float = 0.05
    patience: int = 5
    course: ctckit.Course = field(default_factory=ctckit.Course, init=False, repr=False)
    holding: list[str] = field(default_factory=list, init=False, repr=False)
    acted: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    reported: list[Any] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.penalty_step >= 0 or not 0 < self.rate_factor < 1 or not 0 < self.dropout_step < LARGEST_DROPOUT:
            raise ValueError(
                f"penalty_step is {self.penalty_step}, rate_factor {self.rate_factor}, dropout_step "
                f"{self.dropout_step}; they must be negative, between 0 and 1, and between 0 and 0.5"
            )
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be at least 1")
        _refuse_unknown("act", self.act, tuple(ACTIONS))
        _refuse_unknown("off", self.off, (STATE, *ctckit.rules()))
        both = [rule for rule in self.act if rule in self.off]
        if both:
            raise ValueError(f"'{both[0]}' stands in act and in off: a silent rule does not act")

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
        """Report what has changed, and ask for what is to act."""
        now = Epoch.of(epoch)
        self.course.add(now)
        outcomes: list[Finding | Action | Sample] = []
        if STATE not in self.off:
            outcomes += self._state(epoch.at.epochs)
        found = ctckit.red_flags(self.course.past) + ctckit.notices(self.course.past)
        flags = {flag.rule: flag for flag in found if flag.rule not in self.off}
        for rule, flag in flags.items():
            actions = ACTIONS[rule](self, flag, now) if self._due(flag, now.epoch) else ()
            if actions:
                self.acted[rule] = now.epoch
                outcomes += actions
            elif rule not in self.holding:
                outcomes.append(flag)
        self.holding = sorted(flags)
        return outcomes

    def state_dict(self) -> dict[str, Any]:
        """Return the named state as JSON values."""
        return {
            "course": self.course.state_dict(),
            "holding": list(self.holding),
            "acted": dict(self.acted),
            "reported": list(self.reported),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            CheckpointError: a name is missing or unknown.
        """
        super().load_state_dict(state)
        self.course = ctckit.Course.from_state_dict(state["course"])

    def _state(self, planned: int) -> list[Finding]:
        try:
            found = self.course.diagnose(planned)
        except ValueError:  # no epoch has said anything about a state so far
            return []
        if found.standing == self.reported:
            return []
        self.reported = found.standing
        return [found.finding()]

    def _due(self, flag: Finding, epoch: int) -> bool:
        if flag.rule not in self.act or (flag.severity == "info" and flag.rule not in ACTS_ON_NOTES):
            return False
        return flag.rule not in self.acted or epoch - self.acted[flag.rule] >= self.patience

    def _more_dropout(self, flag: Finding, now: Epoch) -> Sequence[Action]:
        if now.dropout is None or now.dropout >= LARGEST_DROPOUT:
            return ()
        return (SetDropout(flag, probability=min(now.dropout + self.dropout_step, LARGEST_DROPOUT)),)


ACTS_ON_NOTES = frozenset({"wer_stalls"})
"""Rules whose findings are notes and still have an action; any other note says that nothing is wrong."""

ACTIONS: Mapping[str, Act] = {
    "blank_ratio_high": lambda _, flag, __: (StopTraining(flag),),
    "blank_excess": lambda _, flag, __: (StopTraining(flag),),
    "overfit_ratio_high": lambda _, flag, __: (StopTraining(flag),),
    "few_labels": lambda _, flag, __: (StopTraining(flag),),
    "val_loss_rising": lambda _, flag, __: (StopPhase(flag),),
    "blank_falls_slowly": lambda doctor, flag, _: (ShiftPenalty(flag, by=doctor.penalty_step),),
    "wer_stalls": lambda doctor, flag, _: (ScaleLearningRate(flag, factor=doctor.rate_factor),),
    "fits_without_generalising": Doctor._more_dropout,
    "contingency": lambda _, flag, now: (
        ShiftPenalty(flag, by=-5.0 - (now.shift or 0.0)),
        SetDropout(flag, probability=0.05),
    ),
}
"""What each rule of the document that has an action does."""


def _refuse_unknown(option: str, named: Sequence[str], known: Sequence[str]) -> None:
    unknown = [rule for rule in named if rule not in known]
    if unknown:
        raise ValueError(f"{option} names '{unknown[0]}'; it takes {', '.join(known)}")
