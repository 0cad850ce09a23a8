"""The frozen records that the parts of ctckit hand to one another.

Shape letters, used as tensor suffixes everywhere: ``T`` frames, ``B`` batch, ``C`` classes with blank,
``F`` features, ``S`` targets (padded), ``U`` length of a target. Lengths are absolute counts in int64.

Units: losses are nats per reference token. Names ending in ``_rate`` or ``_share``, and ``wer`` and ``blank_ratio``
(names of docs/founding-document.md 5.1), are per cent; ``length_ratio`` and ``overfit_ratio`` are plain ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLANK: Final = 0
"""The one blank class. Loss, decoder, alphabet and kernels all read it here."""

TARGET_PADDING: Final = -1
"""Fills ``targets_BS`` beyond a target's length: no class, so that reading it by mistake shows."""

PLATEAU_MARGIN: Final = 0.03
"""A loss within this share of the unigram plateau means that the network ignores its input."""

COLLAPSED_DELETION_RATE: Final = 90.0
"""From this deletion rate (per cent) on, an epoch counts as collapsed and is never kept as the best."""

FREQUENCY_BANDS: Final = ("rare", "medium", "frequent")
"""Thirds of a training corpus's labels by how often they occur; labels that occur equally often stay together."""

Domain = Literal["logit", "path"]
"""Where a blank shift acts; explained at ``Penalty``."""

Severity = Literal["info", "warning", "error"]
GRAVITY: Final[tuple[Severity, ...]] = ("info", "warning", "error")
"""Severities, the gravest last."""


