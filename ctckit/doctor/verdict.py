"""The one judge: what a run amounts to, for report, ``diagnose``, ``compare`` and ``ablate`` alike.

The monitor asks the same rules epoch by epoch (``Course``, ``red_flags``, ``notices``). Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ctckit.doctor.course import Course, Diagnosis, count
from ctckit.doctor.flags import red_flags
from ctckit.doctor.notices import notices
from ctckit.doctor.prescriptions import Advice, prescribe
from ctckit.doctor.states import Blanks, State, read_blanks
from ctckit.record.epoch import Epoch
from ctckit.record.history import Recorded
from ctckit.types import Finding, Severity, gravest

READINGS: dict[Blanks, str] = {
    "unknown": "",
    "swallowing": "blanks swallow the labels",
    "too_many": "more blanks than the labels leave room for",
    "too_few": "too few blanks, labels are inserted",
    "spikes": "healthy spikes",
    "held": "labels are held over several frames",
}

JUDGED = (
    "train_loss",
    "train_eval_loss",
    "train_wer",
    "val_loss",
    "val_wer",
    "blank_ratio",
    "raw_blank_ratio",
    "blank_reference",
    "unique_nonblank",
    "label_coverage",
    "deletion_rate",
    "insertion_rate",
    "length_ratio",
    "empty_share",
    "infeasible",
    "train_infeasible",
    "utterances",
    "overfit_ratio",
    "plateau_loss",
    "gradient_norm",
    "learning_rate",
    "shift",
)
"""Figures that rules ask for; one that no epoch has is said to be missing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run amounts to.

    Attributes:
        diagnosis: its state; None where no epoch says anything about one.
        severity: the gravest of the state, of what holds beside it, and of a target that was missed.
        headline: one sentence.
        evidence: sentences with figures about the whole of it.
        flags: of the founding document's rules, what holds after the last epoch.
        notices: what else holds after it.
        advice: what to try, most promising first; empty where nothing is to be done.
        missing: figures that rules ask for and no epoch has.
    """

    diagnosis: Diagnosis | None
    severity: Severity
    headline: str
    evidence: tuple[str, ...] = ()
    flags: tuple[Finding, ...] = ()
    notices: tuple[Finding, ...] = ()
    advice: tuple[Advice, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that holds after the last epoch."""
        return (*self.flags, *self.notices)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What holds and is no mere note."""
        return tuple(finding for finding in self.findings if finding.severity != "info")


def judge(run: Recorded) -> Verdict:
    """Judge a run by the plateau first, by what it emits second, by its word errors third."""
    if not run.epochs:
        return Verdict(None, "info", "No epoch has been finished yet.", tuple(_ending(run)))
    course = Course.of(run.epochs)
    flags, noticed = red_flags(course.past), notices(course.past)
    diagnosis = None if course.judgement is None else course.diagnose(run.planned_epochs)
    severities = [finding.severity for finding in (*flags, *noticed)]
    if diagnosis is not None:
        severities.append(diagnosis.severity)
        if not run.goes_on and diagnosis.state in (State.STARTING, State.PLATEAU):
            severities.append("warning")  # what is nothing in a beginning is an end that went wrong
    if _missed(run):
        severities.append("warning")
    return Verdict(
        diagnosis,
        gravest(severities),
        "No epoch records what a state is told by." if diagnosis is None else diagnosis.headline,
        tuple(_evidence(run, diagnosis)),
        flags,
        noticed,
        () if diagnosis is None else prescribe(diagnosis, run),
        missing(run.epochs),
    )


def missing(epochs: Sequence[Epoch]) -> tuple[str, ...]:
    """Return the figures that rules ask for and no epoch has."""
    return tuple(
        name for name in JUDGED if all(one.value(name) is None and name not in one.not_finite for one in epochs)
    )


def blank_reading(epoch: Epoch) -> str:
    """What a blank share means beside its reference; empty where there is no saying."""
    return READINGS[read_blanks(epoch)]


def number(value: float | None, digits: int = 2) -> str:
    """Format a figure of a sentence; one that is not there says so."""
    return "not finite" if value is None else f"{value:.{digits}f}"


def shares(epoch: Epoch) -> str:
    """Word errors with their kinds, such as ``31.2 % WER (S 12.1, D 14.0, I 5.1)``, as far as recorded."""
    kinds = {"S": "substitution_rate", "D": "deletion_rate", "I": "insertion_rate"}
    split = ", ".join(
        f"{letter} {number(epoch.value(name), 1)}"
        for letter, name in kinds.items()
        if epoch.value(name) is not None or name in epoch.not_finite
    )
    return f"{number(epoch.val_wer, 1)} % WER" + (f" ({split})" if split else "")


def _missed(run: Recorded) -> bool:
    """Whether a run is over and has not reached its target."""
    return run.ending is not None and run.target_reached is False


def _evidence(run: Recorded, diagnosis: Diagnosis | None) -> Iterable[str]:
    if diagnosis is not None:
        yield diagnosis.why
    if run.plateau_loss is not None:
        yield _way(run)
        yield from _plateau(run)
    yield from _errors(run)
    yield from _blanks(run)
    for test in run.tests:
        yield f"Test corpus {test.corpus}, checkpoint of epoch {test.scores.epoch}: {shares(test.scores)}."
    yield from _changes(run)
    if not run.foreign:
        yield from _ending(run)


def _way(run: Recorded) -> str:
    """When the plateau was left, if it was."""
    last = run.epochs[-1]
    left, first = run.left_plateau, run.first_escape
    collapsed = ", and every epoch was collapsed" if run.all_collapsed else ""
    if first is None:
        still = "Still on the unigram plateau after" if run.goes_on else "Never left the unigram plateau in"
        if last.above_plateau:
            still = (
                "Still above the unigram plateau after" if run.goes_on else "Never came to the unigram plateau in"
            )
        return f"{still} {_done(run)}{collapsed}."
    if left is None:
        back = f"and fell back onto it by epoch {last.epoch}{collapsed}"
        return f"Left the unigram plateau in epoch {first.epoch} {back}."
    when = f"Left the unigram plateau in epoch {left.epoch}"
    if run.last_on_plateau is None:
        when = f"Off the unigram plateau from epoch {left.epoch} on"
    elif first.epoch < left.epoch:
        when += f" for good (first in epoch {first.epoch})"
    if run.all_collapsed:
        return f"{when}, yet every epoch was collapsed: next to nothing is emitted."
    if last.collapsed:
        return f"{when}, but the last epoch is collapsed: next to nothing is emitted."
    best = run.best
    if best is None:
        return f"{when}; no epoch has a finite word error rate."
    return f"{when}; best WER {number(best.val_wer, 1)} % in epoch {best.epoch}."


def _plateau(run: Recorded) -> Iterable[str]:
    escape = run.left_plateau or run.first_escape
    if escape is not None:
        yield f"Epoch {escape.epoch} ({escape.phase}): {_loss_of_plateau(escape)}{_in_force(escape)}."
    last = run.epochs[-1]
    if last is not escape:
        yield f"Last epoch {last.epoch}: {_loss_of_plateau(last)}."


def _loss_of_plateau(epoch: Epoch) -> str:
    loss, plateau = epoch.fit, epoch.plateau_loss
    text = f"training loss {number(loss)} of {number(plateau)} nats per token"
    if loss is None or not plateau:
        return text
    return f"{text} ({abs(100.0 * (1.0 - loss / plateau)):.0f} % {'below' if loss <= plateau else 'above'})"


def _in_force(epoch: Epoch) -> str:
    parts = []
    if epoch.learning_rate is not None:
        parts.append(f"learning rate {epoch.learning_rate:.3g}")
    if epoch.shift is not None:
        domain = f"{epoch.domain} " if epoch.domain and epoch.shift else ""
        parts.append(f"{domain}blank shift {epoch.shift:.3g}" if epoch.shift else "no blank shift")
    heads = ", ".join(epoch.auxiliary_losses)
    if heads:
        parts.append(f"auxiliary CTC loss on {heads}")
    return f", with {', '.join(parts)}" if parts else ""


def _errors(run: Recorded) -> Iterable[str]:
    best, target = run.best, run.target_wer
    if best is None:
        last = run.epochs[-1]
        if last.val_wer is None:
            return
        why = (
            "every epoch was collapsed" if run.all_collapsed else "no epoch is off the plateau with labels emitted"
        )
        empty = "" if last.empty_share is None else f", {last.empty_share:.0f} % of dev hypotheses are empty"
        yield f"Nothing counts as a best epoch, because {why}: the last has {shares(last)}{empty}."
        return
    sentence = f"Best epoch {best.epoch}: {shares(best)} on dev"
    if target is not None and best.val_wer is not None:
        gap = best.val_wer - target
        sentence += f"; target {target:g} % " + (f"missed by {gap:.1f} points" if gap > 0 else "reached")
    yield f"{sentence}."


def _blanks(run: Recorded) -> Iterable[str]:
    epoch = run.best or run.epochs[-1]
    if epoch.blank_ratio is None and "blank_ratio" not in epoch.not_finite:
        return
    reading = blank_reading(epoch)
    where = "" if epoch is run.best else f" in epoch {epoch.epoch}"
    sentence = f"{number(epoch.blank_ratio, 1)} % of dev frames are blank{where}"
    if epoch.blank_reference is not None:
        sentence += f" where 1 - U/T is {epoch.blank_reference:.1f} %"
    sentence += f": {reading}" if reading else ""
    raw = epoch.raw_blank_ratio
    if raw is not None and epoch.blank_ratio is not None and abs(raw - epoch.blank_ratio) >= 1.0:
        sentence += f" ({raw:.1f} % without the blank shift)"
    yield f"{sentence}."


def _changes(run: Recorded) -> Iterable[str]:
    if run.actions:
        acts: dict[str, list[int]] = {}
        for event in run.actions:
            acts.setdefault(event.action, []).append(event.epoch)
        listed = "; ".join(f"{name} after {_epochs(epochs)}" for name, epochs in acts.items())
        yield f"Monitors changed the course of the run: {listed}."
    if run.resumed:
        yield f"Resumed at {_epochs(run.resumed)}."


def _epochs(numbers: Sequence[int]) -> str:
    return ("epoch " if len(numbers) == 1 else "epochs ") + ", ".join(map(str, numbers))


def _done(run: Recorded) -> str:
    planned, done = run.planned_epochs, len(run.epochs)
    return f"{done} of {planned} epochs" if planned is not None and planned != done else count(done)


def ended(run: Recorded) -> str:
    """How the run ended, in a word or two."""
    return "unfinished" if run.ending is None else str(run.ending.get("reason"))


def _ending(run: Recorded) -> Iterable[str]:
    """How the run ended, or that it has not."""
    done = _done(run)
    if run.ending is None:
        yield f"Unfinished: {done} done and no closing row, so the run is still at it, or died."
        return
    match ended(run):
        case "finished":
            yield f"Finished after {done}."
        case "interrupted":
            yield f"Interrupted after {done}; it can be resumed."
        case "out of time":
            yield f"Ran out of time after {done}; it can be resumed."
        case "out of updates":
            yield f"Took the updates it was given in {done}; it can be resumed."
        case "stopped by a monitor":
            yield f"Stopped by a monitor after {done}."
        case reason:
            yield f"Ended ({reason}) after {done}."


def as_json(run: Recorded, verdict: Verdict) -> dict[str, Any]:
    """Return what a program wants to know; the epochs between the best and the last are in the history."""
    diagnosis, left, best = verdict.diagnosis, run.left_plateau, run.best
    return {
        "run": run.name,
        "state": None if diagnosis is None else diagnosis.state,
        "since": None if diagnosis is None else diagnosis.since,
        "epochs": len(run.epochs),
        "epochs_in_state": None if diagnosis is None else diagnosis.epochs,
        "stalled": diagnosis is not None and diagnosis.stalled,
        "slow": diagnosis is not None and diagnosis.slow,
        "outlook": asdict(diagnosis.outlook) if diagnosis is not None and diagnosis.outlook else None,
        "severity": verdict.severity,
        "headline": verdict.headline,
        "reason": None if diagnosis is None else diagnosis.reason,
        "why": "" if diagnosis is None else diagnosis.why,
        "evidence": {} if diagnosis is None else dict(diagnosis.evidence),
        "sentences": list(verdict.evidence),
        "course": [] if diagnosis is None else [asdict(stretch) for stretch in diagnosis.course],
        "advice": [asdict(one) for one in verdict.advice],
        "findings": [asdict(one) for one in verdict.findings],
        "missing": list(verdict.missing),
        "notes": list(run.notes),
        "columns": [asdict(one) for one in run.columns],
        "planned_epochs": run.planned_epochs,
        "ending": (run.ending or {}).get("reason"),
        "resumed": list(run.resumed),
        "plateau_loss": run.plateau_loss,
        "left_plateau": left.epoch if left and run.plateau_loss is not None else None,
        "first_escape": run.first_escape.epoch if run.first_escape else None,
        "all_collapsed": run.all_collapsed,
        "best": _epoch_json(best, run) if best else None,
        "last": _epoch_json(run.epochs[-1], run) if run.epochs else None,
        "target_wer": run.target_wer,
        "target_reached": run.target_reached,
        "tests": [
            {"corpus": test.corpus, **_epoch_json(test.scores, run), "unknown": list(test.unknown)}
            for test in run.tests
        ],
        "phases": [
            {
                "name": phase.name,
                "planned": phase.planned,
                "first": phase.epochs[0].epoch if phase.epochs else None,
                "last": phase.epochs[-1].epoch if phase.epochs else None,
            }
            for phase in run.phases
        ],
        "actions": [
            {
                "epoch": event.epoch,
                "action": event.action,
                **event.values,
                "rule": event.finding.rule if event.finding else "",
            }
            for event in run.actions
        ],
        "dropped": len(run.dropped),
    }


def _epoch_json(epoch: Epoch, run: Recorded) -> dict[str, Any]:
    """All figures of an epoch that the history's table knows, derived ones included."""
    figures = {name: epoch.value(name) for name in run.table}
    return {
        "epoch": epoch.epoch,
        **{name: value for name, value in figures.items() if value is not None},
        "blank_reading": blank_reading(epoch),
        "collapsed": epoch.collapsed,
    }
