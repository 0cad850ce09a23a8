"""The states of a CTC run, as pure rules over its epochs.

A run that "collapsed into blanks" may be broken, still on the plateau where every run starts, on its way off it,
biased towards blank, overfitted, over-penalised, or perfectly well: one-frame spikes have a blank share of
``1 - U/T``, often more than 95 %. The rules look at the loss first, at what is emitted second, and at the blank
share only beside its reference. Torch-free: ``report`` and the command line use the same rules as the monitors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

from ctckit.doctor.observations import Observation
from ctckit.doctor.pace import MANY_ERRORS, Forecast, forecast
from ctckit.doctor.past import Past
from ctckit.types import COLLAPSED_DELETION_RATE, Severity

Evidence = Mapping[str, float | int | str | bool]
Blanks = Literal["unknown", "swallowing", "too_many", "too_few", "spikes", "held"]

SPIKES = (0.5, 2.0)
"""Label frames per reference token between which emissions count as spikes; perfect one-frame spikes have 1."""

INSERTIONS = 20.0
"""Insertion rate (per cent) from which on labels are inserted; it must also be twice the deletion rate."""

PATIENCE = 10
"""Epochs on the plateau after which it is an error and no longer a beginning."""

FAR_ABOVE = 1.5
"""Multiple of the plateau's loss at which a run has not even learnt label frequencies."""

LEARNT = 0.5
"""Share of the plateau's loss below which the network knows its labels; above it, it is on its way."""


class State(StrEnum):
    """What a run is."""

    BROKEN = "BROKEN"
    PLATEAU = "PLATEAU"
    ESCAPING = "ESCAPING"
    HEALTHY = "HEALTHY"
    BLANK_BIASED = "BLANK-BIASED"
    OVERFIT = "OVERFIT"
    OVER_PENALISED = "OVER-PENALISED"


MEANINGS: Mapping[State, str] = {
    State.BROKEN: "something in the set-up is at fault",
    State.PLATEAU: "the network still ignores its input",
    State.ESCAPING: "the network has begun to use its input",
    State.HEALTHY: "labels are recognised",
    State.BLANK_BIASED: "labels are known and too few are emitted; a decode-time blank shift mends that",
    State.OVERFIT: "the training corpus is learnt by heart",
    State.OVER_PENALISED: "the blank penalty has driven the blanks out, and labels are inserted",
}
"""One clause for each state."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The state of one epoch.

    Attributes:
        state: of the run at that epoch.
        reason: stable name of the rule that decided.
        why: one sentence with figures.
        evidence: the figures.
    """

    state: State
    reason: str
    why: str
    evidence: Evidence


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


def count(epochs: int) -> str:
    """Epochs in words."""
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def read_blanks(
    *,
    label_frames: float | None,
    length_ratio: float | None,
    insertion_rate: float | None,
    deletion_rate: float | None,
) -> Blanks:
    """Say what a blank share means: beside its reference ``1 - U/T``, and beside what is emitted.

    Args:
        label_frames: frames that show a label, per reference token.
        length_ratio: emitted tokens over reference tokens.
        insertion_rate: per cent.
        deletion_rate: per cent.
    """
    if deletion_rate is not None and deletion_rate >= COLLAPSED_DELETION_RATE:
        return "swallowing"
    if label_frames is None or length_ratio is None:
        return "unknown"
    if label_frames < SPIKES[0] or length_ratio < SPIKES[0]:
        return "too_many"
    if (insertion_rate or 0.0) >= INSERTIONS and (insertion_rate or 0.0) > 2.0 * (deletion_rate or 0.0):
        return "too_few"
    return "spikes" if label_frames <= SPIKES[1] else "held"


