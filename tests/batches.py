"""Batches for tests of what takes one."""

from __future__ import annotations

import torch

from ctckit import Batch


def batch_of(targets: list[list[int]], frames: list[int], width: int = 3) -> Batch:
    longest = max(map(len, targets))
    return Batch(
        clip_ids=tuple(f"clip-{n}" for n in range(len(targets))),
        features_BTF=torch.ones(len(targets), max(frames), width),
        lengths_B=torch.tensor(frames),
        targets_BS=torch.tensor([target + [-1] * (longest - len(target)) for target in targets]),
        target_lengths_B=torch.tensor([len(target) for target in targets]),
    )
