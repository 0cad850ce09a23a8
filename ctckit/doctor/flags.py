"""The founding document's red flags and adjustment triggers, as rules over epochs.

Each is kept as the document states it; where it is wrong or incomplete, the corrected reading stands in the same
finding or in a rule beside it. The monitor of ``plugins/ctckit_doctor`` turns them into actions where asked to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ctckit.doctor.limits import FAR_APART, HALF_WRONG, OMISSIONS, SPIKES
from ctckit.doctor.past import ERRORS, Past
from ctckit.doctor.rules import Rule, finding, holding
from ctckit.doctor.states import fewer, recognises
from ctckit.record.epoch import Epoch
from ctckit.types import Finding, Severity

DOCUMENT_LABELS = 966
"""Labels of the document's corpus, to which its counts refer."""

FOUNDING = "docs/founding-document.md"

CONTINGENCY_EPOCH = 15


def red_flags(past: Past | Sequence[Epoch]) -> tuple[Finding, ...]:
    """Return the rules that hold after the last epoch, at most one finding a rule.

    Args:
        past: the epochs of a run in order, or what a ``Course`` keeps of them.
    """
    return holding(RULES, past)


def _blank_ratio_high(past: Past) -> Finding | None:
    now = past.now
    if past.age <= 10 or now.blank_ratio is None or now.blank_ratio <= 90.0:
        return None
    reference, deletions = now.blank_reference, now.deletion_rate
    text = f"{now.blank_ratio:.1f} % of frames are blank after epoch 10, more than 90 %"
    severity: Severity = "warning"
    if reference is None:
        text += "; whether that is much, 1 - U/T would tell, which is not recorded"
        advice = "compute 1 - U/T and the deletion rate before believing it"
        severity = "info" if _harmless(now) else "warning"
    elif _excess(now):
        text += f", and more than the {reference:.1f} % of one-frame spikes"
        advice = "see the state: the front end and the learning rate come before any penalty"
    else:
        text += f"; one-frame spikes have {reference:.1f} %, so this is no collapse"
        advice, severity = "nothing to do: judge by deletions, not by the blank share", "info"
    return finding(
        "blank_ratio_high",
        severity,
        text,
        "docs/founding-document.md 5.2, C3",
        advice,
        blank_ratio=now.blank_ratio,
        blank_reference=reference,
        deletion_rate=deletions,
    )


def _blank_excess(past: Past) -> Finding | None:
    now = past.now
    if past.age <= 10 or not _excess(now) or now.deletion_rate is None or now.deletion_rate < 50.0:
        return None
    return finding(
        "blank_excess",
        "warning",
        f"after epoch 10, {now.blank_ratio:.1f} % of frames are blank where one-frame spikes have "
        f"{now.blank_reference:.1f} %, and {now.deletion_rate:.0f} % of the labels are deleted",
        "docs/founding-document.md C2, C3",
        "see the state: the front end and the learning rate come before any penalty",
        blank_ratio=now.blank_ratio,
        blank_reference=now.blank_reference,
        deletion_rate=now.deletion_rate,
        length_ratio=now.length_ratio,
    )


def _val_loss_rising(past: Past) -> Finding | None:
    losses = [one.val_loss for one in past.recent[-4:]]
    if len(losses) < 4 or any(loss is None for loss in losses):
        return None
    known = [loss for loss in losses if loss is not None]
    if any(later <= earlier for earlier, later in pairwise(known)):
        return None
    now, before = past.now.val_wer, past.recent[-4].val_wer
    text = f"dev loss has risen for 3 epochs, from {known[0]:.3f} to {known[-1]:.3f}"
    # a word less is no excuse beside a gap that wide
    ratio = past.now.overfit_ratio
    falls = recognises(past) or (fewer(before, now) and not (ratio is not None and ratio > FAR_APART))
    if now is not None and before is not None:
        text += f", while word errors went from {before:.1f} to {now:.1f} %"
    return finding(
        "val_loss_rising",
        "info" if falls else "warning",
        text,
        "docs/founding-document.md 5.2, C3",
        "go on: a CTC loss may rise while words get better"
        if falls
        else "lower the learning rate or stop the phase",
        val_loss=known[-1],
        val_loss_before=known[0],
        val_wer=now,
        val_wer_before=before,
    )