@dataclass(slots=True)
class Course:
    """Follows the states of a run, epoch by epoch, at the same cost in epoch 200 as in epoch 1.

    Attributes:
        past: the epochs, as far as rules need them.
        stretches: the states so far.
        epochs: that the run has been in the present one.
        judgement: of the last epoch that says anything about a state.
    """

    past: Past = field(default_factory=Past)
    stretches: list[Stretch] = field(default_factory=list)
    epochs: int = 0
    judgement: Judgement | None = None

    def add(self, observation: Observation) -> None:
        """Take in the next epoch."""
        self.past.add(observation)
        self.epochs += 1
        judgement = judge(self.past)
        if judgement is None:
            return
        self.judgement = judgement
        if self.stretches and self.stretches[-1].state == judgement.state:
            self.stretches[-1] = Stretch(judgement.state, self.stretches[-1].first, observation.epoch)
        else:
            self.stretches.append(Stretch(judgement.state, observation.epoch, observation.epoch))
            self.epochs = 1

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
                "no epoch records an error rate, a deletion rate, or a loss beside the unigram plateau"
            )
        since = self.stretches[-1].first
        on_its_way = now.state is State.ESCAPING
        stalled = on_its_way and not improving(self.past)
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
            severity=_severity(now.state, self.epochs, stalled or slow),
            reason=now.reason,
            why=why,
            evidence=evidence,
            stalled=stalled,
            outlook=outlook,
            course=tuple(self.stretches),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        judgement = None if self.judgement is None else _as_json(self.judgement)
        stretches = [_as_json(stretch) for stretch in self.stretches]
        return {
            "past": self.past.state_dict(),
            "stretches": stretches,
            "epochs": self.epochs,
            "judgement": judgement,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what ``state_dict`` returned."""
        judgement = state["judgement"]
        return cls(
            past=Past.from_state_dict(state["past"]),
            stretches=[Stretch(**{**row, "state": State(row["state"])}) for row in state["stretches"]],
            epochs=state["epochs"],
            judgement=judgement and Judgement(**{**judgement, "state": State(judgement["state"])}),
        )


def diagnose(observations: Sequence[Observation], planned: int | None = None) -> Diagnosis:
    """Tell the state of a run.

    Args:
        observations: its epochs in order, at least one.
        planned: epochs that the run is to have, if that is known.

    Raises:
        ValueError: there is none, or none says anything about a state.
    """
    course = Course()
    for observation in observations:
        course.add(observation)
    return course.diagnose(planned)


def judge(past: Past) -> Judgement | None:
    """Tell the state at the last epoch: the first rule that applies, in the order of what would mislead.

    None where that epoch records nothing to tell it by.
    """
    now = past.now
    mute = now.val_wer is None and now.deletion_rate is None and now.on_plateau is None
    if mute:
        return _broken(past)
    for rule in (_broken, _over_penalised, _plateau, _overfit, _blank_biased, _escaping):
        found = rule(past)
        if found is not None:
            return found
    return _healthy(now)


def improving(past: Past, *, epochs: int = 5, by: float = 0.02) -> bool:
    """Whether the training loss is lower by a share ``by`` than ``epochs`` epochs before; True while young.

    Args:
        past: the run so far.
        epochs: at most half of what ``Past`` keeps.
        by: share of the loss.
    """
    if past.fits_known <= epochs:
        return True
    return min(past.fits[-epochs:]) < (1.0 - by) * min(past.fits[-2 * epochs : -epochs])


def _broken(past: Past) -> Judgement | None:
    now = past.now
    bad = [
        name for name in now.not_finite if name in ("train_loss", "train_eval_loss", "gradient_norm", "val_loss")
    ]
    if bad:
        return _found(State.BROKEN, "not_finite", f"{', '.join(bad)} of epoch {now.epoch} is not finite", now)
    if "val_wer" in now.not_finite:
        return _found(State.BROKEN, "scoring", f"the error rate of epoch {now.epoch} is not a number", now)
    fit, wer = now.fit, now.val_wer
    if fit is not None and fit < -1e-3:
        why = f"training loss {fit:.3g} is below 0, which no CTC loss is: the loss was given no log-probabilities"
        return _found(State.BROKEN, "negative_loss", why, now)
    if fit is not None and fit == 0.0 and (wer is None or wer >= 90.0):
        why = "training loss is exactly 0: infinite losses were set to zero (zero_infinity), nothing is learnt"
        return _found(State.BROKEN, "zeroed_loss", why, now)
    if now.infeasible and now.utterances and now.infeasible >= 0.5 * now.utterances:
        why = f"{now.infeasible:.0f} of {now.utterances:.0f} dev clips have no CTC path: too few output frames"
        return _found(State.BROKEN, "infeasible", why, now)
    if now.gradient_norm == 0.0:
        return _found(State.BROKEN, "no_gradient", "the gradient is exactly 0: no loss reaches the weights", now)
    low = 0.1 * now.plateau_loss if now.plateau_loss else 0.25
    if fit is not None and fit < low and now.train_wer is not None and now.train_wer >= 90.0:
        why = (
            f"training loss {fit:.2f} says that the labels are known, yet {now.train_wer:.0f} % of them are decoded"
            " wrongly: loss and decoder disagree about blank or labels"
        )
        return _found(State.BROKEN, "decoder_contradicts_loss", why, now)
    last = [one.fit for one in past.recent[-5:] if one.fit is not None]
    if (
        now.plateau_loss
        and len(last) == 5
        and min(last) > FAR_ABOVE * now.plateau_loss
        and last[-1] > 0.8 * last[0]
    ):
        why = (
            f"training loss {last[-1]:.2f} has been above {FAR_ABOVE:g} times the unigram plateau "
            f"({now.plateau_loss:.2f}) for 5 epochs and does not fall: not even label frequencies are learnt"
        )
        return _found(State.BROKEN, "nothing_learnt", why, now, learning_rate=now.learning_rate)
    return None


def _over_penalised(past: Past) -> Judgement | None:
    now = past.now
    shifted = bool(now.shift and now.shift < 0.0)
    unlearnt = now.on_plateau is not False
    young = now.epoch <= PATIENCE and not past.off_plateau
    if unlearnt and (young or not shifted):
        return None  # what an untrained network emits is no sign of anything
    insertions, deletions = now.insertion_rate, now.deletion_rate
    frames = now.label_frames
    if (
        insertions is not None
        and insertions >= INSERTIONS
        and insertions > 2.0 * (deletions or 0.0)
        and (frames is None or frames > SPIKES[1])
    ):
        why = f"insertions {insertions:.0f} % against deletions {deletions or 0.0:.0f} %, {_blank_share(now)}"
        return _found(State.OVER_PENALISED, "insertions", why, now)
    if shifted and now.blank_ratio is not None:
        reference = now.blank_reference
        gone = now.blank_ratio < (10.0 if reference is None else 0.25 * reference)
        if gone and (reference is not None or (now.val_wer or 0.0) > 100.0):
            return _found(
                State.OVER_PENALISED, "no_blanks", f"{_blank_share(now)} under a shift of {now.shift:g}", now
            )
    return None


def _plateau(past: Past) -> Judgement | None:
    now = past.now
    known = now.on_plateau
    if known is False:
        return None
    if known:
        assert now.fit is not None
        assert now.plateau_loss is not None
        gap = 100.0 * (1.0 - now.fit / now.plateau_loss)
        where = f"{gap:.1f} % below" if gap >= 0 else f"{-gap:.0f} % above"
        why = f"training loss {now.fit:.2f} is {where} the unigram plateau of {now.plateau_loss:.2f} nats per token"
        reason = "not_yet_there" if now.fit > FAR_ABOVE * now.plateau_loss else "on_plateau"
        return _found(State.PLATEAU, reason, why, now)
    silent = [
        text
        for text, holds in (
            (f"deletion rate {now.deletion_rate} %", (now.deletion_rate or 0.0) >= COLLAPSED_DELETION_RATE),
            (f"{now.blank_ratio} % blank frames", (now.blank_ratio or 0.0) >= 99.5),
            ("no label is emitted", now.unique_nonblank == 0),
            (f"{now.val_wer} % word errors", now.val_wer is not None and 99.0 <= now.val_wer <= 101.0),
        )
        if holds
    ]
    learnt = now.fit is not None and now.fit < 1.0
    if not silent or learnt:
        return None
    why = f"{', '.join(silent)}; the unigram plateau itself was not recorded, so this is inferred"
    return _found(State.PLATEAU, "silent", why, now)


def _overfit(past: Past) -> Judgement | None:
    now = past.now
    ratio = now.generalisation
    if ratio is None or ratio < 3.0:
        return None
    wrong = now.val_wer is None or now.val_wer >= 50.0
    if ratio >= 10.0 and wrong:
        why = f"dev loss {_n(now.val_loss)} is {ratio:.1f} times the training loss {_n(now.fit)}"
        why += "" if now.val_wer is None else f" at {now.val_wer:.1f} % word errors"
        return _found(State.OVERFIT, "gap", why, now, overfit_ratio=ratio)
    lowest = past.lowest_val_loss
    if lowest is None or now.val_loss is None:
        return None
    if now.val_loss <= 1.1 * lowest or past.epochs_since_lowest < 3:
        return None
    before, after = past.best_error_to_lowest, past.best_error_since_lowest
    if before is not None and after is not None and after < before - 1.0:
        return None  # the loss rises while fewer words are wrong: CTC losses do that
    why = (
        f"dev loss has risen from {lowest:.2f} (epoch {past.lowest_epoch}) to {now.val_loss:.2f}, {ratio:.1f} "
        "times the training loss, and word errors have not improved since"
    )
    return _found(State.OVERFIT, "dev_loss_rises", why, now, lowest_val_loss=lowest, since=past.lowest_epoch)


def _blank_biased(past: Past) -> Judgement | None:
    now = past.now
    deletions, insertions, substitutions = now.deletion_rate, now.insertion_rate, now.substitution_rate
    if deletions is None or insertions is None or substitutions is None or now.fit is None:
        return None
    if now.length_ratio is None or now.plateau_loss is None or now.label_frames is None:
        return None
    omits = deletions >= 25.0 and deletions > substitutions and deletions >= 3.0 * insertions
    too_many = now.label_frames < 0.75 and now.length_ratio <= 0.75
    # what is emitted must be right; else a shift turns deletions into substitutions and mends nothing
    right = substitutions + insertions <= 0.25 * (100.0 - deletions)
    if not omits or not too_many or not right or now.fit > LEARNT * now.plateau_loss:
        return None
    moving = any(now.fit < 0.95 * past.fits[-back] for back in (2, 4) if len(past.fits) >= back)
    if past.epochs < 4 or moving:
        return None  # on its way: the labels come by themselves
    why = (
        f"training loss {now.fit:.2f} of {now.plateau_loss:.2f} says that labels are known, yet {deletions:.0f} % "
        f"are deleted and {insertions:.0f} % inserted; {_blank_share(now)}"
    )
    if now.shift and now.domain == "logit" and now.blank_ratio == now.raw_blank_ratio:
        why += f"; the shift of {now.shift:g} is in force in training alone"
    return _found(State.BLANK_BIASED, "omissions", why, now)


def _escaping(past: Past) -> Judgement | None:
    now = past.now
    if now.plateau_loss and now.fit is not None and now.fit > LEARNT * now.plateau_loss:
        gap = 100.0 * (1.0 - now.fit / now.plateau_loss)
        why = f"training loss {now.fit:.2f} is {gap:.0f} % below the unigram plateau of {now.plateau_loss:.2f}"
        return _found(State.ESCAPING, "off_plateau", why, now)
    if now.deletion_rate is not None and now.deletion_rate >= 50.0:
        why = f"{now.deletion_rate:.0f} % of the labels are still missing"
        return _found(State.ESCAPING, "omissions", why, now)
    if now.plateau_loss is not None and now.val_wer is not None and now.val_wer >= MANY_ERRORS:
        return _found(State.ESCAPING, "many_errors", f"{now.val_wer:.1f} % word errors", now)
    if now.plateau_loss is None and now.val_wer is not None and now.val_wer >= 80.0:
        why = f"{now.val_wer:.1f} % word errors; the unigram plateau was not recorded, so this is inferred"
        return _found(State.ESCAPING, "many_errors", why, now)
    return None


def _healthy(now: Observation) -> Judgement:
    parts = []
    if now.fit is not None and now.plateau_loss:
        parts.append(f"training loss {now.fit:.2f} of {now.plateau_loss:.2f}")
    if now.val_wer is not None:
        parts.append(f"{now.val_wer:.1f} % word errors")
    if now.blank_ratio is not None:
        parts.append(_blank_share(now))
    return _found(State.HEALTHY, "recognises", ", ".join(parts), now)


def _severity(state: State, epochs: int, late: bool) -> Severity:
    match state:
        case State.BROKEN:
            return "error"
        case State.PLATEAU:
            return "error" if epochs > PATIENCE else "warning"
        case State.ESCAPING:
            return "warning" if late else "info"
        case State.HEALTHY:
            return "info"
    return "warning"


def _outlook(outlook: Forecast) -> str:
    there = f"{outlook.val_wer:.0f} % word errors and a training loss of {outlook.training_loss:.2f}"
    if not outlook.left:
        return f"The plan of {outlook.planned} epochs is over, and labels are not recognised yet."
    needed = (
        "word errors hardly fall"
        if outlook.needed is None
        else f"{MANY_ERRORS:g} % is {count(outlook.needed)} away"
    )
    return (
        f"At the pace of the last {outlook.pace} epochs, the plan of {outlook.planned} ends at {there}; {needed}."
    )


def _as_json(record: Judgement | Stretch) -> dict[str, Any]:
    # plain text for the state, because a checkpoint holds no enumerations
    return {**asdict(record), "state": str(record.state)}


def _blank_share(now: Observation) -> str:
    if now.blank_ratio is None:
        return "blank share not recorded"
    text = f"{now.blank_ratio:.1f} % of frames are blank"
    if now.blank_reference is not None:
        text += f" where one-frame spikes have {now.blank_reference:.1f} %"
    return text


def _n(value: float | None) -> str:
    return "not recorded" if value is None else f"{value:.2f}"


EVIDENCE = (
    "plateau_loss",
    "val_loss",
    "val_wer",
    "deletion_rate",
    "insertion_rate",
    "length_ratio",
    "blank_ratio",
    "blank_reference",
    "unique_nonblank",
    "label_coverage",
    "overfit_ratio",
)


def _found(state: State, reason: str, why: str, now: Observation, **more: float | int | None) -> Judgement:
    figures = {"epoch": now.epoch, "training_loss": now.fit}
    figures |= {name: getattr(now, name) for name in EVIDENCE} | more
    return Judgement(
        state, reason, f"{why}.", {name: value for name, value in figures.items() if value is not None}
    )
