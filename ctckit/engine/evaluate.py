"""Scores a model on a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ctckit.data import Loader
from ctckit.interfaces import Model
from ctckit.scoring import Tally
from ctckit.search import Search
from ctckit.types import Hypothesis, Scores


@dataclass(frozen=True, slots=True)
class Judged:
    """Clips to score.

    Attributes:
        loader: of the clips.
        references: their transcripts by clip id.
        bands: for each label of the training corpus, which of ``FREQUENCY_BANDS`` it belongs to; empty if unknown.
        speakers: who speaks or signs, by clip id; clips of which nobody knows are left out.
    """

    loader: Loader
    references: Mapping[str, tuple[str, ...]]
    bands: Mapping[str, int] = field(default_factory=dict)
    speakers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of a corpus and the decoded clips behind them."""

    scores: Scores
    hypotheses: tuple[Hypothesis, ...]


@torch.inference_mode()
def evaluate(
    model: Model,
    judged: Judged,
    tokens: Sequence[str],
    *,
    shift: float,
    device: torch.device,
    search: Search | None = None,
) -> Evaluation:
    """Decode and score, in evaluation mode; the model's mode is restored.

    Args:
        model: on ``device``.
        judged: the clips.
        tokens: of the alphabet, blank first.
        shift: logit shift in force, nats.
        device: where the model is.
        search: how to decode; None takes the best class of each frame.
    """
    training = model.training
    model.eval()
    tally = Tally(tokens, judged.bands, search)
    for host_batch in judged.loader.epoch(0):
        batch = host_batch.to(device)
        emissions = model(batch.features_BTF, batch.lengths_B)
        tally.add(emissions.logits_TBC, emissions.lengths_B, batch, judged.references, shift=shift)
    model.train(training)
    return Evaluation(tally.scores(), tuple(tally.decoded))


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
