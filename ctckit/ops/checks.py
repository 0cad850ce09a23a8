"""Refuses arguments of the wrong type, shape or device before any kernel sees them.

What takes a look at the values (lengths beyond T, labels outside the classes, NaN) is checked by the kernels,
which read them anyway. Whatever is wrong with an argument, it is a ValueError: callers catch one thing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctckit.ops.automata import Automaton, Lexicon

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_RECORD_DTYPES = {
    "starts": torch.int64,
    "weights": torch.float32,
    "failure_weights": torch.float32,
    "finals": torch.float32,
}
"""Of what `check_record` reads; the rest is int32."""


def check_logits(logits: Tensor) -> None:
    """[T, B, C] of a supported float type with a blank and at least one other class."""
    if not isinstance(logits, Tensor):
        raise ValueError(f"logits: expected a tensor, not {type(logits).__name__}")  # noqa: TRY004
    if logits.dim() != 3:
        raise ValueError(f"logits: expected [T, B, C], not {list(logits.shape)}")
    if logits.dtype not in _FLOATS:
        raise ValueError(f"logits: {logits.dtype} is not float32, bfloat16, float16 or float64")
    if logits.shape[2] < 2:
        raise ValueError(f"logits: {logits.shape[2]} classes leave none beside the blank")


def check_integers(name: str, values: Tensor, shape: tuple[int | None, ...], device: torch.device) -> None:
    """An int64 tensor of this shape (None: any size) on this device."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name}: expected a tensor, not {type(values).__name__}")  # noqa: TRY004
    if values.dtype != torch.int64:
        raise ValueError(f"{name}: expected int64, not {values.dtype}")
    fits = values.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(values.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: expected shape [{wanted}], not {list(values.shape)}")
    if values.device != device:
        raise ValueError(f"{name}: is on {values.device}, the logits are on {device}")


def check_finite(name: str, value: float) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, not {value!r}")
    return float(value)


def check_shift(shift: float) -> float:
    """A finite number of nats."""
    if not math.isfinite(shift):
        raise ValueError(f"shift: expected a finite number, not {shift!r}")
    return float(shift)


def check_count(name: str, value: int, most: int) -> int:
    """A whole number from 1 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{name}: expected a whole number from 1 to {most}, not {value!r}")
    return value


def check_record(name: str, record: Automaton | Lexicon, kind: type[Automaton | Lexicon]) -> list[Tensor]:
    """The tensors of a record in its order: on the CPU, each of the type and size that the record says."""
    if not isinstance(record, kind):
        raise ValueError(f"{name}: expected {kind.__name__}, not {type(record).__name__}")  # noqa: TRY004
    sizes = {"N1": -1, "N": -1, "A": -1}  # a field's name ends in its size
    tensors = {field: value for field, value in record._asdict().items() if field.rpartition("_")[2] in sizes}
    for field, values in tensors.items():
        what, _, size = field.rpartition("_")
        dtype = _RECORD_DTYPES.get(what, torch.int32)
        if not isinstance(values, Tensor) or values.dim() != 1 or values.dtype != dtype or not values.is_cpu:
            raise ValueError(f"{name}.{field}: expected a tensor of {dtype} with one dimension, on the CPU")
        if sizes[size] < 0:
            sizes[size] = len(values)
            if size == "N1":
                sizes["N"] = len(values) - 1
        if len(values) != sizes[size]:
            raise ValueError(f"{name}.{field}: expected {sizes[size]} elements, not {len(values)}")
    return [values.contiguous() for values in tensors.values()]


def check_stats(best: Tensor, best_logit: Tensor, blank_logit: Tensor) -> None:
    """The tensors of a FrameStats that sweep reads."""
    if best.dim() != 2 or best.dtype != torch.int64:
        raise ValueError("stats: best_TB is not an int64 tensor [T, B]")
    for name, values in (("best_logit_TB", best_logit), ("blank_logit_TB", blank_logit)):
        if values.shape != best.shape or values.device != best.device:
            raise ValueError(f"stats: {name} does not match best_TB")
        if values.dtype not in (torch.float32, torch.float64) or values.dtype != best_logit.dtype:
            raise ValueError(f"stats: {name} is {values.dtype}")
