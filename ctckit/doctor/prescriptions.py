"""Which configuration change to try for a state, in the order in which causes are likely.

The order is that of measured effects on real speech (AN4 words): local convolutions first, because nothing else
helped without them in the review; then an auxiliary loss below the second recurrent layer, subsampling, and the
entropy of the paths, which halved the errors over two seeds (docs/cures.md); then learning rate and batch size.
Blank penalties took no run off the plateau sooner, so none is ever recommended to a run that is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctckit.doctor.observations import Observation, Recorded
from ctckit.doctor.pace import MANY_ERRORS
from ctckit.doctor.states import PATIENCE, Diagnosis, State

MEASURED = "diagnosis-review, section 1 (AN4 words)"
ISSUES = "diagnosis-review, section 5 (public issue threads)"
SECTION_2 = "diagnosis-review, section 2"
CURES = "docs/cures.md (AN4 words, two seeds)"


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
    past, config = recorded.observations, recorded.config
    match diagnosis.state:
        case State.BROKEN:
            found = _mend(diagnosis.reason, past[-1], config)
        case State.PLATEAU:
            found = _leave_plateau(diagnosis, past, config)
        case State.ESCAPING if diagnosis.stalled or diagnosis.slow:
            found = _faster(diagnosis, recorded)
        case State.ESCAPING if recorded.planned_epochs is not None and past[-1].epoch >= recorded.planned_epochs:
            found = iter([LONGER])
        case State.BLANK_BIASED:
            found = _less_blank(recorded)
        case State.OVERFIT:
            found = _generalise(past[-1], config)
        case State.OVER_PENALISED:
            found = _less_penalty(past[-1])
        case _:
            found = iter(())
    return tuple(found)


def _leave_plateau(
    diagnosis: Diagnosis, past: Sequence[Observation], config: Mapping[str, Any]
) -> Iterator[Advice]:
    if diagnosis.epochs <= PATIENCE:
        yield Advice(
            f"wait until epoch {diagnosis.since + PATIENCE} or so",
            "every CTC run starts on the plateau; AN4 words leave it in epoch 4, harder corpora later",
            SECTION_2,
        )
    yield _audit(config, "clips without a path, constant features or mismatched labels look the same from here")
    yield from _structure(past[-1], config)
    yield from _entropy(config)
    yield from _learning_rate(past, "the plateau is left")
    yield from _batches_and_features(config)
    yield Advice(
        "no blank penalty before these",
        "path shifts, a blank controller and a label prior left a stuck run at 92 to 95 % word errors; on the "
        "plateau blank has p = .94, and half a nat moves nothing",
        MEASURED,
    )


def _faster(diagnosis: Diagnosis, recorded: Recorded) -> Iterator[Advice]:
    past, config = recorded.observations, recorded.config
    yield from _structure(past[-1], config)
    yield from _entropy(config)
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


LONGER = Advice(
    "more epochs (--set phases.NAME.epochs=N)",
    "the plan ended while the run was on its way, and it still moved",
)


def _structure(now: Observation, config: Mapping[str, Any]) -> Iterator[Advice]:
    """Name what the model lacks of the layout that works: convolutions, an auxiliary head, subsampling."""
    model = _table(config, "model")
    if model.get("temporal_conv") is False:
        yield Advice(
            "--set model.temporal_conv=true",
            "stacked or raw frames kept a BiLSTM at 95 % word errors where convolutions reached 80 %",
            MEASURED,
        )
    elif "temporal_conv" not in model and model.get("name") != "hierarchical_bilstm":
        yield Advice(
            "put local convolutions in front (K5-P2-K5-P2 with batch norm) in place of stacked frames",
            "stacked frames kept a BiLSTM at 95 % word errors where convolutions reached 80 %",
            MEASURED,
        )
    if not model.get("auxiliary_weight"):
        setting = "--set model.auxiliary_weight=1"
        if "auxiliary_weight" not in model and model.get("name") != "hierarchical_bilstm":
            setting = "add an auxiliary CTC head below the last recurrent layer"
        yield Advice(
            setting,
            "a CTC loss below the second recurrent layer took word errors from 22.7 to 12.9 % in 50 epochs alike",
            CURES,
        )
    frames = _frames_a_label(now)
    subsampling = model.get("subsampling")
    if subsampling is None and model.get("name") == "hierarchical_bilstm":
        subsampling = 1  # a history holds what was set, and this is the model's default
    if frames is not None and frames < 3.0:
        yield Advice(
            "reduce the subsampling",
            f"{frames:.1f} output frames a label leave the alignment hardly any room",
            SECTION_2,
        )
    elif isinstance(subsampling, int) and subsampling < 4 and (frames is None or frames >= 6.0 * 4 / subsampling):
        room = "" if frames is None else f"; {frames:.0f} output frames a label are more than needed"
        yield Advice(
            "--set model.subsampling=4",
            f"fewer frames to align, and epochs several times as fast{room}",
            MEASURED,
        )
    elif subsampling is None:
        yield Advice(
            "subsample the frames inside the model (to about a quarter), if clips have frames to spare",
            "fewer frames to align; compare 1 - U/T before and after with `ctckit audit`",
            MEASURED,
        )


def _entropy(config: Mapping[str, Any]) -> Iterator[Advice]:
    phases = [phase for phase in _table(config, "phases").values() if isinstance(phase, Mapping)]
    if any(term.get("name") == "path_entropy" for phase in phases for term in phase.get("regularizers") or ()):
        return
    yield Advice(
        """--plugin cures --set 'phases.*.regularizers=[{name="path_entropy"}]'""",
        "rewarding the entropy of the paths took word errors from 22.7 to 9.6 % in 50 epochs alike",
        CURES,
    )


def _batches_and_features(config: Mapping[str, Any]) -> Iterator[Advice]:
    batch = config.get("batch_size")
    if isinstance(batch, int) and batch > 8:
        yield Advice(
            "--set batch_size=8", f"{batch} clips a step mean few updates an epoch on a small corpus", MEASURED
        )
    if _table(config, "data").get("normalize") == "none":
        yield Advice("--set data.normalize=clip_mean", "features enter as they are stored", ISSUES)


def _learning_rate(past: Sequence[Observation], until: str) -> Iterator[Advice]:
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
    elif now < 3e-4:
        yield Advice(
            "--set phases.*.schedule.lr=1e-3", f"a learning rate of {now:.2g} is low for a start with Adam", ISSUES
        )
    elif now > 2e-3:
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


def _mend(reason: str, now: Observation, config: Mapping[str, Any]) -> Iterator[Advice]:
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


def _less_blank(recorded: Recorded) -> Iterator[Advice]:
    if _table(recorded.config, "evaluation").get("logit_shift") == "none":
        yield Advice(
            "--set evaluation.logit_shift=same",
            "a logit shift left out at evaluation makes the model e^|shift| times more blank-dominant",
            "diagnosis-review, section 1",
        )
    yield Advice(
        "ctckit sweep RUN --store, then look at the deletions again",
        "the labels are there, just below blank; a shift at decoding, tuned on dev, costs no training",
        "diagnosis-review, section 4",
    )


def _generalise(now: Observation, config: Mapping[str, Any]) -> Iterator[Advice]:
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
    dropout = "" if now.dropout is None else f" (now {now.dropout:g})"
    yield Advice(
        f"--set phases.*.dropout=0.3{dropout}, --set phases.*.time_mask_prob=0.15, weight decay, a smaller model",
        "the training corpus is fitted as it is",
        "diagnosis, section 5.2",
    )
    yield Advice(
        "start with all layers at once, and with an auxiliary head instead of a stage of its own",
        "a stage that switches layers on starts them from scratch on features already overfitted",
        "diagnosis, section 3.3",
    )
    yield Advice(
        "no blank penalty",
        "a model that emits only blanks has a word error rate of 100 %, all deletions, and a high training loss",
        SECTION_2,
    )


def _less_penalty(now: Observation) -> Iterator[Advice]:
    shift = "" if now.shift is None else f" (now {now.shift:g})"
    yield Advice(
        f"weaken the shift{shift} and let it end at 0; in the path domain start no lower than -0.5",
        "a path shift of -1 kept on leaves 1 % blanks at the optimum, -3 none at all",
        "diagnosis-review, section 1",
    )


def _audit(config: Mapping[str, Any], why: str) -> Advice:
    data = _table(config, "data")
    command = f"ctckit audit {data.get('train') or 'TRAIN.h5'}"
    command += f" --dev {data['dev']}" if data.get("dev") else ""
    return Advice(command, why, ISSUES)


def _frames_a_label(now: Observation) -> float | None:
    if now.blank_reference is None or now.blank_reference >= 100.0:
        return None
    return 100.0 / (100.0 - now.blank_reference)


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}
