"""The training loss: CTC of the main head, of every auxiliary head, and further terms, per reference token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ctckit import ops
from ctckit.errors import TrainingError
from ctckit.types import Batch, Domain, Emissions

Term = Callable[[Emissions, Batch], Tensor]
"""Computes a scalar in nats per reference token, with gradient."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised at a step; plain CTC by default.

    Attributes:
        shift: of the blank, nats, at most 0.
        domain: where it acts.
        class_shifts_C: path shift of every class, nats; takes the place of ``shift``.
        terms: further terms of the loss, by name.
    """

    shift: float = 0.0
    domain: Domain = "logit"
    class_shifts_C: Tensor | None = None
    terms: Mapping[str, Term] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LossParts:
    """A batch's loss and what it is made of.

    Attributes:
        total: what is minimised, a scalar with gradient: the weighted heads and the terms, nats per token.
        main: the main head's share of it, detached scalar.
        auxiliary: each auxiliary head's own loss without its weight, detached scalars.
        terms: each further term, detached scalars.
        losses_B: the loss of each clip at each head, by the head's name, nats, detached.
    """

    total: Tensor
    main: Tensor
    auxiliary: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]
    losses_B: Mapping[str, Tensor]

    def not_finite(self, emissions: Emissions, batch: Batch) -> TrainingError:
        """Say which head's loss is not finite for which clips, or which term; for a batch where one is not."""
        heads = {"main": emissions.lengths_B, **{head.name: head.lengths_B for head in emissions.auxiliary}}
        for name, lengths_B in heads.items():
            if not bool(self.losses_B[name].isfinite().all()):
                return TrainingError(_not_finite(name, self.losses_B[name], lengths_B, batch))
        where = f"in the batch of clips {_first(batch.clip_ids)}; lower its weight or the learning rate"
        for name, value in self.terms.items():
            if not bool(value.isfinite()):
                return TrainingError(f"the term '{name}' of the loss is {value.item()} {where}")
        return TrainingError(f"the sum of the losses is {self.total.item()} {where}")


def training_loss(emissions: Emissions, batch: Batch, objective: Objective) -> LossParts:
    """Compute the loss of a batch.

    Sums over clips and divides by the batch's reference tokens, so that a token weighs the same in a batch of
    short clips as in one of long ones. The shifts act on every head alike. Whether all is finite is for the caller
    to see, with the figures that it copies from the device anyway, and for ``LossParts.not_finite`` to explain.

    Raises:
        TrainingError: the network has diverged; names the clips.
    """
    tokens = batch.target_lengths_B.sum()
    emissions = with_losses(emissions, batch, objective)
    assert emissions.losses_B is not None
    total = main = emissions.losses_B.sum() / tokens
    losses_B = {"main": emissions.losses_B.detach()}
    auxiliary = {}
    for head in emissions.auxiliary:
        assert head.losses_B is not None
        loss = head.losses_B.sum() / tokens
        total = total + head.weight * loss
        auxiliary[head.name] = loss.detach()
        losses_B[head.name] = head.losses_B.detach()
    terms = {}
    for name, term in objective.terms.items():
        value = term(emissions, batch)
        total = total + value
        terms[name] = value.detach()
    return LossParts(total, main.detach(), auxiliary, terms, losses_B)


def with_losses(emissions: Emissions, batch: Batch, objective: Objective) -> Emissions:
    """Return the emissions with the CTC loss of each clip at each head, as regularizers are given them.

    Raises:
        TrainingError: the network has diverged; names the clips.
    """

    def losses(name: str, logits_TBC: Tensor, lengths_B: Tensor) -> Tensor:
        with naming_diverged(name, logits_TBC, lengths_B, batch):
            if objective.class_shifts_C is not None:
                return class_shifted_loss(logits_TBC, lengths_B, batch, objective.class_shifts_C)
            return ops.ctc_loss(
                logits_TBC,
                batch.targets_BS,
                lengths_B,
                batch.target_lengths_B,
                shift=objective.shift,
                domain=objective.domain,
            )

    main_B = losses("main", emissions.logits_TBC, emissions.lengths_B)
    heads = (
        replace(head, losses_B=losses(head.name, head.logits_TBC, head.lengths_B)) for head in emissions.auxiliary
    )
    return replace(emissions, losses_B=main_B, auxiliary=tuple(heads))


def class_shifted_loss(logits_TBC: Tensor, lengths_B: Tensor, batch: Batch, shifts_C: Tensor) -> Tensor:
    """Compute the CTC loss in which every class of a path is worth its own shift in nats, ``[B]``.

    A logit shift b normalises it away, ``sum_k p_k exp(b_k) = S`` in each frame; taking ``sum_t log S_t`` off
    again leaves ``-log sum_pi p(pi) exp(sum_t b_pi(t))``, whose gradient is p - gamma
    (docs/founding-document.md C1). The path domain of ``ops.ctc_loss`` is the same for the blank alone.

    Args:
        logits_TBC: raw logits.
        lengths_B: frames of each clip.
        batch: the targets.
        shifts_C: nats.
    """
    beyond_TB = ~ops.real_frames(lengths_B, len(logits_TBC))
    # like the op: float32 where the model emits less, and padding unheard, whatever it holds
    logits_TBC = logits_TBC.to(torch.promote_types(logits_TBC.dtype, torch.float32))
    logits_TBC = logits_TBC.masked_fill(beyond_TB[..., None], 0.0)
    shifted_TBC = logits_TBC + shifts_C.to(logits_TBC)
    losses_B = ops.ctc_loss(shifted_TBC, batch.targets_BS, lengths_B, batch.target_lengths_B)
    normaliser_TB = shifted_TBC.logsumexp(-1) - logits_TBC.logsumexp(-1)
    return losses_B - normaliser_TB.masked_fill(beyond_TB, 0.0).sum(0)


@contextmanager
def naming_diverged(head: str, logits_TBC: Tensor, lengths_B: Tensor, batch: Batch) -> Iterator[None]:
    """Say which clips it is where an op refuses logits that are not a number.

    Raises:
        TrainingError: the network has diverged.
    """
    try:
        yield
    except ValueError as error:
        real_TB = ops.real_frames(lengths_B, len(logits_TBC))
        spoilt_B = ((logits_TBC.isnan() | logits_TBC.isposinf()).any(-1) & real_TB).any(0).tolist()
        clips = [clip for clip, spoilt in zip(batch.clip_ids, spoilt_B, strict=True) if spoilt]
        if not clips:
            raise
        raise TrainingError(
            f"{head} head: the logits of clip {_first(clips)} are not numbers: the network has diverged; "
            "lower the learning rate, or look at the features of these clips"
        ) from error


def _first(clips: Sequence[str]) -> str:
    more = f" and {len(clips) - 3} more" if len(clips) > 3 else ""
    return ", ".join(clips[:3]) + more


def _not_finite(head: str, losses_B: Tensor, lengths_B: Tensor, batch: Batch) -> str:
    bad = [i for i, loss in enumerate(losses_B.tolist()) if not abs(loss) < float("inf")]
    shown = ", ".join(
        f"{batch.clip_ids[i]} (loss {losses_B[i].item()}, {int(lengths_B[i])} output frames for "
        f"{int(batch.target_lengths_B[i])} labels)"
        for i in bad[:3]
    )
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"{head} head: the CTC loss is not finite for clip {shown}{more}"
