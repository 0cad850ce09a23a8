"""All alignments of a small target, by definition."""

from __future__ import annotations

import itertools

import torch
from hypothesis import strategies as st
from torch import Tensor

from ctckit import Batch, Emissions
from ctckit.testing import make_progress

AT = make_progress()


def paths_of(target: tuple[int, ...], frames: int, classes: int) -> list[tuple[int, ...]]:
    """All alignments of a target, by definition."""

    def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(label for label, _ in itertools.groupby(path) if label)

    return [path for path in itertools.product(range(classes), repeat=frames) if collapsed(path) == target]


def one_clip(logits_TC: Tensor, target: tuple[int, ...]) -> tuple[Emissions, Batch]:
    lengths_B = torch.tensor([len(logits_TC)])
    batch = Batch(("clip",), logits_TC[None], lengths_B, torch.tensor([target]), torch.tensor([len(target)]))
    return Emissions(logits_TC[:, None], lengths_B), batch


def log_weights(logits_TC: Tensor, target: tuple[int, ...]) -> Tensor:
    """Log-probability of every path, with gradient."""
    log_probs_TC = logits_TC.log_softmax(-1)
    frames = torch.arange(len(logits_TC))
    return torch.stack(
        [log_probs_TC[frames, torch.tensor(path)].sum() for path in paths_of(target, *logits_TC.shape)]
    )


small = st.tuples(st.integers(3, 5), st.sampled_from([(1,), (1, 2), (2, 2)]), st.integers(0, 999))
