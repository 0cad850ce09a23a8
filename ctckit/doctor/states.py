"""The states of a CTC run, as pure rules over its epochs.

A run that "collapsed into blanks" may be broken, above the plateau or on it, where every run starts, on its way
off it, biased towards blank, overfitted, over-penalised, or perfectly well: one-frame spikes have a blank share of
``1 - U/T``, often more than 95 %. The rules look at the loss first, at what is emitted second, and at the blank
share only beside its reference. Their limits are in ``limits.py``. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ctckit.doctor import limits
from ctckit.doctor.limits import SPIKES
from ctckit.doctor.past import Past
from ctckit.record.epoch import NOTHING_BUT_BLANKS, Epoch
from ctckit.types import COLLAPSED_DELETION_RATE

Evidence = Mapping[str, float | int | str | bool]
Blanks = Literal["unknown", "swallowing", "too_many", "too_few", "spikes", "held"]


class State(StrEnum):
    """What a run is."""

    BROKEN = "BROKEN"
    DIVERGED = "DIVERGED"
    STARTING = "STARTING"
    PLATEAU = "PLATEAU"
    ESCAPING = "ESCAPING"
    HEALTHY = "HEALTHY"
    BLANK_BIASED = "BLANK-BIASED"
    OVERFIT = "OVERFIT"
    OVER_PENALISED = "OVER-PENALISED"


MEANINGS: Mapping[State, str] = {
    State.BROKEN: "something in the set-up is at fault",
    State.DIVERGED: "the loss has risen instead of falling, or what was learnt is lost again",
    State.STARTING: "the loss is still above the unigram plateau, on its way down to it",
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


def read_blanks(epoch: Epoch) -> Blanks:
    """Say what a blank share means: beside its reference ``1 - U/T``, and beside what is emitted."""
    if (epoch.deletion_rate or 0.0) >= COLLAPSED_DELETION_RATE:
        return "swallowing"
    if epoch.label_frames is None or epoch.length_ratio is None:
        return "unknown"
    if epoch.label_frames < SPIKES[0] or epoch.length_ratio < SPIKES[0]:
        return "too_many"
    if _inserts(epoch):
        return "too_few"
    return "spikes" if epoch.label_frames <= SPIKES[1] else "held"


def _inserts(epoch: Epoch) -> bool:
    insertions, deletions = epoch.insertion_rate or 0.0, epoch.deletion_rate or 0.0
    return insertions >= limits.INSERTIONS and insertions > 2.0 * deletions


def lopsided(epoch: Epoch) -> Literal["deletions", "insertions"] | None:
    """Return which of deletions and insertions outweighs the other so far that a decode-time shift would help."""
    deletions, insertions = epoch.deletion_rate, epoch.insertion_rate
    if deletions is None or insertions is None:
        return None
    points, factor = limits.LOPSIDED
    if deletions - insertions >= points and deletions >= factor * insertions:
        return "deletions"
    if insertions - deletions >= points and insertions >= factor * deletions:
        return "insertions"
    return None


def state_of(past: Past) -> Judgement | None:
    """Tell the state at the last epoch: the first rule that applies, in the order of what would mislead.

    None where that epoch records nothing to tell it by.
    """
    now = past.now
    mute = now.val_wer is None and now.deletion_rate is None and now.on_plateau is None
    rules = (_broken, _diverged, _overfit) if mute else RULES
    for rule in rules:
        found = rule(past)
        if found is not None:
            return found
    return None if mute else _healthy(now)


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
    if fit is not None and fit < limits.ZERO_LOSS:
        why = f"training loss {fit:.3g} is below 0, which no CTC loss is: the loss was given no log-probabilities"
        return _found(State.BROKEN, "negative_loss", why, now)
    if fit is not None and fit == 0.0 and (wer is None or wer >= limits.NONE_RIGHT):
        why = "training loss is exactly 0: infinite losses were set to zero (zero_infinity), nothing is learnt"
        return _found(State.BROKEN, "zeroed_loss", why, now)
    if now.infeasible and now.utterances and now.infeasible >= limits.INFEASIBLE * now.utterances:
        why = f"{now.infeasible:.0f} of {now.utterances:.0f} dev clips have no CTC path: too few output frames"
        return _found(State.BROKEN, "infeasible", why, now)
    if now.gradient_norm == 0.0:
        return _found(State.BROKEN, "no_gradient", "the gradient is exactly 0: no loss reaches the weights", now)
    low = limits.DECODER_LOSS * now.plateau_loss if now.plateau_loss else limits.DECODER_NATS
    if fit is not None and fit < low and now.train_wer is not None and now.train_wer >= limits.NONE_RIGHT:
        why = (
            f"training loss {fit:.2f} says that the labels are known, yet {now.train_wer:.0f} % of them are decoded"
            " wrongly: loss and decoder disagree about blank or labels"
        )
        return _found(State.BROKEN, "decoder_contradicts_loss", why, now)
    return _nothing_learnt(past)


def _nothing_learnt(past: Past) -> Judgement | None:
    now = past.now
    last = [one.fit for one in past.recent[-limits.LOOK :] if one.fit is not None]
    if not now.plateau_loss or len(last) < limits.LOOK or min(last) <= limits.FAR_ABOVE * now.plateau_loss:
        return None
    first = past.recent[-limits.LOOK].update
    few_updates = now.update is not None and first is not None and now.update - first < limits.LOOK_UPDATES
    if past.falls() if few_updates or past.fits_known > limits.LOOK else last[-1] < (1 - limits.FALLS) * last[0]:
        return None
    why = (
        f"training loss {last[-1]:.2f} has been above {limits.FAR_ABOVE:g} times the unigram plateau "
        f"({now.plateau_loss:.2f}) for {limits.LOOK} epochs and does not fall: label frequencies are not learnt"
    )
    return _found(State.BROKEN, "nothing_learnt", why, now, learning_rate=now.learning_rate)


def _diverged(past: Past) -> Judgement | None:
    """A loss that rises from where it was, and errors with it: no beginning explains that."""
    now, lowest, best = past.now, past.lowest_fit, past.best_error()
    if now.on_plateau and not now.above_plateau:
        return None  # back on the plateau: that is a state of its own
    risen = now.fit is not None and lowest is not None and now.fit > limits.RISEN * max(lowest, 0.0)
    silent = now.deletion_rate is not None and now.deletion_rate >= COLLAPSED_DELETION_RATE
    if best is not None and now.val_wer is not None and best < limits.MANY_ERRORS and (risen or silent):
        points, share = limits.LOST
        if now.val_wer > best + max(points, share * best):
            why = f"word errors were {best:.1f} % at best and are {now.val_wer:.1f} %"
            if risen:
                why += (
                    f"; training loss has risen from {lowest:.2f} (epoch {past.lowest_fit_epoch}) to {now.fit:.2f}"
                )
            return _found(State.DIVERGED, "lost", why, now, best_val_wer=best, lowest_training_loss=lowest)
    if risen and now.above_plateau:
        why = (
            f"training loss has risen from {lowest:.2f} (epoch {past.lowest_fit_epoch}) to {now.fit:.2f}, where "
            f"the unigram plateau is {now.plateau_loss:.2f}"
        )
        return _found(State.DIVERGED, "loss_rises", why, now, lowest_training_loss=lowest)
    return None


def _over_penalised(past: Past) -> Judgement | None:
    now = past.now
    shifted = bool(now.shift and now.shift < 0.0)
    unlearnt = now.on_plateau is not False
    young = past.age <= limits.PATIENCE and not past.off_plateau
    if unlearnt and (young or not shifted):
        return None  # what an untrained network emits is no sign of anything
    frames = now.label_frames
    if _inserts(now) and (frames is None or frames > SPIKES[1]):
        why = (
            f"insertions {now.insertion_rate:.0f} % against deletions {now.deletion_rate or 0.0:.0f} %, "
            f"{_blank_share(now)}"
        )
        return _found(State.OVER_PENALISED, "insertions", why, now)
    if shifted and now.blank_ratio is not None:
        reference = now.blank_reference
        most, share = limits.NO_BLANKS
        gone = now.blank_ratio < (most if reference is None else share * reference)
        if gone and (reference is not None or (now.val_wer or 0.0) > 100.0):
            return _found(
                State.OVER_PENALISED, "no_blanks", f"{_blank_share(now)} under a shift of {now.shift:g}", now
            )
    return None


def _starting(past: Past) -> Judgement | None:
    """A net above the plateau has not even learnt label frequencies; it ignores nothing yet, it is untrained."""
    now = past.now
    if not now.above_plateau or not past.falls():
        return None
    assert now.fit is not None
    assert now.plateau_loss is not None
    why = (
        f"training loss {now.fit:.2f} is {now.fit / now.plateau_loss:.1f} times the unigram plateau of "
        f"{now.plateau_loss:.2f} nats per token"
    )
    return _found(State.STARTING, "above_plateau", why, now)


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
        return _found(State.PLATEAU, "stuck_above" if now.above_plateau else "on_plateau", why, now)
    wer, deletions, blanks = now.val_wer, now.deletion_rate, now.blank_ratio
    silent = [
        text
        for text, holds in (
            (f"deletion rate {_n(deletions, 1)} %", (deletions or 0.0) >= COLLAPSED_DELETION_RATE),
            (f"{_n(blanks, 1)} % blank frames", (blanks or 0.0) >= NOTHING_BUT_BLANKS),
            ("no label is emitted", now.unique_nonblank == 0),
            (f"{_n(wer, 1)} % word errors", wer is not None and 99.0 <= wer <= 101.0),
        )
        if holds
    ]
    # a low loss speaks against one sign; in an alphabet of four it is low on the plateau as well
    sure = now.unique_nonblank == 0 or len(silent) > 1
    learnt = now.fit is not None and now.fit < (limits.LEARNT_NATS_OF_FEW if sure else limits.LEARNT_NATS)
    if not silent or learnt:
        return None
    why = f"{', '.join(silent)}; the unigram plateau itself was not recorded, so this is inferred"
    return _found(State.PLATEAU, "silent", why, now)


def _overfit(past: Past) -> Judgement | None:
    now = past.now
    ratio, wer = now.overfit_ratio, now.val_wer
    if ratio is None or ratio < limits.RISES[1] or recognises(past):
        return None
    fit, plateau = now.fit, now.plateau_loss
    learnt = fit is not None and fit <= (limits.LEARNT * plateau if plateau else limits.LEARNT_NATS)
    far = ratio >= limits.FAR_APART or (ratio >= limits.OVERFIT and learnt and wer is not None)
    if far and (wer is None or wer >= limits.HALF_WRONG):
        why = f"dev loss {_n(now.val_loss)} is {ratio:.1f} times the training loss {_n(fit)}"
        why += "" if wer is None else f" at {wer:.1f} % word errors"
        return _found(State.OVERFIT, "gap", why, now, overfit_ratio=ratio)
    lowest = past.lowest_val_loss
    if lowest is None or now.val_loss is None:
        return None
    if now.val_loss <= limits.RISES[0] * lowest or past.epochs_since_lowest < limits.SINCE_LOWEST:
        return None
    if fewer(past.best_error_to_lowest, past.best_error_since_lowest):
        return None  # the loss rises while fewer words are wrong: CTC losses do that
    why = (
        f"dev loss has risen from {lowest:.2f} (epoch {past.lowest_epoch}) to {now.val_loss:.2f}, {ratio:.1f} "
        "times the training loss, and word errors have not improved since"
    )
    return _found(State.OVERFIT, "dev_loss_rises", why, now, lowest_val_loss=lowest, since=past.lowest_epoch)


def fewer(before: float | None, after: float | None) -> bool:
    """Whether word errors have fallen by more than chance would have it."""
    if before is None or after is None:
        return False
    points, share = limits.FEWER
    return before - after >= max(points, share * before)


def recognises(past: Past) -> bool:
    """Whether few words are wrong, at a low dev loss, and no more than before: then no ratio of losses matters."""
    now, best = past.now, past.best_error()
    if now.val_wer is None or best is None or now.val_wer >= limits.FEW_ERRORS or now.val_loss is None:
        return False
    points, share = limits.WORSE
    low = now.val_loss < (limits.LOW * now.plateau_loss if now.plateau_loss else limits.LEARNT_NATS)
    return low and now.val_wer <= best + max(points, share * best)


def _blank_biased(past: Past) -> Judgement | None:
    now = past.now
    deletions, insertions, substitutions = now.deletion_rate, now.insertion_rate, now.substitution_rate
    if deletions is None or insertions is None or substitutions is None or now.fit is None:
        return None
    if now.length_ratio is None or now.plateau_loss is None:
        return None
    if deletions >= 100.0:
        return None  # where nothing is emitted, nothing says that it would be right
    omits = deletions >= limits.OMISSIONS and deletions > substitutions and deletions >= 3.0 * insertions
    # what is emitted must be right; else a shift turns deletions into substitutions and mends nothing
    right = substitutions + insertions <= limits.WRONG_SHARE * (100.0 - deletions)
    too_short = now.length_ratio <= limits.SHORT
    if not omits or not too_short or not right or now.fit > limits.LEARNT * now.plateau_loss:
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
    if now.plateau_loss and now.fit is not None and now.fit > limits.LEARNT * now.plateau_loss:
        gap = 100.0 * (1.0 - now.fit / now.plateau_loss)
        why = f"training loss {now.fit:.2f} is {gap:.0f} % below the unigram plateau of {now.plateau_loss:.2f}"
        return _found(State.ESCAPING, "off_plateau", why, now)
    if now.deletion_rate is not None and now.deletion_rate >= limits.OMITTED:
        why = f"{now.deletion_rate:.0f} % of the labels are still missing"
        return _found(State.ESCAPING, "omissions", why, now)
    if now.plateau_loss is not None and now.val_wer is not None and now.val_wer >= limits.MANY_ERRORS:
        return _found(State.ESCAPING, "many_errors", f"{now.val_wer:.1f} % word errors", now)
    if now.plateau_loss is None and now.val_wer is not None and now.val_wer >= limits.MOST_ERRORS:
        why = f"{now.val_wer:.1f} % word errors; the unigram plateau was not recorded, so this is inferred"
        return _found(State.ESCAPING, "many_errors", why, now)
    return None


RULES = (_broken, _over_penalised, _diverged, _starting, _plateau, _overfit, _blank_biased, _escaping)


def _healthy(now: Epoch) -> Judgement:
    parts = []
    if now.fit is not None and now.plateau_loss:
        parts.append(f"training loss {now.fit:.2f} of {now.plateau_loss:.2f}")
    if now.val_wer is not None:
        parts.append(f"{now.val_wer:.1f} % word errors")
    if now.blank_ratio is not None:
        parts.append(_blank_share(now))
    return _found(State.HEALTHY, "recognises", ", ".join(parts), now)


def _blank_share(now: Epoch) -> str:
    if now.blank_ratio is None:
        return "blank share not recorded"
    text = f"{now.blank_ratio:.1f} % of frames are blank"
    if now.blank_reference is not None:
        text += f" where one-frame spikes have {now.blank_reference:.1f} %"
    return text


def _n(value: float | None, digits: int = 2) -> str:
    return "not recorded" if value is None else f"{value:.{digits}f}"


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


def _found(state: State, reason: str, why: str, now: Epoch, **more: float | int | None) -> Judgement:
    figures = {"epoch": now.epoch, "training_loss": now.fit}
    figures |= {name: now.value(name) for name in EVIDENCE} | more
    return Judgement(
        state, reason, f"{why}.", {name: value for name, value in figures.items() if value is not None}
    )
