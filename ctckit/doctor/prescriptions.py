"""Which configuration change to try for a state, in the order in which causes are likely.

The order is that of measured effects on real speech (AN4 words, docs/cures.md): what the model and the plugins
propose comes first, because the layout of the network and an auxiliary loss mattered most; then learning rate and
batch size. Blank penalties took no run off the plateau sooner: none is recommended to a run that is not there yet.
What a model lacks, the model says itself (``Model.remedies``, in the history's first row); of a model of another
program nothing is known, and the advice is general.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctckit.doctor.course import Diagnosis
from ctckit.doctor.limits import FEW_ERRORS, LOW_RATE, MANY_ERRORS, PATIENCE, SUSPECT_RATE
from ctckit.doctor.states import State, lopsided
from ctckit.record.epoch import Epoch
from ctckit.record.history import Recorded

MEASURED = "docs/founding-document.md C1 (AN4 words)"
ISSUES = "docs/founding-document.md C5 (public issue threads)"
SECTION_2 = "docs/founding-document.md C2"
CURES = "docs/cures.md (AN4 words, two seeds)"

SCARCE_FRAMES = 3.0
"""Output frames a label below which an alignment has hardly any room."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One change to try.

    Attributes:
        change: what to do; a ``--set`` where ctckit has the key.
        why: one sentence.
        source: what it rests on.
    """

    change: str
    why: str
    source: str = ""


def prescribe(diagnosis: Diagnosis, recorded: Recorded) -> tuple[Advice, ...]:
    """Return what to try, most promising first; empty where nothing is to be done."""
    past, config = recorded.epochs, recorded.config
    match diagnosis.state:
        case State.BROKEN:
            found = _mend(diagnosis.reason, past[-1], config)
        case State.DIVERGED:
            found = _converge(recorded)
        case State.STARTING if not recorded.goes_on:
            found = iter([LONGER, *_learning_rate(past, "the plateau is left")])
        case State.PLATEAU:
            found = _leave_plateau(diagnosis, recorded)
        case State.ESCAPING if diagnosis.stalled or diagnosis.slow:
            found = _faster(diagnosis, recorded)
        case State.ESCAPING if recorded.planned_epochs is not None and past[-1].epoch >= recorded.planned_epochs:
            found = iter([LONGER])
        case State.BLANK_BIASED:
            found = _less_blank(recorded)
        case State.OVERFIT:
            found = _generalise(recorded)
        case State.OVER_PENALISED:
            found = _less_penalty(recorded)
        case State.HEALTHY:
            found = _further(recorded)
        case _:
            found = iter(())
    return tuple(found)


def _further(recorded: Recorded) -> Iterator[Advice]:
    """What is left for a run that recognises: errors of one kind, and a target that it has not reached."""
    now = recorded.epochs[-1]
    if lopsided(now) is not None:
        yield SWEEP
    target = FEW_ERRORS if recorded.target_wer is None else recorded.target_wer
    best = recorded.best or now
    if best.val_wer is None or best.val_wer <= target:
        return
    if now.overfit_ratio is not None and now.overfit_ratio >= 2.0:
        yield from _generalise(recorded)
        return
    yield from _proposed(recorded, "plateau")
    yield from _batches_and_features(recorded.config)
    yield Advice(
        "more epochs, more data, or a larger model",
        f"{best.val_wer:.1f} % word errors at the best where {target:g} are wanted, and dev loss is no higher",
    )


def _leave_plateau(diagnosis: Diagnosis, recorded: Recorded) -> Iterator[Advice]:
    past, config = recorded.epochs, recorded.config
    if recorded.first_escape is not None:
        yield from _go_back(recorded)
    elif diagnosis.severity != "error" and recorded.goes_on:
        yield Advice(
            f"wait until epoch {diagnosis.since + PATIENCE} or so",
            "every CTC run starts on the plateau; AN4 words leave it in epoch 4, harder corpora later",
            SECTION_2,
        )
    yield _audit(config, "clips without a path, constant features or mismatched labels look the same from here")
    yield from _structure(recorded)
    yield from _learning_rate(past, "the plateau is left")
    yield from _batches_and_features(config)
    yield Advice(
        "no blank penalty before these",
        "path shifts, a blank controller and a label prior left a stuck run at 92 to 95 % word errors; on the "
        "plateau blank has p = .94, and half a nat moves nothing",
        MEASURED,
    )


def _faster(diagnosis: Diagnosis, recorded: Recorded) -> Iterator[Advice]:
    past, config = recorded.epochs, recorded.config
    yield from _structure(recorded)
    yield from _learning_rate(past, "labels are recognised")
    yield from _batches_and_features(config)
    if any(one.shift for one in past if one.epoch >= diagnosis.since):
        yield Advice(
            "--set phases.*.penalty=none",
            "a logit shift left the plateau no sooner and ended no better: 22.9 % word errors with, 22.7 without",
            CURES,
        )
    outlook = diagnosis.outlook
    if outlook is not None and outlook.needed is not None and outlook.left < outlook.needed <= outlook.planned:
        yield Advice(
            f"more epochs: at this pace at least {outlook.planned + outlook.needed - outlook.left} in all",
            f"{outlook.left} are left, and {MANY_ERRORS:g} % word errors are {outlook.needed} away",
        )
    yield _audit(config, "rare labels, clips without a path and mismatched labels slow a run down as well")


SWEEP = Advice(
    "ctckit sweep RUN --store, then look at deletions and insertions again",
    "the labels are there, just below blank or just above it; a shift at decoding, tuned on dev, costs no training",
    "docs/founding-document.md C4",
)

LONGER = Advice(
    "more epochs (--set phases.NAME.epochs=N)",
    "the plan ended while the run was on its way, and it still moved",
)


def _structure(recorded: Recorded) -> Iterator[Advice]:
    """Name what the model lacks: as it says itself, or in general where nothing is known of it."""
    frames = _frames_a_label(recorded.epochs[-1])
    if frames is not None and frames < SCARCE_FRAMES:
        yield Advice(
            "reduce the subsampling",
            f"{frames:.1f} output frames a label leave the alignment hardly any room",
            SECTION_2,
        )
    if not recorded.foreign:
        yield from _proposed(recorded, "plateau")
        return
    yield Advice(
        "put local convolutions in front (K5-P2-K5-P2 with batch norm) in place of stacked frames",
        "stacked frames kept a BiLSTM at 95 % word errors where convolutions reached 80 %",
        MEASURED,
    )
    yield Advice(
        "add an auxiliary CTC head below the last recurrent layer",
        "a CTC loss below the second recurrent layer took word errors from 22.7 to 12.9 % in 50 epochs alike",
        CURES,
    )
    if frames is None or frames >= SCARCE_FRAMES:
        yield Advice(
            "subsample the frames inside the model (to about a quarter), if clips have frames to spare",
            "fewer frames to align; compare 1 - U/T before and after with `ctckit audit`",
            MEASURED,
        )


def _proposed(recorded: Recorded, ailment: str) -> Iterator[Advice]:
    """Return what the run's model and plugins propose for an ailment, as the history has it."""
    remedies = recorded.provenance.get("remedies")
    for remedy in remedies if isinstance(remedies, list) else ():
        if isinstance(remedy, Mapping) and remedy.get("ailment") == ailment:
            yield Advice(*(str(remedy.get(part, "")) for part in ("change", "why", "source")))


