"""The founding document's red flags and adjustment triggers, as rules over epochs.

Each is kept as the document states it; where it is wrong or incomplete, the corrected reading stands in the same
finding or in a rule beside it. The monitor of ``plugins/ctckit_doctor`` turns them into actions where asked to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ctckit.doctor.observations import Observation
from ctckit.doctor.past import ERRORS, Past
from ctckit.doctor.rules import Rule, finding, holding
from ctckit.doctor.states import SPIKES
from ctckit.types import Finding, Severity

DOCUMENT_LABELS = 966
"""Labels of the document's corpus, to which its counts refer."""

FEW_LABELS = 100.0 * 100 / DOCUMENT_LABELS
"""The document's 100 of 966 labels, as label coverage in per cent."""

CONTINGENCY_EPOCH = 15


def red_flags(past: Past | Sequence[Observation]) -> tuple[Finding, ...]:
    """Return the rules that hold after the last epoch, at most one finding a rule.

    Args:
        past: the epochs of a run in order, or what a ``Course`` keeps of them.
    """
    return holding(RULES, past)


def _blank_ratio_high(past: Past) -> Finding | None:
    now = past.now
    if now.epoch <= 10 or now.blank_ratio is None or now.blank_ratio <= 90.0:
        return None
    reference, deletions = now.blank_reference, now.deletion_rate
    text = f"{now.blank_ratio:.1f} % of frames are blank after epoch 10, more than 90 %"
    severity: Severity = "warning"
    if reference is None:
        text += "; whether that is much, 1 - U/T would tell, which is not recorded"
        advice = "compute 1 - U/T and the deletion rate before believing it"
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
        "diagnosis, section 5.2, red flag 1; diagnosis-review, section 3",
        advice,
        blank_ratio=now.blank_ratio,
        blank_reference=reference,
        deletion_rate=deletions,
    )


def _blank_excess(past: Past) -> Finding | None:
    now = past.now
    if now.epoch <= 10 or not _excess(now) or now.deletion_rate is None or now.deletion_rate < 50.0:
        return None
    return finding(
        "blank_excess",
        "warning",
        f"after epoch 10, {now.blank_ratio:.1f} % of frames are blank where one-frame spikes have "
        f"{now.blank_reference:.1f} %, and {now.deletion_rate:.0f} % of the labels are deleted",
        "diagnosis-review, sections 2 and 3",
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
    falls = now is not None and before is not None and now < before
    if now is not None and before is not None:
        text += f", while word errors went from {before:.1f} to {now:.1f} %"
    return finding(
        "val_loss_rising",
        "info" if falls else "warning",
        text,
        "diagnosis, section 5.2, red flag 2; diagnosis-review, section 3",
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
    ratio = now.generalisation
    if ratio is None or ratio <= 10.0:
        return None
    return finding(
        "overfit_ratio_high",
        "warning",
        f"dev loss is {ratio:.1f} times the training loss, more than 10",
        "diagnosis, section 5.2, red flag 3",
        "audit the corpora for leaks and rare labels, then more dropout and masking",
        overfit_ratio=ratio,
        train_loss=now.fit,
        val_loss=now.val_loss,
        val_wer=now.val_wer,
    )


def _few_labels(past: Past) -> Finding | None:
    now = past.now
    if now.epoch <= 15:
        return None
    if now.label_coverage is not None:
        if now.label_coverage >= FEW_LABELS:
            return None
        text = f"{now.label_coverage:.1f} % of the labels in the references are ever emitted, fewer than 100 of 966"
    elif now.unique_nonblank is not None and now.unique_nonblank < 100:
        text = (
            f"{now.unique_nonblank:.0f} labels are ever emitted, fewer than 100 (of {DOCUMENT_LABELS}, as assumed)"
        )
    else:
        return None
    return finding(
        "few_labels",
        "warning",
        f"after epoch 15, {text}",
        "diagnosis, section 5.2, red flag 4; diagnosis-review, section 3",
        "see the state: the network does not use its input yet, or labels are too rare",
        unique_nonblank=now.unique_nonblank,
        label_coverage=now.label_coverage,
    )


def _blank_falls_slowly(past: Past) -> Finding | None:
    now = past.now
    if now.epoch <= 10 or past.epochs < 6 or now.blank_ratio is None:
        return None
    before = past.recent[-6].blank_ratio
    if before is None:
        return None
    fallen = before - now.blank_ratio
    at_reference = now.label_frames is not None and now.label_frames >= SPIKES[0]
    if now.blank_ratio <= 85.0 or fallen >= 1.0 or at_reference:
        return None
    return finding(
        "blank_falls_slowly",
        "warning",
        f"{now.blank_ratio:.1f} % of frames are blank, {fallen:.1f} points less than 5 epochs ago",
        "diagnosis, sections 4.4 and 5.2, adjustment 1",
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
        "diagnosis, section 5.2, adjustment 2",
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
        "diagnosis, section 5.2, adjustment 3",
        "the document adds 0.05 to the dropout",
        train_loss=now.fit,
        val_loss=now.val_loss,
        dropout=now.dropout,
    )


def _contingency(past: Past) -> Finding | None:
    now = past.now
    if now.epoch != CONTINGENCY_EPOCH or now.blank_ratio is None or now.blank_ratio <= 80.0:
        return None
    at_reference = now.label_frames is not None and now.label_frames >= SPIKES[0]
    return finding(
        "contingency",
        "info" if at_reference else "warning",
        f"{now.blank_ratio:.1f} % of frames are blank at epoch {CONTINGENCY_EPOCH}, more than 80 %"
        + ("; one-frame spikes have as many, so nothing is wrong" if at_reference else ""),
        "diagnosis, section 7.2",
        ""
        if at_reference
        else "the document sets the penalty to -5 and the dropout to 0.05, and checks which clips have a path: "
        "run `ctckit audit`",
        blank_ratio=now.blank_ratio,
        blank_reference=now.blank_reference,
        shift=now.shift,
        dropout=now.dropout,
    )


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
}
"""By the name of the finding."""


def _excess(now: Observation) -> bool:
    return now.label_frames is not None and now.label_frames < SPIKES[0]
