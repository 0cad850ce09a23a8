"""Prints the peak of extra memory of one loss and its gradient, in bytes: `python memory.py ours|torch T B C U`.

A process of its own, because the peak is the kernel's own account of this process (VmHWM), scratch and all.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import rivals
import torch

from ctckit import ops


def status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def main() -> None:
    who, *sizes = sys.argv[1:]
    frames, batch, classes, width = map(int, sizes)
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD: what is freed goes back at once, and is counted again

    def step(leaf: torch.Tensor) -> None:
        size = leaf.shape[1]
        targets = torch.randint(1, classes, (size, width))
        rest = (targets, torch.full((size,), leaf.shape[0]), torch.full((size,), width))
        leaf.grad = None
        if who == "ours":
            ops.ctc_loss(leaf, *rest).sum().backward()
        else:
            rivals.ctc_loss_and_gradient(leaf, *rest)

    step(torch.randn(width * 3, 2, classes, requires_grad=True))  # threads, libraries and small pools exist now
    leaf = torch.randn(frames, batch, classes).requires_grad_()
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = status("VmRSS")
    step(leaf)
    print(status("VmHWM") - before)


main()