def _batches_and_features(config: Mapping[str, Any]) -> Iterator[Advice]:
    batch = config.get("batch_size")
    if isinstance(batch, int) and batch > 8:
        yield Advice(
            "--set batch_size=8", f"{batch} clips a step mean few updates an epoch on a small corpus", MEASURED
        )
    if _table(config, "data").get("normalize") == "none":
        yield Advice("--set data.normalize=clip_mean", "features enter as they are stored", ISSUES)


def _learning_rate(past: Sequence[Epoch], until: str) -> Iterator[Advice]:
    rates = [one.learning_rate for one in past if one.learning_rate]
    if not rates:
        yield Advice("try a learning rate of 1e-3 (Adam), with warmup", "it was not recorded", ISSUES)
        return
    now, highest = rates[-1], max(rates)
    if now < 0.5 * highest and len(rates) > 5:
        yield Advice(
            f"keep the learning rate at {highest:.2g} until {until}",
            f"it has been lowered to {now:.2g}, which starves a run here",
            ISSUES,
        )
    elif now < LOW_RATE:
        yield Advice(
            "--set phases.*.schedule.lr=1e-3", f"a learning rate of {now:.2g} is low for a start with Adam", ISSUES
        )
    elif now > SUSPECT_RATE:
        yield Advice(
            "--set phases.*.schedule.lr=1e-3",
            f"{now:.2g} is high: all-blank output is often a learning rate too high",
            ISSUES,
        )
    norms = [one.gradient_norm for one in past[-5:] if one.gradient_norm]
    if norms and min(norms) > 50.0:
        yield Advice(
            "halve the learning rate, or warm up longer", f"gradients of norm {min(norms):.0f} and more", ISSUES
        )


