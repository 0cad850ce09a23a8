"""The training loss: CTC of the main head and of every auxiliary head, per reference token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ctckit import ops
from ctckit.errors import TrainingError
from ctckit.types import Batch, Domain, Emissions


@dataclass(frozen=True, slots=True)
class LossParts:
    """A batch's loss and what it is made of.

    Attributes:
        total: what is minimised, a scalar with gradient: the weighted sum over heads, nats per token.
        main: the main head's share of it, detached scalar.
        auxiliary: each auxiliary head's own loss without its weight, detached scalars.
    """

    total: Tensor
    main: Tensor
    auxiliary: Mapping[str, Tensor]


def training_loss(emissions: Emissions, batch: Batch, *, shift: float, domain: Domain) -> LossParts:
    """Compute the loss of a batch.

    Sums over clips and divides by the batch's reference tokens, so that a token weighs the same in a batch of
    short clips as in one of long ones. The shift acts on every head alike.

    Raises:
        TrainingError: a clip's loss is not finite; names the clips.
    """
    tokens = batch.target_lengths_B.sum()

    def head(name: str, logits_TBC: Tensor, lengths_B: Tensor) -> Tensor:
        with naming_diverged(name, logits_TBC, lengths_B, batch):
            losses_B = ops.ctc_loss(
                logits_TBC, batch.targets_BS, lengths_B, batch.target_lengths_B, shift=shift, domain=domain
            )
        if not bool(torch.isfinite(losses_B).all()):
            raise TrainingError(_not_finite(name, losses_B, lengths_B, batch))
        return losses_B.sum() / tokens

    main = head("main", emissions.logits_TBC, emissions.lengths_B)
    total = main
    auxiliary = {}
    for aux in emissions.auxiliary:
        loss = head(aux.name, aux.logits_TBC, aux.lengths_B)
        total = total + aux.weight * loss
        auxiliary[aux.name] = loss.detach()
    return LossParts(total, main.detach(), auxiliary)


@contextmanager
def naming_diverged(head: str, logits_TBC: Tensor, lengths_B: Tensor, batch: Batch) -> Iterator[None]:
    """Say which clips it is where an op refuses logits that are not a number.

    Raises:
        TrainingError: the network has diverged.
    """
    try:
        yield
    except ValueError as error:
        real_TB = torch.arange(logits_TBC.shape[0], device=lengths_B.device)[:, None] < lengths_B[None]
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
