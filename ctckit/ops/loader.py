"""Chooses the kernels once, at the first op: the compiled library where it can be had, else the reference."""

from __future__ import annotations

import functools

from ctckit.ops import registration
from ctckit.ops.results import Backend


@functools.cache
def load() -> Backend:
    """Load the kernels that CTCKIT_OPS asks for; done once a process."""
    for key in ("CPU", "CUDA"):
        registration.register_reference(key)
    return Backend("reference", "the compiled kernels are not built yet.", "none", "none")
