"""Random problems for the ops: every shape, every trap that the contracts name."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor


class Problem(NamedTuple):
    logits: Tensor
    targets: Tensor
    lengths: Tensor
    target_lengths: Tensor
    shift: float


KINDS = ("normal", "ties", "huge", "minus infinity", "peaked", "all equal", "dead frames")
LAYOUTS = ("TBC", "BTC", "BCT", "CTB", "every other")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def logits_of(kind: str, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    logits = torch.randn(shape, generator=generator)
    chance = torch.rand(shape, generator=generator)
    if kind == "ties":
        return (logits * 2).round()
    if kind == "huge":
        return logits * 1e4
    if kind == "minus infinity":
        return (3 * logits).masked_fill(chance < 0.4, -torch.inf)
    if kind == "peaked":
        return logits + 20 * (chance > 0.9)
    if kind == "all equal":
        return torch.full(shape, -3.25)
    if kind == "dead frames":
        return logits.masked_fill(chance[..., :1] < 0.1, -torch.inf)
    return 3 * logits


def with_layout(logits: Tensor, layout: str) -> Tensor:
    """The same values under other strides."""
    if layout == "BTC":
        return logits.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "BCT":
        return logits.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    if layout == "CTB":
        return logits.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    if layout == "every other":
        wide = logits.new_full((logits.shape[0] * 2, logits.shape[1], logits.shape[2] * 2), 777.0)
        wide[::2, :, ::2] = logits
        return wide[::2, :, ::2]
    return logits


def make(
    kind: str = "normal",
    shape: tuple[int, int, int] = (20, 3, 33),
    width: int = 5,
    layout: str = "TBC",
    dtype: torch.dtype = torch.float32,
    shift: float = 0.0,
    seed: int = 0,
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    frames, batch, classes = shape
    logits = with_layout(logits_of(kind, shape, generator).to(dtype), layout)
    # Few distinct labels, so that repeats are common.
    targets = torch.randint(1, min(classes, 4), (batch, width), generator=generator)
    target_lengths = torch.randint(0, width + 1, (batch,), generator=generator)
    padding = torch.arange(width) >= target_lengths.unsqueeze(1)
    lengths = torch.randint(0, frames + 1, (batch,), generator=generator)
    if batch:
        lengths[-1] = frames
    return Problem(logits, targets.masked_fill(padding, -1), lengths, target_lengths, shift)


@st.composite
def problems(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, kinds: tuple[str, ...] = KINDS) -> Problem:
    classes = draw(st.sampled_from([2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 97, 130]))
    shape = (draw(st.integers(0, 24)), draw(st.integers(1, 4)), classes)
    return make(
        draw(st.sampled_from(kinds)),
        shape,
        draw(st.integers(0, 9)),
        draw(st.sampled_from(LAYOUTS)),
        draw(st.sampled_from(dtypes)),
        draw(st.sampled_from([0.0, -0.5, -3.0, 1.25, -60.0])),
        draw(st.integers(0, 2**20)),
    )
