"""What a model does on clips with transcripts, from its logits: decoded, compared, added up to ``Scores``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field

import torch
from torch import Tensor

from ctckit import ops
from ctckit.decode import hypotheses
from ctckit.loss import naming_diverged
from ctckit.search import Found, Search, decode_logits
from ctckit.types import BLANK, FREQUENCY_BANDS, TARGET_PADDING, Batch, Hypothesis, Scores


@dataclass(frozen=True, slots=True)
class FrameSums:
    """What the real frames of some batches add up to; the figures are those of ``Scores``."""

    frames: int = 0
    blank_frames: int = 0
    raw_blank_frames: int = 0
    blank_mass: float = 0.0
    entropy: float = 0.0

    def __add__(self, other: FrameSums) -> FrameSums:
        return FrameSums(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(slots=True)
class Tally:
    """Adds up batches to the scores of a corpus: those of a training of ctckit's own, or of somebody's own loop.

    Attributes:
        tokens: of the alphabet, blank first.
        bands: for each label of the training corpus, which of ``FREQUENCY_BANDS`` it belongs to; empty if unknown.
        search: how to decode; None takes the best class of each frame.
        decoded: the clips so far.
        loss: of those with a path, nats.
        scored_tokens: in their references.
        infeasible: clips without a path.
        sums: over the frames.
    """

    tokens: Sequence[str]
    bands: Mapping[str, int] = field(default_factory=dict)
    search: Search | None = None
    decoded: list[Hypothesis] = field(default_factory=list)
    loss: float = 0.0
    scored_tokens: int = 0
    infeasible: int = 0
    sums: FrameSums = field(default_factory=FrameSums)

    @torch.inference_mode()
    def add(
        self,
        logits_TBC: Tensor,
        lengths_B: Tensor,
        batch: Batch,
        references: Mapping[str, tuple[str, ...]],
        *,
        shift: float = 0.0,
    ) -> None:
        """Decode and score a batch.

        Args:
            logits_TBC: what the model made of it, blank at ``BLANK``.
            lengths_B: output frames of each clip.
            batch: on the device of the logits.
            references: transcripts by clip id.
            shift: logit shift in force, nats.

        Raises:
            TrainingError: a clip has logits that are not numbers.
        """
        with naming_diverged("main", logits_TBC, lengths_B, batch):
            losses_B = ops.ctc_loss(logits_TBC, batch.targets_BS, lengths_B, batch.target_lengths_B, shift=shift)
        has_path_B = torch.isfinite(losses_B)
        self.loss += float(losses_B[has_path_B].double().sum())
        self.scored_tokens += int(batch.target_lengths_B[has_path_B].sum())
        self.infeasible += int((~has_path_B).sum())
        reading = ops.greedy_with_stats(logits_TBC, lengths_B, shift)
        self.sums += frame_sums(reading, lengths_B, shift)
        found = Found(reading.paths, [()] * len(batch.clip_ids))
        if self.search is not None:
            found = decode_logits(logits_TBC, lengths_B, shift, self.tokens, self.search)
        self.decoded += hypotheses(found, batch, lengths_B.tolist(), self.tokens, references)

    def scores(self) -> Scores:
        """Return the scores of all batches so far."""
        decoded, sums = self.decoded, self.sums
        emitted = {token for hypothesis in decoded for token in hypothesis.tokens}
        wanted = {token for hypothesis in decoded for token in hypothesis.reference}
        return Scores(
            loss=self.loss / self.scored_tokens if self.scored_tokens else math.nan,
            substitutions=sum(h.substitutions for h in decoded),
            deletions=sum(h.deletions for h in decoded),
            insertions=sum(h.insertions for h in decoded),
            reference_tokens=sum(len(h.reference) for h in decoded),
            hypothesis_tokens=sum(len(h.tokens) for h in decoded),
            utterances=len(decoded),
            wrong_utterances=sum(h.substitutions + h.deletions + h.insertions > 0 for h in decoded),
            empty_hypotheses=sum(not h.tokens for h in decoded),
            frames=sums.frames,
            blank_frames=sums.blank_frames,
            raw_blank_frames=sums.raw_blank_frames,
            blank_mass=sums.blank_mass / sums.frames if sums.frames else math.nan,
            unique_nonblank=len(emitted),
            covered_labels=len(emitted & wanted),
            reference_labels=len(wanted),
            infeasible=self.infeasible,
            entropy=sums.entropy / sums.frames if sums.frames else math.nan,
            band_labels=by_band(wanted, self.bands),
            covered_band_labels=by_band(emitted & wanted, self.bands),
        )


def measure(
    logits_TBC: Tensor,
    lengths: Tensor | Sequence[int],
    targets: Sequence[Sequence[int]],
    *,
    blank: int = BLANK,
    batch_first: bool = False,
    shift: float = 0.0,
) -> Scores:
    """Say of the logits of some clips what ``ctckit train`` says of an epoch, in somebody's own loop.

    Args:
        logits_TBC: logits or log-probabilities, [T, B, C]; [B, T, C] with ``batch_first``.
        lengths: frames of each clip.
        targets: classes of each clip's transcript, without padding.
        blank: class of the blank.
        batch_first: see above.
        shift: nats added to the blank.

    Returns:
        Loss in nats per token, word errors, blank share, label coverage, length ratio and the rest of ``Scores``.

    Raises:
        ValueError: shapes or values do not fit.
        TrainingError: logits are not numbers.
    """
    if batch_first:
        logits_TBC = logits_TBC.transpose(0, 1)
    _, clips, classes = logits_TBC.shape
    if len(targets) != clips or len(lengths) != clips:
        raise ValueError(f"{clips} clips of logits, {len(lengths)} lengths and {len(targets)} targets do not fit")
    moved = [[_moved(int(label), blank, classes) for label in target] for target in targets]
    ids = tuple(map(str, range(clips)))
    targets_BS = torch.full((clips, max(map(len, moved), default=0)), TARGET_PADDING)
    for row, target in zip(targets_BS, moved, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.int64)
    lengths_B = torch.as_tensor(lengths, dtype=torch.int64)
    batch = Batch(ids, logits_TBC[:0], lengths_B, targets_BS, torch.tensor([len(target) for target in moved]))
    tokens = [str(label) for label in range(classes)]
    tally = Tally(tokens)
    tally.add(
        blank_first(logits_TBC.detach(), blank),
        lengths_B.to(logits_TBC.device),
        batch.to(logits_TBC.device),
        {name: tuple(tokens[label] for label in target) for name, target in zip(ids, moved, strict=True)},
        shift=shift,
    )
    return tally.scores()


def blank_first(logits: Tensor, blank: int) -> Tensor:
    """Move the class of the blank to the front, [..., C]; the same tensor where it is there already.

    Raises:
        ValueError: there is no such class.
    """
    if not 0 <= blank < logits.shape[-1]:
        raise ValueError(f"blank {blank} is none of the {logits.shape[-1]} classes")
    if blank == BLANK:
        return logits
    return torch.cat([logits[..., blank : blank + 1], logits[..., :blank], logits[..., blank + 1 :]], -1)


def frame_sums(reading: ops.FrameReading, lengths_B: Tensor, shift: float) -> FrameSums:
    """Sum what monitors want to know of frames under ``shift`` on the blank; decoding needs none of it."""
    stats = reading.stats
    real_TB = ops.real_frames(lengths_B, len(stats.best_TB))
    return FrameSums(
        frames=int(lengths_B.sum()),
        blank_frames=int((stats.blank_logit_TB + shift >= stats.best_logit_TB)[real_TB].sum()),
        raw_blank_frames=int((stats.blank_logit_TB >= stats.best_logit_TB)[real_TB].sum()),
        blank_mass=float(stats.blank_posterior(shift)[real_TB].double().sum()),
        entropy=float(reading.entropy(shift)[real_TB].double().sum()),
    )


def by_band(labels: Iterable[str], bands: Mapping[str, int]) -> tuple[int, int, int]:
    """Count labels in each of ``FREQUENCY_BANDS``."""
    found = [bands[label] for label in labels if label in bands]
    rare, medium, frequent = (found.count(band) for band in range(len(FREQUENCY_BANDS)))
    return rare, medium, frequent


def _moved(label: int, blank: int, classes: int) -> int:
    """Class of a label once the blank is class 0."""
    if label == blank or not 0 <= label < classes:
        raise ValueError(f"target {label} is {'the blank' if label == blank else f'none of {classes} classes'}")
    return label + 1 if label < blank else label
