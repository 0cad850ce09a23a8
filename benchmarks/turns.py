"""Timing in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def interleaved(
    rivals: dict[str, Callable[[], object]], rounds: int = 9, before: Callable[[], object] | None = None
) -> dict[str, float]:
    """Median milliseconds of each rival. They take turns, so that whatever disturbs the machine disturbs all."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for rival in rivals.values():
        rival()
    for _ in range(rounds):
        for name, rival in rivals.items():
            if before is not None:
                before()
            begin = time.perf_counter()
            rival()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}
