"""How many CPU threads a step is fastest with. For small recurrent models it is one, by a factor of several."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import torch

from ctckit import ops
from ctckit.engine.run import Run
from ctckit.interfaces import Model
from ctckit.loss import Objective, training_loss
from ctckit.types import Batch

REPEATS = 3
ENOUGH_SECONDS = 1.0
"""A step this long is measured well enough by one."""


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """The number of threads chosen, and the time of a step with each number tried, in seconds."""

    threads: int
    seconds: dict[int, float]


def choose_threads(run: Run) -> ThreadChoice:
    """Time a batch of a run with one thread and with all; see `fastest_threads`."""
    batch = next(run.train.epoch(0))
    run.train.close()  # workers started here would take a Ctrl-C as their own
    return fastest_threads(run.model, batch)


def fastest_threads(model: Model, batch: Batch) -> ThreadChoice:
    """Time forward and backward of one batch with one thread and with all, and set torch to the faster.

    Works on a copy of the model and in a forked random state, so that nothing else changes. Timings differ from
    machine to machine and threads change the last bits of sums: give a number for exact repetition.
    """
    ops.backend()  # compiled now, if ever, and not within the first candidate's time
    everything = torch.get_num_threads()
    seconds = {}
    with torch.random.fork_rng(devices=[]):
        trained = copy.deepcopy(model).train()
        for threads in {1, everything}:
            torch.set_num_threads(threads)
            timings: list[float] = []
            while len(timings) < REPEATS and sum(timings) < ENOUGH_SECONDS:
                began = time.perf_counter()
                loss = training_loss(trained(batch.features_BTF, batch.lengths_B), batch, Objective())
                torch.autograd.backward(loss.total)
                timings.append(time.perf_counter() - began)
            seconds[threads] = min(timings)
    fastest = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(fastest)
    return ThreadChoice(fastest, seconds)
