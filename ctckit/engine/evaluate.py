"""Scores a model on a corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field

import torch
from torch import Tensor

from ctckit import ops
from ctckit.data import Loader
from ctckit.decode import hypotheses
from ctckit.interfaces import Model
from ctckit.loss import naming_diverged
from ctckit.types import FREQUENCY_BANDS, Batch, Hypothesis, Scores


@dataclass(frozen=True, slots=True)
class Judged:
    """Clips to score.

    Attributes:
        loader: of the clips.
        references: their transcripts by clip id.
        bands: for each label of the training corpus, which of ``FREQUENCY_BANDS`` it belongs to; empty if unknown.
    """

    loader: Loader
    references: Mapping[str, tuple[str, ...]]
    bands: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of a corpus and the decoded clips behind them."""

    scores: Scores
    hypotheses: tuple[Hypothesis, ...]


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


@torch.inference_mode()
def evaluate(
    model: Model,
    judged: Judged,
    tokens: Sequence[str],
    *,
    shift: float,
    device: torch.device,
) -> Evaluation:
    """Decode greedily and score, in evaluation mode; the model's mode is restored.

    Args:
        model: on ``device``.
        judged: the clips.
        tokens: of the alphabet, blank first.
        shift: logit shift in force, nats.
        device: where the model is.
    """
    training = model.training
    model.eval()
    tally = Tally(tokens, judged.bands)
    for host_batch in judged.loader.epoch(0):
        batch = host_batch.to(device)
        emissions = model(batch.features_BTF, batch.lengths_B)
        tally.add(emissions.logits_TBC, emissions.lengths_B, batch, judged.references, shift=shift)
    model.train(training)
    return Evaluation(tally.scores(), tuple(tally.decoded))


@dataclass(slots=True)
class Tally:
    """Adds up batches to the scores of a corpus: those of a training of ctckit's own, or of somebody's own loop.

    Attributes:
        tokens: of the alphabet, blank first.
        bands: for each label of the training corpus, which of ``FREQUENCY_BANDS`` it belongs to; empty if unknown.
        decoded: the clips so far.
        loss: of those with a path, nats.
        scored_tokens: in their references.
        infeasible: clips without a path.
        sums: over the frames.
    """

    tokens: Sequence[str]
    bands: Mapping[str, int] = field(default_factory=dict)
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
        self.decoded += hypotheses(reading.paths, batch, lengths_B.tolist(), self.tokens, references)

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
            band_labels=_by_band(wanted, self.bands),
            covered_band_labels=_by_band(emitted & wanted, self.bands),
        )


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


def frequency_bands(counts: Mapping[str, int]) -> dict[str, int]:
    """Sort labels into ``FREQUENCY_BANDS``.

    Args:
        counts: occurrences of each label in the training corpus.

    Returns:
        For each label, the number of its band. Labels that occur equally often are in one band, so that bands may
        differ in size, and be empty.
    """
    ordered = sorted(counts.values())
    limits = [ordered[(third * len(ordered) + 2) // 3 - 1] for third in (1, 2)] if ordered else []
    return {label: sum(count > limit for limit in limits) for label, count in counts.items()}


def _by_band(labels: Iterable[str], bands: Mapping[str, int]) -> tuple[int, int, int]:
    found = [bands[label] for label in labels if label in bands]
    rare, medium, frequent = (found.count(band) for band in range(len(FREQUENCY_BANDS)))
    return rare, medium, frequent
