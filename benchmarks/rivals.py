"""The idioms that the kernels are measured against, as people write them in torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shifted(logits: Tensor, shift: float) -> Tensor:
    logits = logits.clone()
    logits[..., 0] += shift
    return logits


def log_softmax_and_path(logits: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    log_probs = shifted(logits, shift).log_softmax(-1)
    return log_probs, log_probs.argmax(-1)


def greedy(logits: Tensor, lengths: Tensor, shift: float) -> list[list[int]]:
    """Shift, log_softmax, argmax, collapse: tokens alone, without spans and scores."""
    _, path = log_softmax_and_path(logits, shift)
    decoded = []
    for utterance, length in zip(path.t(), lengths.tolist(), strict=True):
        runs = torch.unique_consecutive(utterance[:length])
        decoded.append(runs[runs != 0].tolist())
    return decoded


def ctc_loss_and_gradient(leaf: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor) -> Tensor:
    leaf.grad = None
    losses = F.ctc_loss(leaf.log_softmax(-1), targets, lengths, target_lengths, reduction="none")
    losses.sum().backward()
    return losses
