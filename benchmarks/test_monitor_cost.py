"""What is measured for monitors alone, as a share of the epoch in which it is measured.

The parts are timed inside real epochs, by wrapping them, so that they pay for the caches and pages that they find
there: of each step the mean blank posterior, and what gradient norms by part cost more than the one norm that
clipping needs; of the evaluation the sums over frames (blank shares, blank mass, entropy) and label coverage; of
the epoch the weights' norms, all monitors of the recipe, and the doctor's state for the checkpoint. The doctor is
timed in epoch 1 and in epoch 200, and the later one is counted. Seconds are those that the processor spent on this
process, so that others on the machine tilt nothing.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from test_epoch import SETTINGS, corpora, make_run, one_thread
from torch import nn

from ctckit import EpochResult, scoring
from ctckit.engine import loop, step
from ctckit.engine.run import Run
from ctckit_doctor.monitor import Doctor

__all__ = ["one_thread"]

LIMIT = 0.02
"""Share of an epoch that everything for monitors may take."""

LATE = 200
EPOCHS = 3


class Stopwatch:
    """Adds up the seconds that wrapped functions take."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.overhead = 0.0
        self.calls = 0

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed under ``name``."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            result = function(*arguments, **options)
            self.seconds[name] += time.process_time() - began
            return result

        return timed

    def beyond_one_norm(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``gradient_norms``, timed less the one norm that clipping needs in any case."""

        def plain(model: nn.Module) -> Any:
            return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])

        def timed(model: nn.Module) -> Any:
            # who comes first pays for gradients that are not in the cache, so they take turns
            self.calls += 1
            spent = {}
            for rival in (function, plain) if self.calls % 2 else (plain, function):
                began = time.process_time()
                result = rival(model)
                spent[rival] = time.process_time() - began
                if rival is function:
                    answer = result
            self.seconds[name] += spent[function] - spent[plain]
            self.overhead += spent[plain]
            return answer

        return timed


def timed_epoch(run: Run, watch: Stopwatch) -> tuple[float, EpochResult]:
    """Train and judge one epoch; return its seconds, less what the stopwatch added, and its result."""
    before = watch.overhead
    began = time.process_time()
    loop.start_epoch(run)
    for _ in loop.train_epoch(run):
        pass
    result = loop.judge(run)
    return time.process_time() - began - (watch.overhead - before), result


def observing(doctor: Doctor, result: EpochResult, epoch: int) -> float:
    """Seconds that the doctor takes for one epoch, its state for the checkpoint included."""
    at = replace(result.at, epoch=epoch, epochs=LATE)
    began = time.process_time()
    doctor.observe(replace(result, at=at))
    doctor.state_dict()
    return time.process_time() - began


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["digits", "an4"])
def test_monitors_cost_next_to_nothing(
    name: str, tmp_path: Path, table: Any, benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, dev = corpora(name, tmp_path)
    run = make_run(train, dev, SETTINGS[name], tmp_path / "run")
    watch = Stopwatch()
    monkeypatch.setattr(step, "mean_blank_mass", watch.of("blank mass", step.mean_blank_mass))
    monkeypatch.setattr(step, "gradient_norms", watch.beyond_one_norm("gradients by part", step.gradient_norms))
    monkeypatch.setattr(scoring, "frame_sums", watch.of("sums over frames", scoring.frame_sums))
    monkeypatch.setattr(scoring, "by_band", watch.of("coverage", scoring.by_band))
    monkeypatch.setattr(loop, "parts_of", watch.of("weights by part", loop.parts_of))
    timed_epoch(run, watch)  # the first one reads the corpora
    epochs = []
    for _ in range(EPOCHS):
        watch.seconds.clear()
        seconds, result = timed_epoch(run, watch)
        # where norms by part are cheaper than torch's own total, that is no credit to the others
        epochs.append((seconds, Counter({part: max(spent, 0.0) for part, spent in watch.seconds.items()})))
    others = [monitor for monitor in run.monitors.values() if not isinstance(monitor, Doctor)]
    for monitor in others:
        monitor.observe(result)  # the first time imports what a run imports once
    began = time.process_time()
    for monitor in others:
        monitor.observe(result)
    rest = time.process_time() - began
    Doctor().observe(result)
    doctor = Doctor()
    times = [observing(doctor, result, epoch) for epoch in range(1, LATE + 1)]
    early, late = times[0], median(times[-20:])
    assert len(json.dumps(doctor.state_dict())) < 20_000

    shares = [(sum(parts.values()) + rest + late) / seconds for seconds, parts in epochs]
    share = median(shares)
    seconds, parts = epochs[shares.index(share)]
    listed = ", ".join(f"{part} {100.0 * spent / seconds:.2f} %" for part, spent in parts.most_common())
    note = f"epoch {seconds:.2f} s: {listed}; doctor {1e3 * early:.2f} ms in epoch 1, {1e3 * late:.2f} ms in {LATE}"
    table.add(f"monitors, {name}: share of an epoch", share, goal=LIMIT, unit="", note=note, more_is_better=False)
    benchmark.extra_info["seconds"] = {"epoch": seconds, **parts, "doctor early": early, "doctor late": late}
    benchmark.pedantic(lambda: doctor.observe(replace(result, at=replace(result.at, epoch=LATE + 1))), rounds=5)
    assert share < LIMIT
    assert late < 3.0 * early + 1e-3  # no dependence on the length of the past
    assert torch.get_num_threads() == 1
