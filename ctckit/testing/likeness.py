"""Whether two values are the same, for anything that a component may hold."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch


def attributes_of(component: object) -> Any:
    """Return a deep copy of all that an object holds, slots included."""
    return copy.deepcopy(component.__getstate__())


def same(one: Any, other: Any) -> bool:
    """Compare by content; not-a-number equals itself, objects without ``==`` are compared by what they hold."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.equal(other)
    if isinstance(one, (bool, int, float, complex, str, bytes, type(None))):
        return repr(one) == repr(other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Set):
        return bool(one == other)
    if isinstance(one, Sequence):
        return len(one) == len(other) and all(map(same, one, other))
    if callable(one) or type(one).__module__ == "numpy":
        return repr(one) == repr(other)
    return same(one.__getstate__(), other.__getstate__())


def difference(before: Any, after: Any) -> list[str]:
    """Name the attributes that differ between two results of ``attributes_of``."""
    if isinstance(before, tuple):
        return [name for old, new in zip(before, after, strict=True) for name in difference(old, new)]
    old, new = before or {}, after or {}
    return sorted(
        name for name in {*old, *new} if name not in old or name not in new or not same(old[name], new[name])
    )