def _mend(reason: str, now: Epoch, config: Mapping[str, Any]) -> Iterator[Advice]:
    audit = _audit(config, "finds NaN and unscaled features, clips without a path and mismatched labels")
    match reason:
        case "not_finite":
            yield audit
            yield Advice("lower the learning rate tenfold, and warm up", "the usual cause after the data", ISSUES)
            yield Advice("leave out half precision", "CTC's sums overflow in float16", ISSUES)
        case "scoring":
            yield Advice(
                "score again with `ctckit evaluate RUN`",
                "a scorer that fails is no word error rate of 100 %",
                ISSUES,
            )
        case "negative_loss":
            yield Advice(
                "give the loss raw logits in ctckit, log-probabilities in torch", "it was given neither", ISSUES
            )
        case "zeroed_loss" | "infeasible":
            yield audit
            yield Advice(
                "reduce the subsampling", "a path needs as many output frames as labels plus repeats", ISSUES
            )
        case "decoder_contradicts_loss":
            yield Advice(
                "check that loss and decoder use one blank index (0) and one alphabet",
                "with another index every frame decodes to a label, or to none",
                ISSUES,
            )
            yield audit
        case _:
            yield audit
            rate = "" if now.learning_rate is None else f" (now {now.learning_rate:.2g})"
            yield Advice(
                f"change the learning rate{rate}: 1e-3 with warmup for Adam",
                "0 or 1e-6 learns nothing, 1e-1 diverges",
                ISSUES,
            )
            yield Advice(
                "overfit one batch first: a few clips, no dropout",
                "what cannot learn eight clips has a fault in features, lengths or labels",
                ISSUES,
            )


def _go_back(recorded: Recorded) -> Iterator[Advice]:
    best = recorded.best
    if best is not None:
        kept = "" if recorded.foreign else " (checkpoints/best.pt)"
        yield Advice(
            f"use the checkpoint of epoch {best.epoch}{kept}",
            f"it has {best.val_wer:.1f} % word errors; what came after is worse",
            ISSUES,
        )


def _converge(recorded: Recorded) -> Iterator[Advice]:
    now, config = recorded.epochs[-1], recorded.config
    yield from _go_back(recorded)
    rate = "" if now.learning_rate is None else f" (now {now.learning_rate:.2g})"
    yield Advice(
        f"lower the learning rate{rate} threefold, and warm up", "the usual cause of a loss that rises", ISSUES
    )
    if not recorded.foreign and not config.get("gradient_clip"):
        yield Advice("--set gradient_clip=5", "one steep step can undo an epoch", ISSUES)
    yield _audit(config, "unscaled features and clips without a path throw a run off as well")


def _less_blank(recorded: Recorded) -> Iterator[Advice]:
    if _table(recorded.config, "evaluation").get("logit_shift") == "none":
        yield Advice(
            "--set evaluation.logit_shift=same",
            "a logit shift left out at evaluation makes the model e^|shift| times more blank-dominant",
            "docs/founding-document.md C1",
        )
    yield SWEEP
    yield from _proposed(recorded, "blanks")


def _generalise(recorded: Recorded) -> Iterator[Advice]:
    now, config = recorded.epochs[-1], recorded.config
    yield _audit(
        config,
        "labels with a handful of clips, or dev unlike train, cannot generalise; blank has nothing to do with it",
    )
    if "normalize" not in _table(config, "data"):
        yield Advice(
            "normalise each clip by its own mean, then by the corpus", "removes signer, speaker and channel", ISSUES
        )
    elif _table(config, "data").get("normalize") != "clip_mean":
        yield Advice("--set data.normalize=clip_mean", "removes signer, speaker and channel", ISSUES)
    yield from _proposed(recorded, "overfit")
    dropout = "" if now.dropout is None else f" (now {now.dropout:g})"
    yield Advice(
        f"--set phases.*.dropout=0.3{dropout}, --set phases.*.time_mask_prob=0.15, weight decay, a smaller model",
        "the training corpus is fitted as it is",
        "docs/founding-document.md 5.2",
    )
    yield Advice(
        "start with all layers at once, and with an auxiliary head instead of a stage of its own",
        "a stage that switches layers on starts them from scratch on features already overfitted",
        "docs/founding-document.md 3.3",
    )
    yield Advice(
        "no blank penalty",
        "a model that emits only blanks has a word error rate of 100 %, all deletions, and a high training loss",
        SECTION_2,
    )


def _less_penalty(recorded: Recorded) -> Iterator[Advice]:
    now = recorded.epochs[-1]
    shift = "" if now.shift is None else f" (now {now.shift:g})"
    yield Advice(
        f"weaken the shift{shift} and let it end at 0; in the path domain start no lower than -0.5",
        "a path shift of -1 kept on leaves 1 % blanks at the optimum, -3 none at all",
        "docs/founding-document.md C1",
    )
    yield from _proposed(recorded, "insertions")


def _audit(config: Mapping[str, Any], why: str) -> Advice:
    data = _table(config, "data")
    command = f"ctckit audit {data.get('train') or 'TRAIN.h5'}"
    command += f" --dev {data['dev']}" if data.get("dev") else ""
    return Advice(command, why, ISSUES)


def _frames_a_label(now: Epoch) -> float | None:
    if now.blank_reference is None or now.blank_reference >= 100.0:
        return None
    return 100.0 / (100.0 - now.blank_reference)


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}
