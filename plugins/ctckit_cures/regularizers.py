"""Terms that are added to the CTC loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import ctckit
from ctckit import BLANK, Batch, ConfigError, Emissions, Progress
from ctckit_cures.frames import clean


@dataclass
class HeadDistillation(ctckit.Regularizer):
    """Pulls every auxiliary head towards the main head, over the labels and without the blank.

    The visual alignment constraint of VAC (Min et al., ICCV 2021): the Kullback-Leibler divergence from the main
    head's softened label distribution, which gets no gradient, to the auxiliary head's, averaged over a clip's
    frames, times the temperature's square; a clip's divergence then weighs ``weight`` times its CTC loss.

    Args:
        weight: factor, 25 in the paper's code.
        temperature: softens both distributions.
    """

    weight: float = 25.0
    temperature: float = 8.0

    def __post_init__(self) -> None:
        _require_weight(self.weight)
        if not self.temperature > 0.0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        """Return the divergence summed over clips and heads, per reference token.

        Raises:
            ConfigError: the model has no auxiliary head, or one of another length.
        """
        if not emissions.auxiliary:
            raise ConfigError(
                "regularizer 'head_distillation': the model emits no auxiliary head to distil into; "
                "hierarchical_bilstm has one with model.auxiliary_weight above 0, in stage 2"
            )
        real_TB = emissions.real_TB
        teacher_TBC = self._labels(clean(emissions.logits_TBC.detach(), real_TB))
        total = teacher_TBC.new_zeros(())
        for head in emissions.auxiliary:
            if not head.lengths_B.equal(emissions.lengths_B):
                raise ConfigError(
                    f"regularizer 'head_distillation': head '{head.name}' has other frames than the main head"
                )
            student_TBC = self._labels(clean(head.logits_TBC, real_TB))
            frames_TB = divergence(teacher_TBC, student_TBC).masked_fill(~real_TB, 0.0)
            total = total + (frames_TB.sum(0) / emissions.lengths_B).sum()
        return self.weight * self.temperature**2 * total / batch.target_lengths_B.sum()

    def _labels(self, logits_TBC: Tensor) -> Tensor:
        return (logits_TBC[..., BLANK + 1 :] / self.temperature).log_softmax(-1)


@dataclass
class Smoothness(ctckit.Regularizer):
    """Pulls each frame's distribution towards the mean of itself and its neighbours.

    Smooth-regularised CTC (Yao et al., arXiv 2410.05101): divergence from the distribution smoothed over three
    frames with weights 1/4, 1/2, 1/4, which gets no gradient, summed over frames like the CTC loss. A spike of
    one frame costs, so labels spread.

    Args:
        weight: factor, 0.2 in the paper.
    """

    weight: float = 0.2

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        """Return the divergence summed over real frames of the main head, per reference token."""
        real_TB = emissions.real_TB
        log_probs_TBC = clean(emissions.logits_TBC, real_TB).log_softmax(-1)
        frames = torch.arange(len(log_probs_TBC), device=log_probs_TBC.device)[:, None]
        last_B = emissions.lengths_B[None] - 1
        clip = torch.arange(len(emissions.lengths_B), device=frames.device)[None]
        with torch.no_grad():
            probs_TBC = log_probs_TBC.exp()
            # a clip's first and last frame are their own outer neighbours
            before_TBC = probs_TBC[(frames - 1).clamp(min=0).expand(-1, clip.shape[1]), clip]
            after_TBC = probs_TBC[torch.minimum(frames + 1, last_B.clamp(min=0)), clip]
            smoothed_TBC = 0.25 * before_TBC + 0.5 * probs_TBC + 0.25 * after_TBC
            smoothed_TBC = smoothed_TBC.clamp(min=torch.finfo(probs_TBC.dtype).tiny).log()
        frames_TB = divergence(smoothed_TBC, log_probs_TBC).masked_fill(~real_TB, 0.0)
        return self.weight * frames_TB.sum() / batch.target_lengths_B.sum()


@dataclass
class Consistency(ctckit.Regularizer):
    """Pulls two views of each clip, masked differently, towards each other.

    Consistency-regularised CTC (Yao et al., ICLR 2025, arXiv 2410.05101): half of the divergences from each
    view's distribution, which gets no gradient, to the other's, summed over frames; the CTC loss is the mean of
    both views'. Every batch goes through the model twice. Without ``time_mask_prob`` the views differ by
    dropout alone.

    Args:
        weight: factor, 0.2 in the paper.
    """

    views: ClassVar[int] = 2

    weight: float = 0.2

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        """Return the divergences summed over the clips' real frames, per reference token of one view."""
        real_TB = emissions.real_TB
        log_probs_TBC = clean(emissions.logits_TBC, real_TB).log_softmax(-1)
        clips = len(emissions.lengths_B) // 2
        one_TBC, other_TBC = log_probs_TBC[:, :clips], log_probs_TBC[:, clips : 2 * clips]
        both_TB = divergence(other_TBC.detach(), one_TBC) + divergence(one_TBC.detach(), other_TBC)
        both_TB = both_TB.masked_fill(~real_TB[:, :clips], 0.0)
        return self.weight * 0.5 * both_TB.sum() / batch.target_lengths_B[:clips].sum()


@dataclass
class PathEntropy(ctckit.Regularizer):
    """Rewards uncertainty about the alignment: the entropy of the paths, given features and labels.

    Maximum conditional entropy regularisation (Liu, Jin and Zhang, NeurIPS 2018, "EnCTC").

    Args:
        weight: factor, 0.2 in the paper.
    """

    weight: float = 0.2

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        """Return minus the entropy of the main head's paths, nats per reference token, with its weight."""
        paths = ctckit.ctc_loss_with_entropy(
            emissions.logits_TBC, batch.targets_BS, emissions.lengths_B, batch.target_lengths_B
        )
        return -self.weight * paths.entropies_B.sum() / batch.target_lengths_B.sum()


def divergence(target_TBC: Tensor, log_probs_TBC: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each frame, ``[T, B]`` in nats; both arguments in log space."""
    return (target_TBC.exp() * (target_TBC - log_probs_TBC)).sum(-1)


def _require_weight(weight: float) -> None:
    if not weight > 0.0:
        raise ValueError(f"weight is {weight}; it must be above 0")
