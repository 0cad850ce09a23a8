"""What a long clip costs: `ctckit.long_alignment` beside `ctckit.ops.align`, each in a process of its own.

    python benchmarks/long_alignment.py FRAMES LABELS (path|long) [SEED]

Random logits of 30 classes and random labels. Prints seconds, the peak of resident memory above what the logits and
the imports take, and a hash of the spans, which is the same for both.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time

import torch

from ctckit import ops
from ctckit.long_alignment import long_spans

CLASSES = 30


def main(frames: int, labels: int, way: str, seed: int) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    logits_TBC = torch.randn(frames, 1, CLASSES, generator=generator)
    targets_BS = torch.randint(1, CLASSES, (1, labels), generator=generator)
    ops.align(logits_TBC[:2], targets_BS[:, :1], torch.tensor([2]), torch.tensor([1]))
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if way == "long":
        spans = long_spans(logits_TBC[:, 0], targets_BS[0], 0.0)
    else:
        path = ops.align(logits_TBC, targets_BS, torch.tensor([frames]), torch.tensor([labels]))
        spans = list(zip(path.starts_BS[0].tolist(), path.ends_BS[0].tolist(), strict=True))
    seconds = time.perf_counter() - begun
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    digest = hashlib.sha256(repr(spans).encode()).hexdigest()[:8]
    print(f"{way}: T={frames} U={labels}: {seconds:.1f} s, {peak:.0f} MiB, spans {digest}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
