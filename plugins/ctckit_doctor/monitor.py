"""Watches a run: its state on every change, the founding document's red flags, triggers and contingency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import ctckit
from ctckit import (
    Action,
    EpochResult,
    Finding,
    Observation,
    ScaleLearningRate,
    SetDropout,
    ShiftPenalty,
    StopPhase,
    StopTraining,
)

Mode = Literal["off", "advise", "act"]
Report = Literal["off", "advise"]

ACTS_ON_INFO = frozenset({"wer_stalls"})
"""Rules whose findings are notes and still have an action; any other note says that nothing is wrong."""

LARGEST_DROPOUT = 0.5


@dataclass
class Doctor(ctckit.Monitor):
    """Reports the state of a run and the document's red flags; with ``act`` it does what the document asks for.

    Each rule is ``off``, ``advise`` (a finding when it begins to hold) or ``act`` (the document's action as well,
    and again after ``patience`` epochs while the rule holds). A rule that holds but is explained by the reference
    ``1 - U/T``, or by falling word errors, is a note and is not acted on. Everything advises by default, because
    the document's remedies strengthen the penalty where measurements say that the front end is at fault.

    Attributes:
        state: state of the run, on every change.
        blank_ratio_high: more than 90 % blanks after epoch 10; stops the run.
        blank_excess: more blanks than one-frame spikes have, and half of the labels deleted; stops the run.
        val_loss_rising: dev loss up three epochs in a row; ends the phase.
        overfit_ratio_high: dev loss more than 10 times the training loss; stops the run.
        few_labels: fewer than 100 of 966 labels emitted after epoch 15; stops the run.
        blank_falls_slowly: less than a point of blank share in 5 epochs; shifts the penalty by ``penalty_step``.
        wer_stalls: word errors not better for 5 epochs, off the plateau; multiplies the learning rate by
            ``rate_factor``.
        fits_without_generalising: training loss below 0.5 and dev loss above 5; adds ``dropout_step``.
        contingency: more than 80 % blanks at epoch 15; penalty -5 and dropout 0.05, as section 7.2 has it.
        vanishing_gradient: next to no gradient reaches a part of the model; advice alone, as for the next three.
        idle_module: a part of the model that no loss reaches in this phase.
        hidden_losses: clips without a CTC path, whose infinite losses are left out.
        bias_learnt_away: a start bias of the blank that training has made up for.
        penalty_step: nats, negative.
        rate_factor: between 0 and 1.
        dropout_step: added up to 0.5.
        patience: epochs between two actions of one rule.
    """

    STATE: ClassVar[tuple[str, ...]] = ("course", "holding", "acted", "reported")

    state: Report = "advise"
    blank_ratio_high: Mode = "advise"
    blank_excess: Mode = "advise"
    val_loss_rising: Mode = "advise"
    overfit_ratio_high: Mode = "advise"
    few_labels: Mode = "advise"
    blank_falls_slowly: Mode = "advise"
    wer_stalls: Mode = "advise"
    fits_without_generalising: Mode = "advise"
    contingency: Mode = "advise"
    vanishing_gradient: Report = "advise"
    idle_module: Report = "advise"
    hidden_losses: Report = "advise"
    bias_learnt_away: Report = "advise"
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

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        """Report what has changed, and ask for what is switched to ``act``."""
        now = ctckit.observation_of(epoch)
        self.course.add(now)
        outcomes: list[Finding | Action] = []
        if self.state != "off":
            outcomes += self._state(epoch.at.epochs)
        found = ctckit.red_flags(self.course.past) + ctckit.notices(self.course.past)
        modes = self._modes()
        flags = {flag.rule: flag for flag in found if modes[flag.rule] != "off"}
        for rule, flag in flags.items():
            actions = self._actions(flag, now) if self._due(flag, now.epoch) else ()
            if actions:
                self.acted[rule] = now.epoch
                outcomes += actions
            elif rule not in self.holding:
                outcomes.append(flag)
        self.holding = sorted(flags)
        return outcomes

    def _modes(self) -> Mapping[str, Mode]:
        return {
            "blank_ratio_high": self.blank_ratio_high,
            "blank_excess": self.blank_excess,
            "val_loss_rising": self.val_loss_rising,
            "overfit_ratio_high": self.overfit_ratio_high,
            "few_labels": self.few_labels,
            "blank_falls_slowly": self.blank_falls_slowly,
            "wer_stalls": self.wer_stalls,
            "fits_without_generalising": self.fits_without_generalising,
            "contingency": self.contingency,
            "vanishing_gradient": self.vanishing_gradient,
            "idle_module": self.idle_module,
            "hidden_losses": self.hidden_losses,
            "bias_learnt_away": self.bias_learnt_away,
        }

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
        found = self.course.diagnose(planned)
        key = [str(found.state), found.severity, found.stalled, found.slow]
        if key == self.reported:
            return []
        self.reported = key
        return [
            Finding(
                rule="state",
                severity=found.severity,
                message=f"{found.headline} {found.why}",
                evidence={
                    "state": str(found.state),
                    "since": found.since,
                    "reason": found.reason,
                    **found.evidence,
                },
                advice="" if found.severity == "info" else "`ctckit diagnose` on this run says what to try",
                source="diagnosis-review, section 2",
            )
        ]

    def _due(self, flag: Finding, epoch: int) -> bool:
        if self._modes()[flag.rule] != "act" or (flag.severity == "info" and flag.rule not in ACTS_ON_INFO):
            return False
        return flag.rule not in self.acted or epoch - self.acted[flag.rule] >= self.patience

    def _actions(self, flag: Finding, now: Observation) -> Sequence[Action]:
        match flag.rule:
            case "val_loss_rising":
                return (StopPhase(flag),)
            case "blank_falls_slowly":
                return (ShiftPenalty(flag, by=self.penalty_step),)
            case "wer_stalls":
                return (ScaleLearningRate(flag, factor=self.rate_factor),)
            case "fits_without_generalising":
                if now.dropout is None or now.dropout >= LARGEST_DROPOUT:
                    return ()
                return (SetDropout(flag, probability=min(now.dropout + self.dropout_step, LARGEST_DROPOUT)),)
            case "contingency":
                return (ShiftPenalty(flag, by=-5.0 - (now.shift or 0.0)), SetDropout(flag, probability=0.05))
        return (StopTraining(flag),)
