"""Says in plain words what a run amounts to, with the figures behind every sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ctckit.doctor.states import read_blanks
from ctckit.report.summary import Epoch, Scores, Summary

Tone = Literal["good", "attention", "bad", "neutral"]
State = Literal["no_epochs", "on_plateau", "fell_back", "collapsed", "left_plateau"]

TOO_MANY_BLANKS = "more blanks than the labels leave room for"
TOO_FEW_BLANKS = "too few blanks, labels are inserted"
READINGS = {
    "unknown": "",
    "swallowing": "blanks swallow the labels",
    "too_many": TOO_MANY_BLANKS,
    "too_few": TOO_FEW_BLANKS,
    "spikes": "healthy spikes",
    "held": "labels are held over several frames",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run amounts to.

    Attributes:
        state: for programs.
        tone: how good that is.
        headline: one sentence.
        evidence: sentences with figures.
    """

    state: State
    tone: Tone
    headline: str
    evidence: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, for a terminal."""
        return "\n".join([self.headline, *(f"  {sentence}" for sentence in self.evidence)])


def number(value: float | None, digits: int = 2) -> str:
    """Format a figure; one that was not finite says so."""
    return "not finite" if value is None else f"{value:.{digits}f}"


def judge(summary: Summary) -> Verdict:
    """Judge a run by the plateau first, by what it emits second, by its word errors third."""
    state, tone, headline = _state(summary)
    evidence = [
        *_plateau(summary, state),
        *_errors(summary),
        *_blanks(summary),
        *_tests(summary),
        *_changes(summary),
        ending(summary),
    ]
    return Verdict(state, tone, headline, tuple(evidence))


def _state(summary: Summary) -> tuple[State, Tone, str]:
    if not summary.epochs:
        return "no_epochs", "neutral", "No epoch has been finished yet."
    last = summary.epochs[-1]
    left, first = summary.left_plateau, summary.first_escape
    collapsed = ", and every epoch was collapsed" if summary.all_collapsed else ""
    if first is None and summary.goes_on:
        return "on_plateau", "attention", f"Still on the unigram plateau after {_done(summary)}{collapsed}."
    if first is None:
        return "on_plateau", "bad", f"Never left the unigram plateau in {_done(summary)}{collapsed}."
    if left is None:
        headline = f"Left the unigram plateau in epoch {first.epoch} and fell back onto it by epoch {last.epoch}"
        return "fell_back", "bad", f"{headline}{collapsed}."
    when = f"Left the unigram plateau in epoch {left.epoch}"
    if summary.last_on_plateau is None:
        when = f"Off the unigram plateau from epoch {left.epoch} on"
    elif first.epoch < left.epoch:
        when += f" for good (first in epoch {first.epoch})"
    if summary.all_collapsed:
        return "collapsed", "bad", f"{when}, yet every epoch was collapsed: next to nothing is emitted."
    if last.dev.collapsed:
        return "collapsed", "attention", f"{when}, but the last epoch is collapsed: next to nothing is emitted."
    best = summary.best
    if best is None:
        return "left_plateau", "attention", f"{when}; no epoch has a finite word error rate."
    tone: Tone = "attention" if blank_reading(best.dev) in (TOO_MANY_BLANKS, TOO_FEW_BLANKS) else "good"
    return "left_plateau", tone, f"{when}; best WER {number(best.dev.wer, 1)} % in epoch {best.epoch}."


def _plateau(summary: Summary, state: State) -> list[str]:
    if not summary.epochs:
        return []
    last = summary.epochs[-1]
    escape = summary.left_plateau or summary.first_escape
    sentences = []
    if escape is not None:
        sentences.append(f"Epoch {escape.epoch} ({escape.phase}): {_loss_of_plateau(escape)}{_in_force(escape)}.")
    if last is not escape:
        meaning = ": the network still ignores its input" if state in ("on_plateau", "fell_back") else ""
        sentences.append(f"Last epoch {last.epoch}: {_loss_of_plateau(last)}{meaning}.")
    return sentences


def _loss_of_plateau(epoch: Epoch) -> str:
    loss, plateau = epoch.train_eval_loss, epoch.plateau_loss
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


def shares(scores: Scores) -> str:
    """Word errors with their kinds, such as ``31.2 % WER (S 12.1, D 14.0, I 5.1)``."""
    kinds = (scores.substitution_rate, scores.deletion_rate, scores.insertion_rate)
    split = ", ".join(f"{letter} {number(rate, 1)}" for letter, rate in zip("SDI", kinds, strict=True))
    return f"{number(scores.wer, 1)} % WER ({split})"


def _errors(summary: Summary) -> list[str]:
    best, target = summary.best, summary.target_wer
    if not summary.epochs:
        return []
    if best is None:
        scores = summary.epochs[-1].dev
        if summary.all_collapsed:
            return [
                f"Nothing counts as a best epoch: the last has {shares(scores)}, "
                f"{number(scores.empty_share, 0)} % of dev hypotheses are empty."
            ]
        return ["Nothing counts as a best epoch: the word error rate of the others is not finite."]
    sentence = f"Best epoch {best.epoch}: {shares(best.dev)} on dev"
    if target is not None and best.dev.wer is not None:
        gap = best.dev.wer - target
        sentence += f"; target {target:g} % " + (f"missed by {gap:.1f} points" if gap > 0 else "reached")
    return [f"{sentence}."]


def _blanks(summary: Summary) -> list[str]:
    epoch = summary.best or (summary.epochs[-1] if summary.epochs else None)
    if epoch is None:
        return []
    scores = epoch.dev
    reading = blank_reading(scores)
    where = "" if epoch is summary.best else f" in epoch {epoch.epoch}"
    sentence = (
        f"{number(scores.blank_ratio, 1)} % of dev frames are blank{where} "
        f"where 1 - U/T is {number(scores.blank_reference, 1)} %{f': {reading}' if reading else ''}"
    )
    raw = scores.raw_blank_ratio
    if raw is not None and scores.blank_ratio is not None and abs(raw - scores.blank_ratio) >= 1.0:
        sentence += f" ({raw:.1f} % without the blank shift)"
    return [f"{sentence}."]


def blank_reading(scores: Scores) -> str:
    """What a blank share means beside its reference; empty where there is no saying."""
    if scores.collapsed:
        return READINGS["swallowing"]
    return READINGS[
        read_blanks(
            label_frames=scores.frames_a_token,
            length_ratio=scores.length_ratio,
            insertion_rate=scores.insertion_rate,
            deletion_rate=scores.deletion_rate,
        )
    ]


def _tests(summary: Summary) -> list[str]:
    return [
        f"Test corpus {test.corpus}, checkpoint of epoch {test.epoch}: {shares(test.scores)}."
        for test in summary.tests
    ]


def _changes(summary: Summary) -> list[str]:
    sentences = []
    if summary.actions:
        acts: dict[str, list[int]] = {}
        for event in summary.actions:
            acts.setdefault(event.action, []).append(event.epoch)
        listed = "; ".join(f"{name} after {_epochs(epochs)}" for name, epochs in acts.items())
        sentences.append(f"Monitors changed the course of the run: {listed}.")
    if summary.resumed:
        sentences.append(f"Resumed at {_epochs(summary.resumed)}.")
    return sentences


def _epochs(numbers: list[int] | tuple[int, ...]) -> str:
    return ("epoch " if len(numbers) == 1 else "epochs ") + ", ".join(map(str, numbers))


def _done(summary: Summary) -> str:
    planned, done = summary.planned_epochs, len(summary.epochs)
    if planned is not None and planned != done:
        return f"{done} of {planned} epochs"
    return "1 epoch" if done == 1 else f"{done} epochs"


def ended(summary: Summary) -> str:
    """How the run ended, in a word or two."""
    return "unfinished" if summary.ending is None else str(summary.ending.get("reason"))


def ending(summary: Summary) -> str:
    """How the run ended, or that it has not."""
    done = _done(summary)
    if summary.ending is None:
        return f"Unfinished: {done} done and no closing row, so the run is still at it, or died."
    match ended(summary):
        case "finished":
            return f"Finished after {done}."
        case "interrupted":
            return f"Interrupted after {done}; it can be resumed."
        case "out of time":
            return f"Ran out of time after {done}; it can be resumed."
        case "out of updates":
            return f"Took the updates it was given in {done}; it can be resumed."
        case "stopped by a monitor":
            return f"Stopped by a monitor after {done}."
        case reason:
            return f"Ended ({reason}) after {done}."


def as_json(summary: Summary, verdict: Verdict) -> dict[str, Any]:
    """Return what a program wants to know; the epochs themselves are in the history."""
    left, best = summary.left_plateau, summary.best
    return {
        "run": summary.name,
        "state": verdict.state,
        "headline": verdict.headline,
        "evidence": list(verdict.evidence),
        "epochs": len(summary.epochs),
        "planned_epochs": summary.planned_epochs,
        "ending": (summary.ending or {}).get("reason"),
        "resumed": list(summary.resumed),
        "plateau_loss": summary.plateau_loss,
        "left_plateau": left.epoch if left else None,
        "first_escape": summary.first_escape.epoch if summary.first_escape else None,
        "all_collapsed": summary.all_collapsed,
        "best": {"epoch": best.epoch, **_scores_json(best.dev)} if best else None,
        "last": {"epoch": summary.epochs[-1].epoch, **_scores_json(summary.epochs[-1].dev)}
        if summary.epochs
        else None,
        "target_wer": summary.target_wer,
        "target_reached": summary.target_reached,
        "tests": [
            {"corpus": test.corpus, "epoch": test.epoch, **_scores_json(test.scores), "unknown": list(test.unknown)}
            for test in summary.tests
        ],
        "phases": [
            {
                "name": phase.name,
                "planned": phase.planned,
                "first": phase.epochs[0].epoch if phase.epochs else None,
                "last": phase.epochs[-1].epoch if phase.epochs else None,
            }
            for phase in summary.phases
        ],
        "findings": [
            {"epoch": event.epoch, "rule": event.rule, "severity": event.severity, "message": event.message}
            for event in summary.events
            if event.kind == "finding"
        ],
        "actions": [
            {"epoch": event.epoch, "action": event.action, **(event.values or {}), "rule": event.rule}
            for event in summary.actions
        ],
        "dropped": len(summary.dropped),
    }


def _scores_json(scores: Scores) -> dict[str, Any]:
    return {
        "wer": scores.wer,
        "substitution_rate": scores.substitution_rate,
        "deletion_rate": scores.deletion_rate,
        "insertion_rate": scores.insertion_rate,
        "blank_ratio": scores.blank_ratio,
        "blank_reference": scores.blank_reference,
        "blank_reading": blank_reading(scores),
        "length_ratio": scores.length_ratio,
        "label_coverage": scores.label_coverage,
        "coverage_by_frequency": {
            "rare": scores.coverage_rare,
            "medium": scores.coverage_medium,
            "frequent": scores.coverage_frequent,
        },
        "entropy": scores.entropy,
        "infeasible": scores.infeasible,
        "collapsed": scores.collapsed,
    }
