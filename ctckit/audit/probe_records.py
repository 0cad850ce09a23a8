"""What the probes have measured, before anybody judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateRange:
    """What a learning rate that grows with every step did to the loss of one batch.

    Attributes:
        losses: of each step, nats per token; shorter than planned where it ended early.
        lowest: smallest of them.
        steepest: rate at which the loss fell fastest, or None where it never fell.
        diverged: rate from which the loss went up for good, or None.
        largest: rate of the last step.
        complete: whether it ended before time was up.
        seconds: what it took.
    """

    losses: tuple[float, ...]
    lowest: float
    steepest: float | None
    diverged: float | None
    largest: float
    complete: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class OverfitBatch:
    """What came of training on one batch alone. Losses are nats per token, in evaluation mode.

    Attributes:
        clips: in the batch.
        rate: learning rate.
        steps: taken.
        start_loss: before the first.
        loss: after the last.
        plateau_loss: unigram plateau of the batch.
        token_error_rate: of greedy decoding after the last step, per cent.
        exchanged_loss: of the trained network when each clip is given another clip's features.
        reordered_loss: when the frames of each clip come in random order.
        failure: why a step could not be taken; empty where all could.
        complete: whether it ended before time was up.
        seconds: what it took.
    """

    clips: int
    rate: float
    steps: int
    start_loss: float
    loss: float
    plateau_loss: float
    token_error_rate: float
    exchanged_loss: float
    reordered_loss: float
    failure: str
    complete: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class PairingContrast:
    """How much better clips fit their own transcripts than those of a clip as long.

    Attributes:
        pairs: of clips; each gives one difference: the loss with transcripts exchanged less the loss with its own.
        contrast: mean difference, nats per token.
        deviations: the mean difference in standard errors; 0 in expectation where labels are permuted.
        related: whether that is more than chance and length explain.
    """

    pairs: int
    contrast: float
    deviations: float
    related: bool


@dataclass(frozen=True, slots=True)
class PermutedLabels:
    """What a network that was trained on some clips knows of others.

    Attributes:
        clips: trained on.
        rate: learning rate.
        steps: taken.
        loss: of the clips trained on, in evaluation mode, nats per token.
        plateau_loss: their unigram plateau.
        memorised: whether something was learnt about these clips, be it by heart.
        unseen: contrasts of clips not trained on, by corpus.
        failure: why a step could not be taken; empty where all could.
        complete: whether it ended before time was up.
        seconds: what it took.
    """

    clips: int
    rate: float
    steps: int
    loss: float
    plateau_loss: float
    memorised: bool
    unseen: Mapping[str, PairingContrast]
    failure: str
    complete: bool
    seconds: float
