"""What the ops return: named tuples of tensors, T frames, B utterances, S padded tokens, C classes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor


class FrameStats(NamedTuple):
    """All that greedy decoding needs of a frame, whatever the blank shift.

    Frames beyond an utterance's length hold best 0, best_logit -inf, logsumexp -inf and blank_logit 0,
    so that they are blank under every shift.
    """

    best_TB: Tensor
    """int64: the best non-blank class; the lowest of equals."""
    best_logit_TB: Tensor
    """The logit of that class; float32, or float64 for float64 logits (so are the next two)."""
    logsumexp_TB: Tensor
    """Log of the summed exponentials of the non-blank logits, in nats."""
    blank_logit_TB: Tensor
    """The blank logit, without any shift."""

    def blank_log_odds(self, shift: float) -> Tensor:
        """Log of the blank's probability over that of all labels under ``shift``; [T, B]."""
        return self.blank_logit_TB + shift - self.logsumexp_TB

    def blank_posterior(self, shift: float) -> Tensor:
        """Probability of the blank under ``shift``, from 0 to 1; [T, B]."""
        return torch.sigmoid(self.blank_log_odds(shift))


class GreedyPaths(NamedTuple):
    """Best-path decodes of a batch. S is T, the most tokens there can be."""

    tokens_BS: Tensor
    """int64 classes, padded with -1."""
    counts_B: Tensor
    """int64 number of tokens."""
    starts_BS: Tensor
    """int64 first frame of each token, padded with -1."""
    ends_BS: Tensor
    """int64 frame after each token's last, padded with -1."""
    scores_BS: Tensor
    """Mean log-probability of the token over its frames, in nats, padded with 0."""
    utterance_scores_B: Tensor
    """Log-probability of the whole path, blanks included: a sum over frames, in nats."""


class FrameReading(NamedTuple):
    """All that scoring wants of a batch's frames, from one pass over the logits."""

    paths: GreedyPaths
    stats: FrameStats
    label_entropy_TB: Tensor
    """Entropy, in nats, of the distribution over the non-blanks alone; 0 where there is one, and in padding."""

    def entropy(self, shift: float) -> Tensor:
        """Entropy, in nats, of each frame's distribution under ``shift``; [T, B]."""
        blank_TB, label_TB = (torch.sigmoid(sign * self.stats.blank_log_odds(shift)) for sign in (1.0, -1.0))
        choice_TB: Tensor = torch.special.entr(blank_TB) + torch.special.entr(label_TB)
        return choice_TB + label_TB * self.label_entropy_TB


class Alignment(NamedTuple):
    """Best CTC paths through given targets. S is the padded target length."""

    paths_BT: Tensor
    """int64 class of each frame, -1 beyond the length and throughout where no path exists."""
    starts_BS: Tensor
    """int64 first frame of each label, padded with -1."""
    ends_BS: Tensor
    """int64 frame after each label's last, padded with -1."""
    scores_BS: Tensor
    """Mean log-probability of the label over its frames, in nats, padded with 0."""
    utterance_scores_B: Tensor
    """Log-probability of the path in nats; -inf where no path exists."""


class BeamPaths(NamedTuple):
    """The best hypotheses of a batch, best first. N of them were asked for; S is T, the most tokens there can be.

    Where a search ended with fewer, the rest have count -1, acoustic score and total -inf, and otherwise padding.
    Scores are float32, or float64 for float64 logits.
    """

    tokens_BNS: Tensor
    """int64 classes, padded with -1."""
    counts_BN: Tensor
    """int64 number of tokens; -1 where there is no hypothesis."""
    acoustic_BN: Tensor
    """Log of the CTC probability under the shift, in nats: over all alignments that the beam did not lose."""
    language_BN: Tensor
    """Log-probability of tokens or words, and of their end, in the language model, unweighted; 0 without one."""
    boosts_BN: Tensor
    """Sum of the hotwords' boosts, less what unfinished ones gave back; 0 without hotwords."""
    totals_BN: Tensor
    """What hypotheses are ranked by: acoustic + weight * language + bonus * (tokens or words) + boosts."""


class LossWithEntropy(NamedTuple):
    """CTC losses and how undecided the alignment is."""

    losses_B: Tensor
    """In nats; inf where no path exists."""
    entropies_B: Tensor
    """Entropy, in nats, of the distribution over the paths of the targets; 0 where there is one path or none."""


class Backend(NamedTuple):
    """Which kernels run, and why."""

    name: Literal["cpu", "cuda", "reference"]
    reason: str
    """One sentence."""
    isa: str
    """Instruction set of the CPU kernels: avx512, avx2 or generic; "none" on the reference."""
    version: str
    """Key of the compiled library: a hash of its sources and flags; "none" on the reference."""
    otherwise: str
    """What would change the choice: one sentence."""