def gravest(severities: Iterable[Severity]) -> Severity:
    """Return the worst severity; info where there is none."""
    return max(severities, key=GRAVITY.index, default="info")


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips padded to a common length.

    Attributes:
        clip_ids: one id a clip, for every message about it.
        features_BTF: float32, zero beyond a clip's length.
        lengths_B: int64 frames of each clip.
        targets_BS: int64 classes, ``TARGET_PADDING`` beyond a target's length.
        target_lengths_B: int64.
    """

    clip_ids: tuple[str, ...]
    features_BTF: Tensor
    lengths_B: Tensor
    targets_BS: Tensor
    target_lengths_B: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``, copied asynchronously where it lies in pinned memory."""
        if self.features_BTF.device == device:
            return self
        return Batch(
            clip_ids=self.clip_ids,
            features_BTF=self.features_BTF.to(device, non_blocking=True),
            lengths_B=self.lengths_B.to(device, non_blocking=True),
            targets_BS=self.targets_BS.to(device, non_blocking=True),
            target_lengths_B=self.target_lengths_B.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """A further CTC head that is trained and never decoded.

    Attributes:
        name: appears in the history as the head's loss.
        logits_TBC: before penalty and log-softmax, like the main head's.
        lengths_B: int64 frames of each clip at this head.
        weight: factor of this head's loss in the sum; the main head's is 1.
        losses_B: CTC loss of each clip under the shift in force, nats, with gradient, as regularizers are given it;
            None everywhere else.
    """

    name: str
    logits_TBC: Tensor
    lengths_B: Tensor
    weight: float
    losses_B: Tensor | None = None

    @property
    def real_TB(self) -> Tensor:  # noqa: N802
        """Which frames are real, ``[T, B]``: true within each clip, false in padding."""
        return real_frames(self.lengths_B, len(self.logits_TBC))


@dataclass(frozen=True, slots=True)
class Emissions:
    """What a model returns: logits, never log-probabilities, so that a kernel can fuse what follows.

    Attributes:
        logits_TBC: unnormalised scores, blank at ``BLANK``; any strides.
        lengths_B: int64 frames of each clip after the model's own subsampling.
        auxiliary: further heads to train.
        losses_B: CTC loss of each clip under the shift in force, nats, with gradient, as regularizers are given it;
            None everywhere else.
    """

    logits_TBC: Tensor
    lengths_B: Tensor
    auxiliary: tuple[Auxiliary, ...] = ()
    losses_B: Tensor | None = None

    @property
    def real_TB(self) -> Tensor:  # noqa: N802
        """Which frames are real, ``[T, B]``: true within each clip, false in padding."""
        return real_frames(self.lengths_B, len(self.logits_TBC))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands. Written by the clock alone; everybody else reads.

    Attributes:
        epoch: the epoch under way, from 1; 0 before the first.
        phase: name of the phase under way.
        phase_epoch: the epoch within its phase, from 1.
        phase_epochs: epochs that the phase has.
        epochs: epochs that the whole run has.
        batch: batches done in this epoch.
        batches: batches that this epoch has.
        update: optimiser steps done in the run.
        frames: input frames seen in the run, padding not counted.
    """

    epoch: int
    phase: str
    phase_epoch: int
    phase_epochs: int
    epochs: int
    batch: int = 0
    batches: int = 0
    update: int = 0
    frames: int = 0

    @property
    def phase_fraction(self) -> float:
        """Share of the phase that is done, from 0 to 1, advancing with every batch."""
        within = self.batch / self.batches if self.batches else 0.0
        return min(max((self.phase_epoch - 1 + within) / self.phase_epochs, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class StepResult:
    """One optimiser step.

    Attributes:
        at: the time at which the step was taken.
        loss: of the main head, nats per token, under the shift.
        blank_mass: mean blank posterior over real frames, without shift, from 0 to 1.
        gradient_norm: total L2 norm before clipping.
    """

    at: Progress
    loss: float
    blank_mass: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class LogOdds:
    """Turns a raw confidence into the share of such that are right (Platt 1999; Guo et al. 2017, 4.2).

    Attributes:
        temperature: divides the log odds; above 1 where the raw confidence is too sure of itself.
        offset: added to them, nats.
    """

    temperature: float = 1.0
    offset: float = 0.0

    def __call__(self, confidence: float) -> float:
        """Return ``sigmoid(log(c / (1 - c)) / temperature + offset)``, for a confidence from 0 to 1."""
        return 1.0 / (1.0 + math.exp(-(log_odds(confidence) / self.temperature + self.offset)))


def log_odds(confidence: float) -> float:
    """Return ``log(c / (1 - c))``; what float32 cannot tell from 0 or 1 counts as 1e-7 away from it."""
    held = min(max(confidence, 1e-7), 1.0 - 1e-7)
    return math.log(held / (1.0 - held))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What confidences of a model are worth, as measured on a dev corpus.

    Attributes:
        token: for those of single tokens.
        clip: for those of whole clips.
    """

    token: LogOdds = LogOdds()
    clip: LogOdds = LogOdds()


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the N best hypotheses of a beam search.

    Attributes:
        tokens: decoded tokens.
        total: what they are ranked by, nats: acoustic and language score, weighed, with bonus and boosts.
        acoustic: log of their CTC probability within the beam, nats.
        language: log-probability that the language model gives them, unweighted, nats; 0 without one.
        boosts: of hotwords, nats.
    """

    tokens: tuple[str, ...]
    total: float
    acoustic: float
    language: float
    boosts: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One decoded clip, beside its reference where there is one.

    Attributes:
        clip_id: the clip.
        reference: tokens of the transcript; empty, and the edit counts 0, where none was given.
        tokens: decoded tokens.
        starts: first frame of each token, in input frames.
        ends: frame after the last of each token, in input frames.
        scores: mean log-probability of each token over its frames, nats.
        substitutions: against the reference, as are the next two.
        deletions: reference tokens that are missing.
        insertions: tokens too many.
        frame_rate: input frames a second; None where the run does not say.
        log_probability: of the tokens as a whole, all alignments summed, nats; None where nobody asked for it.
        calibration: of the model that decoded; None where it was not measured.
        alternatives: the N best of a beam search, the first being this one; empty without a beam.
    """

    clip_id: str
    reference: tuple[str, ...]
    tokens: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    scores: tuple[float, ...]
    substitutions: int
    deletions: int
    insertions: int
    frame_rate: float | None = None
    log_probability: float | None = None
    calibration: Calibration | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def confidences(self) -> tuple[float, ...]:
        """Of each token, 0 to 1: how often such a token is right, where ``calibration`` says so.

        Without one it is the geometric mean of the token's posterior over its frames.
        """
        raw = (math.exp(min(score, 0.0)) for score in self.scores)
        return tuple(raw if self.calibration is None else map(self.calibration.token, raw))

    @property
    def confidence(self) -> float | None:
        """Of the clip, 0 to 1: how often such a clip is right throughout; without ``calibration`` its posterior."""
        if self.log_probability is None:
            return None
        raw = math.exp(min(self.log_probability, 0.0))
        return raw if self.calibration is None else self.calibration.clip(raw)

    @property
    def seconds(self) -> tuple[tuple[float, float], ...] | None:
        """Start and end of each token in seconds; None where the frame rate is unknown."""
        if self.frame_rate is None:
            return None
        return tuple(
            (a / self.frame_rate, b / self.frame_rate) for a, b in zip(self.starts, self.ends, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Lattice:
    """What a model emits for one clip, frame by frame, beside its hypothesis and its transcript.

    Attributes:
        hypothesis: the clip as decoded, with its reference where there is one.
        right: of each token of the hypothesis, whether the reference has it at that place.
        reference_spans: first frame of each token of the reference and the frame after its last, in input frames,
            on the best path; empty where there is no reference, or no path for it.
        reference_right: of each token of the reference, whether the hypothesis has it at that place.
        labels: those drawn, in the order of their peaks.
        posteriors_LT: posterior of each of those labels in each output frame, 0 to 1.
        blank_T: posterior of the blank in each output frame, 0 to 1, under the shift in force.
        frames: of the input.
        others: labels that were left out, their peaks being the lowest.
    """

    hypothesis: Hypothesis
    right: tuple[bool, ...]
    reference_spans: tuple[tuple[int, int], ...]
    reference_right: tuple[bool, ...]
    labels: tuple[str, ...]
    posteriors_LT: tuple[tuple[float, ...], ...]
    blank_T: tuple[float, ...]
    frames: int
    others: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """How a model does on a corpus, in evaluation mode, under the shift in force.

    Attributes:
        loss: nats per reference token over the clips that have a path.
        substitutions: edit counts over the corpus, as are the next two.
        deletions: see above.
        insertions: see above.
        reference_tokens: tokens in all references.
        hypothesis_tokens: tokens in all hypotheses.
        utterances: clips scored.
        wrong_utterances: clips with at least one error.
        empty_hypotheses: clips for which nothing was emitted.
        frames: output frames, after subsampling.
        blank_frames: output frames whose best class is blank, under the shift.
        raw_blank_frames: the same without the shift.
        blank_mass: mean blank posterior under the shift, from 0 to 1.
        unique_nonblank: distinct labels emitted.
        covered_labels: distinct labels emitted that the references hold.
        reference_labels: distinct labels in the references.
        infeasible: clips without a path, whose loss is infinite and left out of ``loss``.
        entropy: mean entropy of the frames' distributions under the shift, nats; NaN if it was not measured.
        band_labels: distinct labels in the references by how often training has them: rare, medium, frequent
            (``FREQUENCY_BANDS``); zeros where that is not known.
        covered_band_labels: those of them that were emitted.
    """

    loss: float
    substitutions: int
    deletions: int
    insertions: int
    reference_tokens: int
    hypothesis_tokens: int
    utterances: int
    wrong_utterances: int
    empty_hypotheses: int
    frames: int
    blank_frames: int
    raw_blank_frames: int
    blank_mass: float
    unique_nonblank: int
    covered_labels: int
    reference_labels: int
    infeasible: int = 0
    entropy: float = math.nan
    band_labels: tuple[int, int, int] = (0, 0, 0)
    covered_band_labels: tuple[int, int, int] = (0, 0, 0)

    @property
    def wer(self) -> float:
        """Word (token) error rate, per cent."""
        errors = self.substitutions + self.deletions + self.insertions
        return _per_cent(errors, self.reference_tokens)

    @property
    def deletion_rate(self) -> float:
        """Deletions per reference token, per cent."""
        return _per_cent(self.deletions, self.reference_tokens)

    @property
    def insertion_rate(self) -> float:
        """Insertions per reference token, per cent."""
        return _per_cent(self.insertions, self.reference_tokens)

    @property
    def substitution_rate(self) -> float:
        """Substitutions per reference token, per cent."""
        return _per_cent(self.substitutions, self.reference_tokens)

    @property
    def sentence_error_rate(self) -> float:
        """Clips with an error, per cent."""
        return _per_cent(self.wrong_utterances, self.utterances)

    @property
    def length_ratio(self) -> float:
        """Emitted tokens over reference tokens."""
        return self.hypothesis_tokens / self.reference_tokens if self.reference_tokens else math.nan

    @property
    def empty_share(self) -> float:
        """Clips for which nothing was emitted, per cent."""
        return _per_cent(self.empty_hypotheses, self.utterances)

    @property
    def blank_ratio(self) -> float:
        """Output frames whose best class is blank, per cent, under the shift."""
        return _per_cent(self.blank_frames, self.frames)

    @property
    def raw_blank_ratio(self) -> float:
        """The same without the shift."""
        return _per_cent(self.raw_blank_frames, self.frames)

    @property
    def blank_reference(self) -> float:
        """Blank share of perfect one-frame spikes, ``1 - U/T`` over the corpus, per cent."""
        return 100.0 - _per_cent(self.reference_tokens, self.frames)

    @property
    def label_coverage(self) -> float:
        """Labels of the references that were emitted at least once, per cent."""
        return _per_cent(self.covered_labels, self.reference_labels)

    @property
    def coverage_by_frequency(self) -> Mapping[str, float]:
        """Label coverage of the rare, the medium and the frequent labels, per cent; NaN where there is none."""
        counts = zip(FREQUENCY_BANDS, self.covered_band_labels, self.band_labels, strict=True)
        return {band: _per_cent(covered, labels) for band, covered, labels in counts}

    @property
    def collapsed(self) -> bool:
        """Whether next to nothing is emitted: the deletion rate says so, the blank share would not."""
        return self.deletion_rate >= COLLAPSED_DELETION_RATE


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One finished epoch, as monitors, schedules and penalties see it.

    Attributes:
        at: the time at its end.
        train_loss: mean over the epoch's steps, in training mode, nats per token.
        train: scores of a fixed part of the training corpus, in evaluation mode.
        val: scores of the dev corpus.
        auxiliary_losses: mean training loss of each auxiliary head, nats per token.
        plateau_loss: unigram plateau of the training corpus, nats per token.
        gradient_norm: mean over the epoch before clipping.
        learning_rate: at the epoch's last step.
        shift: blank shift in force at the epoch's end, nats, at most 0.
        domain: where the shift acts.
        dropout: in force during the epoch.
        max_frames: length to which clips were cropped, or None.
        cropped: clips that were cropped.
        seconds: wall time of the epoch, evaluation included.
        samples: a few decoded dev clips.
        terms: mean of each further term of the training loss, nats per token, with its weight.
        clips: training clips seen; fewer than the corpus has under a curriculum.
        module_gradients: for each top-level part of the model, the mean over the epoch of its gradient's L2 norm
            before clipping; None where no loss reached it.
        module_weights: L2 norm of each of these parts' weights at the epoch's end.
        blank_bias: bias of the blank at the epoch's end; None where the model shows none.
        blank_bias_start: the same where the run began, or after the last penalty that set it.
        figures: what plugins and the model have measured beside these, by the names of their figures.
    """

    at: Progress
    train_loss: float
    train: Scores
    val: Scores
    auxiliary_losses: Mapping[str, float]
    plateau_loss: float
    gradient_norm: float
    learning_rate: float
    shift: float
    domain: Domain
    dropout: float | None
    max_frames: int | None
    cropped: int
    seconds: float
    samples: tuple[Hypothesis, ...] = ()
    terms: Mapping[str, float] = field(default_factory=dict)
    clips: int = 0
    module_gradients: Mapping[str, float | None] = field(default_factory=dict)
    module_weights: Mapping[str, float] = field(default_factory=dict)
    blank_bias: float | None = None
    blank_bias_start: float | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def overfit_ratio(self) -> float:
        """Dev loss over training loss, both per token, in evaluation mode, under the same shift."""
        return self.val.loss / self.train.loss if self.train.loss > 0 else math.inf

    @property
    def blank_bias_drift(self) -> float | None:
        """How far the bias of the blank has moved from where it began, nats."""
        if self.blank_bias is None or self.blank_bias_start is None:
            return None
        return self.blank_bias - self.blank_bias_start

    @property
    def on_plateau(self) -> bool:
        """Whether the network still does no better than one fixed distribution for every frame."""
        return not self.train.loss < (1.0 - PLATEAU_MARGIN) * self.plateau_loss


DASH = "\u2013"

SIGNIFICANT: Final = -1
"""``digits`` of a figure of any magnitude: three significant ones."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of an epoch.

    Attributes:
        name: its column in the history, its key in JSON, the attribute of ``Epoch``.
        title: what people call it.
        unit: of its values; empty for a plain number.
        digits: after the point; 0 for counts, ``SIGNIFICANT`` for three significant digits.
        note: how it is to be read.
        console: its heading in the line that a terminal shows of an epoch; empty where it has none.
        curve: whether runs are compared by it. One that is not ctckit's own has a chart in a report in any case.
        optional: whether a model or a phase may have no such thing, so that nobody misses it.
        measure: its value, given the epoch that training has finished or, for ``Model.FIGURES``, the model.
        score: its value on any scored corpus; that of dev is the epoch's.
        derive: its value from the other figures of a recorded epoch, where it was not recorded itself.
    """

    name: str
    title: str
    unit: str = ""
    digits: int = 3
    note: str = ""
    console: str = ""
    curve: bool = False
    optional: bool = False
    measure: Callable[[Any], float | int | None] | None = None
    score: Callable[[Scores], float | int | None] | None = None
    derive: Callable[[Any], float | None] | None = None

    @property
    def key(self) -> str:
        """Its column in a row of scores, which has no prefix for dev."""
        return self.name.removeprefix("val_")

    def of(self, result: EpochResult) -> float | int | None:
        """Return its value in an epoch that training has finished."""
        if self.score is not None:
            return self.score(result.val)
        return None if self.measure is None else self.measure(result)

    def text(self, value: float | None, *, unit: bool = False) -> str:
        """Format a value; a dash where there is none."""
        if value is None:
            return DASH
        if self.digits == SIGNIFICANT:
            shown = f"{value:.3g}"
        else:
            shown = f"{value:,.0f}" if self.digits == 0 else f"{value:.{self.digits}f}"
        return f"{shown} {self.unit}" if unit and self.unit else shown


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation about a run or a corpus, as data.

    Attributes:
        rule: stable identifier such as ``blank_ratio_high``.
        severity: info, warning or error.
        message: one readable line.
        evidence: the figures that it rests on.
        advice: what to do about it, one line; empty where nothing is to be done.
        source: what the rule comes from, such as ``docs/founding-document.md 5.2``, or a paper.
    """

    rule: str
    severity: Severity
    message: str
    evidence: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    advice: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A decoded clip that a monitor wants to be kept beside its reference.

    Attributes:
        clip: its id.
        reference: tokens of the transcript.
        hypothesis: decoded tokens.
    """

    clip: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


AILMENTS: Final = ("plateau", "blanks", "insertions", "overfit")
"""What a remedy may be for: a run on the unigram plateau or slow to leave it, one that emits too few labels, one
that emits too many, one that does well on its training corpus alone."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of the configuration that a model or a plugin proposes against an ailment.

    Attributes:
        ailment: ``plateau`` (serves runs that leave it too slowly as well), ``blanks``, ``insertions`` or
            ``overfit``.
        change: what to do; a ``--set`` where there is a key.
        why: one line.
        source: what it rests on.

    Raises:
        ValueError: there is no such ailment, or nothing to do or no reason is given.
    """

    ailment: str
    change: str
    why: str
    source: str = ""

    def __post_init__(self) -> None:
        if self.ailment not in AILMENTS:
            raise ValueError(f"a remedy is for one of {', '.join(AILMENTS)}, not for {self.ailment!r}")
        if not self.change.strip() or not self.why.strip():
            raise ValueError("a remedy says what to change, and why")


def real_frames(lengths_B: Tensor, frames: int) -> Tensor:
    """Return which of ``frames`` padded frames are real, ``[T, B]``: true within each clip, false in padding."""
    import torch  # here, because these records serve readers of histories too, which do without

    return torch.arange(frames, device=lengths_B.device)[:, None] < lengths_B


def _per_cent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else math.nan