def _overfit_ratio_high(past: Past) -> Finding | None:
    now = past.now
    ratio = now.overfit_ratio
    if ratio is None or ratio <= 10.0 or recognises(past):
        return None
    return finding(
        "overfit_ratio_high",
        "warning",
        f"dev loss is {ratio:.1f} times the training loss, more than 10",
        "docs/founding-document.md 5.2",
        "audit the corpora for leaks and rare labels, then more dropout and masking",
        overfit_ratio=ratio,
        train_loss=now.fit,
        val_loss=now.val_loss,
        val_wer=now.val_wer,
    )


def _few_labels(past: Past) -> Finding | None:
    now = past.now
    few_errors = now.val_wer is not None and now.val_wer < HALF_WRONG
    if past.age <= 15 or not _labels_below(now, 100) or (now.label_coverage is None and few_errors):
        return None  # where words are recognised, the alphabet is that small
    if now.label_coverage is not None:
        text = f"{now.label_coverage:.1f} % of the labels in the references are ever emitted, fewer than 100 of 966"
    else:
        text = (
            f"{now.unique_nonblank:.0f} labels are ever emitted, fewer than 100 (of {DOCUMENT_LABELS}, as assumed)"
        )
    return finding(
        "few_labels",
        "warning",
        f"after epoch 15, {text}",
        "docs/founding-document.md 5.2, C3",
        "see the state: the network does not use its input yet, or labels are too rare",
        unique_nonblank=now.unique_nonblank,
        label_coverage=now.label_coverage,
    )


def _blank_falls_slowly(past: Past) -> Finding | None:
    now = past.now
    if past.age <= 10 or past.epochs < 6 or now.blank_ratio is None:
        return None
    before = past.recent[-6].blank_ratio
    if before is None:
        return None
    fallen = before - now.blank_ratio
    if now.blank_ratio <= 85.0 or fallen >= 1.0 or _harmless(now):
        return None
    return finding(
        "blank_falls_slowly",
        "warning",
        f"{now.blank_ratio:.1f} % of frames are blank, {abs(fallen):.1f} points {'more' if fallen < 0 else 'less'} "
        "than 5 epochs ago",
        "docs/founding-document.md 4.4, 5.2",
        "the document strengthens the penalty by 0.5; measurements say the front end comes first",
        blank_ratio=now.blank_ratio,
        fallen=fallen,
        blank_reference=now.blank_reference,
    )


def _wer_stalls(past: Past) -> Finding | None:
    now = past.now
    best = past.best_error_before
    if now.val_wer is None or best is None or min(past.errors) < best:
        return None
    if now.on_plateau:
        return None  # a lower learning rate starves a run that has not left the plateau
    return finding(
        "wer_stalls",
        "info",
        f"word errors have not improved for {ERRORS} epochs (best {best:.1f} %, now {now.val_wer:.1f} %)",
        "docs/founding-document.md 5.2",
        "the document multiplies the learning rate by 0.3",
        val_wer=now.val_wer,
        best_val_wer=best,
        learning_rate=now.learning_rate,
    )


def _fits_without_generalising(past: Past) -> Finding | None:
    now = past.now
    if now.fit is None or now.val_loss is None or now.fit >= 0.5 or now.val_loss <= 5.0:
        return None
    return finding(
        "fits_without_generalising",
        "warning",
        f"training loss {now.fit:.2f} is below 0.5 and dev loss {now.val_loss:.2f} above 5",
        "docs/founding-document.md 5.2",
        "the document adds 0.05 to the dropout",
        train_loss=now.fit,
        val_loss=now.val_loss,
        dropout=now.dropout,
    )


def _contingency(past: Past) -> Finding | None:
    now = past.now
    if not _reaches(past, CONTINGENCY_EPOCH) or now.blank_ratio is None or now.blank_ratio <= 80.0:
        return None
    harmless = _harmless(now)
    return finding(
        "contingency",
        "info" if harmless else "warning",
        f"{now.blank_ratio:.1f} % of frames are blank at epoch {CONTINGENCY_EPOCH}, more than 80 %"
        + ("; one-frame spikes have as many, or words are recognised, so nothing is wrong" if harmless else ""),
        "docs/founding-document.md 7.2",
        ""
        if harmless
        else "the document sets the penalty to -5 and the dropout to 0.05, and checks which clips have a path: "
        "run `ctckit audit`",
        blank_ratio=now.blank_ratio,
        blank_reference=now.blank_reference,
        shift=now.shift,
        dropout=now.dropout,
    )


