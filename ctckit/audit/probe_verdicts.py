"""What the probes' measurements mean: pure functions of records. ``ctckit/audit/probes.py`` does the trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ctckit.audit.probe_records import OverfitBatch, PermutedLabels, RateRange
from ctckit.types import Finding

LEARNT_LOSS: Final = 0.5
"""Share of its plateau below which the loss of a batch must get."""

LEARNT_ERRORS: Final = 20.0
"""Token errors, per cent, that a batch learnt by heart may have."""

IGNORED: Final = 0.05
"""Share of the plateau by which wrong inputs must raise the loss."""

ORDERED_CLIPS: Final = 4
"""Clips that a batch must have for its order to count: two are told apart by which frames they have at all."""

UNRELATED: Final = 2.0
"""Standard errors up to which a contrast is chance."""

STARVED: Final = 10.0
"""How far below the steepest descent a planned peak may lie."""

PACE: Final = 2.0
"""The rate of the other probes in terms of that of the steepest descent. The rate grows while the loss falls, so
that the descent begins at a lower rate than a short training is fastest with."""

DISTANCE: Final = 10.0
"""The rate of the other probes keeps this factor from divergence."""

RATE: Final = 1e-3
"""Rate of the other probes where the range says nothing."""

SMITH: Final = "Smith, arXiv 1506.01186, section 3.3; docs/founding-document.md C5"
OVERFIT_SOURCE: Final = "docs/founding-document.md C2, C5 (overfit one batch)"
SHUFFLED_SOURCE: Final = "docs/founding-document.md C5 (shuffled inputs)"
PERMUTED_SOURCE: Final = "docs/founding-document.md C5 (permuted labels); Zhang et al., arXiv 1611.03530"


def probe_rate(found: RateRange) -> float:
    """Choose the rate of the other probes: twice that of the steepest descent, well below divergence.

    Not the planned rate, so that a wrong plan shows in the rate's own rule and not in every other.
    """
    rate = RATE if found.steepest is None else PACE * found.steepest
    return rate if found.diverged is None else min(rate, found.diverged / DISTANCE)


def judge_rate_range(found: RateRange, planned: Sequence[float]) -> Iterator[Finding]:
    """Compare the highest planned learning rate with the range in which the loss falls.

    Fires at a peak at or above the rate of divergence, and at one more than ten times below that of the
    steepest descent. What is measured is the start of training; later rates may well be lower.
    """
    evidence: dict[str, float | int | str | bool] = {
        "steps": len(found.losses),
        "lowest_loss": found.lowest,
        "largest": found.largest,
        "seconds": round(found.seconds, 1),
    }
    peak = max(planned, default=0.0)
    if peak:
        evidence["planned"] = peak
    if found.steepest is not None:
        evidence["steepest"] = found.steepest
    if found.diverged is not None:
        evidence["diverged"] = found.diverged
    cost = _cost(len(found.losses), found.seconds)
    if found.diverged is not None and peak >= found.diverged:
        better = probe_rate(found)
        yield Finding(
            "learning_rate_range",
            "warning",
            f"the learning rate is to reach {peak:.2g}, and one batch diverges at {found.diverged:.2g} {cost}",
            evidence,
            f"--set phases.*.schedule.lr={better:.1g}",
            SMITH,
        )
    elif found.steepest is not None and peak and peak * STARVED < found.steepest:
        yield Finding(
            "learning_rate_range",
            "warning",
            f"the learning rate never exceeds {peak:.2g}, the loss falls fastest at {found.steepest:.2g} {cost}",
            evidence,
            f"--set phases.*.schedule.lr={probe_rate(found):.1g}: the plateau is not left at a tenth of it",
            SMITH,
        )
    elif not found.complete:
        tried = f"rates up to {found.largest:.2g} were tried"
        yield _inconclusive("learning_rate_range", tried, len(found.losses), found.seconds, complete=False)
    elif found.steepest is None:
        yield _inconclusive(
            "learning_rate_range", "the loss fell at no rate", len(found.losses), found.seconds, complete=True
        )
    else:
        end = "nothing diverges" if found.diverged is None else f"diverges at {found.diverged:.2g}"
        yield Finding(
            "learning_rate_range",
            "info",
            f"the loss falls fastest at a learning rate of {found.steepest:.2g}, {end}; planned: {peak:.2g} {cost}",
            evidence,
            "",
            SMITH,
        )


def judge_overfit(found: OverfitBatch) -> Iterator[Finding]:
    """Say whether a batch could be learnt by heart, and what the network makes of wrong inputs.

    A batch of a few clips can always be learnt: where it is not, the model, its lengths or the loss are at fault,
    and no amount of data, schedule or penalty mends that. Wrong inputs tell more. Where each clip gives the same
    loss with another clip's features, the network does not see its input (``input_ignored``), which also
    explains a batch that is not learnt. Where it has learnt the batch and frames in random order cost nothing,
    it sees which frames there are and not when (``order_ignored``): it memorises clips by their average.
    """
    plateau = found.plateau_loss
    learnt = found.loss < LEARNT_LOSS * plateau and found.token_error_rate <= LEARNT_ERRORS
    evidence: dict[str, float | int | str | bool] = {
        "clips": found.clips,
        "steps": found.steps,
        "start_loss": found.start_loss,
        "end_loss": found.loss,
        "plateau_loss": plateau,
        "token_error_rate": found.token_error_rate,
        "learning_rate": found.rate,
        "seconds": round(found.seconds, 1),
    }
    cost = _cost(found.steps, found.seconds)
    figures = (
        f"the loss went from {found.start_loss:.3g} to {found.loss:.3g} (plateau {plateau:.3g}), "
        f"{found.token_error_rate:.0f} % token errors"
    )
    if found.failure:
        message = f"one batch of {found.clips} clips cannot be trained on: {found.failure} {cost}"
        yield Finding("overfit_one_batch", "error", message, evidence, "look at these clips first", OVERFIT_SOURCE)
        return
    if learnt:
        message = f"one batch of {found.clips} clips is learnt by heart: {figures} {cost}"
        yield Finding("overfit_one_batch", "info", message, evidence, "", OVERFIT_SOURCE)
    elif not found.complete:
        yield _inconclusive("overfit_one_batch", figures, found.steps, found.seconds, complete=False)
        return
    else:
        yield Finding(
            "overfit_one_batch",
            "error",
            f"one batch of {found.clips} clips cannot be learnt by heart: {figures} {cost}",
            evidence,
            "the model, its output lengths or its loss are at fault, not data or schedule: mend it before training",
            OVERFIT_SOURCE,
        )
    yield from _wrong_inputs(found, learnt)


def _wrong_inputs(found: OverfitBatch, learnt: bool) -> Iterator[Finding]:
    own, exchanged, reordered = found.loss, found.exchanged_loss, found.reordered_loss
    least = IGNORED * found.plateau_loss
    evidence = {"loss": own, "exchanged_loss": exchanged, "reordered_loss": reordered}
    if exchanged - own < least:
        yield Finding(
            "input_ignored",
            "error",
            f"another clip's features give the same loss after {found.steps} steps ({own:.3g} and {exchanged:.3g} "
            "nats per token): the network does not see its input",
            evidence,
            "follow the features through the model's forward: cut off, masked, scaled to nothing, or detached",
            SHUFFLED_SOURCE,
        )
    elif learnt and found.clips >= ORDERED_CLIPS and reordered - own < least:
        yield Finding(
            "order_ignored",
            "warning",
            f"frames in random order give the same loss ({own:.3g} and {reordered:.3g} nats per token): the "
            "network sees which frames a clip has, and not when",
            evidence,
            "CTC reads labels off in time: look for an average over time or for missing positions",
            SHUFFLED_SOURCE,
        )
    elif learnt:
        yield Finding(
            "shuffled_inputs",
            "info",
            f"wrong inputs cost: {exchanged:.3g} nats per token with another clip's features, {reordered:.3g} with "
            f"frames in random order, {own:.3g} as it is",
            evidence,
            "",
            SHUFFLED_SOURCE,
        )


def judge_permuted_labels(found: PermutedLabels) -> Iterator[Finding]:
    """Say, for each corpus, whether what was learnt from some clips tells anything about others.

    A network can learn any labels by heart, permuted ones too. Only on unseen clips does it show whether the
    features have to do with the labels. No contrast although the training clips are learnt: transcripts belong
    to other clips, files were joined in another order, or the features hold no such thing. No contrast and
    nothing learnt: too few steps to tell. Another corpus than train is judged only where train itself is sound.
    """
    cost = _cost(found.steps, found.seconds)
    train = found.unseen.get("train")
    for name, one in found.unseen.items():
        evidence: dict[str, float | int | str | bool] = {
            "corpus": name,
            "clips": found.clips,
            "steps": found.steps,
            "train_loss": found.loss,
            "plateau_loss": found.plateau_loss,
            "pairs": one.pairs,
            "contrast": one.contrast,
            "deviations": one.deviations,
            "learning_rate": found.rate,
            "seconds": round(found.seconds, 1),
        }
        of = "unseen clips of train" if name == "train" else f"clips of {name}"
        figures = f"{one.contrast:+.2g} nats per token, {one.deviations:.1f} standard errors, {one.pairs} pairs"
        if one.related:
            message = f"{of} fit their own transcripts better than permuted ones: {figures} {cost}"
            yield Finding("permuted_labels", "info", message, evidence, "", PERMUTED_SOURCE)
        elif found.memorised and one.deviations < UNRELATED and (name == "train" or (train and train.related)):
            yield Finding(
                "permuted_labels",
                "warning",
                f"{of} fit permuted transcripts as well as their own, although the {found.clips} clips trained on "
                f"are being learnt: {figures} {cost}",
                evidence,
                "do transcripts and features belong together? compare a few clips, and the order of the files",
                PERMUTED_SOURCE,
            )
        else:
            why = found.failure or f"{of}: {figures}"
            yield _inconclusive("permuted_labels", why, found.steps, found.seconds, found.complete)
    if not found.unseen:
        why = found.failure or "unseen clips were not looked at"
        yield _inconclusive("permuted_labels", why, found.steps, found.seconds, found.complete)


def skipped(probes: Sequence[str], why: str) -> Iterator[Finding]:
    """Say that probes could not be begun."""
    for probe in probes:
        message = f"{probe}: not run: {why}"
        yield Finding("probe_inconclusive", "info", message, {"probe": probe, "steps": 0, "seconds": 0.0})


def _inconclusive(probe: str, figures: str, steps: int, seconds: float, complete: bool) -> Finding:
    why = "inconclusive" if complete else "inconclusive, as time ran out"
    return Finding(
        "probe_inconclusive",
        "info",
        f"{probe}: {why}: {figures} {_cost(steps, seconds)}",
        {"probe": probe, "steps": steps, "seconds": round(seconds, 1)},
        "" if complete else "give it more time with --probe-seconds",
        "",
    )


def _cost(steps: int, seconds: float) -> str:
    return f"({steps} steps, {seconds:.1f} s)"
