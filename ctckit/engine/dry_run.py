"""Three steps at full size: what a run will cost, before it is begun."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from ctckit.data import Loader
from ctckit.engine.loop import take_step
from ctckit.engine.run import Run
from ctckit.types import Batch

STEPS = 3


@dataclass(frozen=True, slots=True)
class DryRun:
    """What three steps cost.

    Attributes:
        step_seconds: of each step; the first is on the longest clips and pays for warming up.
        loss: of each step, nats per token.
        longest_frames: padded length of the first step's batch, input frames.
        peak_memory_mb: largest memory so far, of the process on the CPU, of tensors on CUDA, MiB.
        epoch_seconds: training time of an epoch, from the later steps' time per batch; evaluation comes on top.
        batches: of an epoch.
        parameters: of the model.
    """

    step_seconds: tuple[float, ...]
    loss: tuple[float, ...]
    longest_frames: int
    peak_memory_mb: float
    epoch_seconds: float
    batches: int
    parameters: int

    def describe(self) -> str:
        """Say it in words."""
        steps = ", ".join(f"{seconds:.2f}" for seconds in self.step_seconds)
        losses = ", ".join(f"{loss:.3f}" for loss in self.loss)
        return (
            f"{len(self.step_seconds)} steps: {steps} s "
            f"(the first warms up, on the longest clips: {self.longest_frames} frames)\n"
            f"loss: {losses} nats per token\n"
            f"peak memory: {self.peak_memory_mb:.0f} MiB, {self.parameters / 1e6:.1f} M parameters\n"
            f"an epoch: {self.batches} batches, about {self.epoch_seconds:.0f} s of training, evaluation on top\n"
            "nothing was written"
        )


def dry_run(run: Run, longest: Loader) -> DryRun:
    """Take three steps of the first phase: on the longest clips, then on the first two batches of epoch 1.

    Raises:
        TrainingError: the loss or a gradient is not finite.
    """
    batches = run.train.batches_in(1)
    run.clock.start_epoch(next(iter(run.phases)), batches)
    run.configure_phase()
    if run.phase.penalty:
        run.phase.penalty.prepare(run.model)
    run.train_mode()
    seconds, losses, longest_frames = [], [], 0
    for batch in _batches(run, longest):
        longest_frames = max(longest_frames, batch.features_BTF.shape[1])
        began = time.perf_counter()
        outcome, _ = take_step(run, batch)
        seconds.append(time.perf_counter() - began)
        losses.append(outcome.loss)
    later = seconds[1:] or seconds
    return DryRun(
        step_seconds=tuple(seconds),
        loss=tuple(losses),
        longest_frames=longest_frames,
        peak_memory_mb=_peak_memory(run.device),
        epoch_seconds=batches * sum(later) / len(later),
        batches=batches,
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
    )


def _batches(run: Run, longest: Loader) -> Iterator[Batch]:
    yield from islice(longest.epoch(0), 1)
    yield from islice(run.train.epoch(1), STEPS - 1)


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