def _milestone_start(past: Past) -> Finding | None:
    now = past.now
    if past.age < 5:
        return None
    missed = []
    if now.val_loss is not None and now.val_loss >= 15.0:
        missed.append(f"dev loss is {now.val_loss:.1f} (below 15)")
    if _labels_below(now, 50):
        missed.append(f"{_labels(now)} (more than 50 of {DOCUMENT_LABELS})")
    return _milestone("milestone_start", 5, missed, "3.3", now)


def _milestone_blanks(past: Past) -> Finding | None:
    now = past.now
    if past.age < CONTINGENCY_EPOCH or now.blank_ratio is None or now.blank_ratio < 70.0:
        return None
    explained = now.label_frames is not None and now.label_frames >= SPIKES[0]
    why = f"; one-frame spikes have {now.blank_reference:.1f} %, so that it cannot be met" if explained else ""
    missed = [f"{now.blank_ratio:.1f} % of frames are blank (below 70{why})"]
    return _milestone("milestone_blanks", CONTINGENCY_EPOCH, missed, "7.2", now)


def _milestone_labels(past: Past) -> Finding | None:
    now = past.now
    missed = [f"{_labels(now)} (more than 300 of {DOCUMENT_LABELS})"] if _labels_below(now, 300) else []
    return _milestone("milestone_labels", 20, missed, "7.2", now) if past.age >= 20 else None


def _milestone_errors(past: Past) -> Finding | None:
    now = past.now
    if now.val_wer is None or past.age < 25:
        return None
    by, most, section = (50, 40.0, "7.3") if past.age >= 50 else (25, 70.0, "7.2")
    missed = [f"{now.val_wer:.1f} % word errors (below {most:g})"] if now.val_wer >= most else []
    return _milestone("milestone_errors", by, missed, section, now)


def _milestone(rule: str, epoch: int, missed: Sequence[str], section: str, now: Epoch) -> Finding | None:
    """Report a milestone of the document's plan as a note: its corpus need not be this one."""
    if not missed:
        return None
    return finding(
        rule,
        "info",
        f"behind the founding document's plan by epoch {epoch}: {', '.join(missed)}",
        f"{FOUNDING} {section}",
        "",
        val_loss=now.val_loss,
        val_wer=now.val_wer,
        blank_ratio=now.blank_ratio,
        blank_reference=now.blank_reference,
        unique_nonblank=now.unique_nonblank,
        label_coverage=now.label_coverage,
    )


def _labels_below(now: Epoch, count: int) -> bool:
    """Whether fewer labels are emitted than ``count`` of the document's: as a share where that is recorded."""
    if now.label_coverage is not None:
        return now.label_coverage < 100.0 * count / DOCUMENT_LABELS
    return now.unique_nonblank is not None and now.unique_nonblank < count


def _labels(now: Epoch) -> str:
    if now.label_coverage is not None:
        return f"{now.label_coverage:.1f} % of the labels are emitted"
    return f"{now.unique_nonblank:.0f} labels are emitted"


RULES: Mapping[str, Rule] = {
    "blank_ratio_high": _blank_ratio_high,
    "blank_excess": _blank_excess,
    "val_loss_rising": _val_loss_rising,
    "overfit_ratio_high": _overfit_ratio_high,
    "few_labels": _few_labels,
    "blank_falls_slowly": _blank_falls_slowly,
    "wer_stalls": _wer_stalls,
    "fits_without_generalising": _fits_without_generalising,
    "contingency": _contingency,
    "milestone_start": _milestone_start,
    "milestone_blanks": _milestone_blanks,
    "milestone_labels": _milestone_labels,
    "milestone_errors": _milestone_errors,
}
"""By the name of the finding."""


def _harmless(now: Epoch) -> bool:
    """Whether a high blank share means nothing: spikes have it, or, where that is unknown, words come out."""
    if now.label_frames is not None:
        return now.label_frames >= SPIKES[0]
    if now.val_wer is None:
        return now.deletion_rate is not None and now.deletion_rate < OMISSIONS
    return now.val_wer < HALF_WRONG


def _excess(now: Epoch) -> bool:
    return now.label_frames is not None and now.label_frames < SPIKES[0]


def _reaches(past: Past, epoch: int) -> bool:
    """Whether the run comes of this age with its last epoch."""
    before = past.recent[-2].epoch if len(past.recent) > 1 else 0
    per_epoch = past.age / max(past.now.epoch, 1)
    return past.age >= epoch and (before * per_epoch < epoch if before else past.age < epoch + 1)
