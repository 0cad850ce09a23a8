"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import nn

from ctckit.actions import Action
from ctckit.engine.apply import Adjustments, apply
from ctckit.engine.augment import augment, crop
from ctckit.engine.evaluate import evaluate
from ctckit.engine.interrupt import Interrupt
from ctckit.engine.run import Run
from ctckit.engine.state import EpochTotals
from ctckit.engine.step import StepOutcome, parts_of, train_step
from ctckit.errors import CheckpointError, PluginError
from ctckit.record.epoch import Epoch
from ctckit.record.figures import epoch_row, table_of
from ctckit.record.history import RESUMABLE, Best, better_epoch
from ctckit.types import Batch, EpochResult, Finding, Sample, StepResult

SAMPLES = 5
"""Decoded dev clips that monitors are shown."""

Reason = Literal["finished", "stopped by a monitor", "out of time", "out of updates", "interrupted"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How training ended.

    Attributes:
        reason: in words.
        best: the best epoch, or None where none left the unigram plateau and emitted labels.
        resumable: whether ``--resume`` would go on.
    """

    reason: Reason
    best: Best | None
    resumable: bool


class Display(Protocol):
    """Shows a run to somebody. The loop calls it and never waits for an answer."""

    def step(self, result: StepResult) -> None:
        """One step was taken."""

    def epoch(self, epoch: Epoch, best: bool) -> None:
        """One epoch was judged; ``best`` if it was kept as the best."""

    def finding(self, finding: Finding, action: Action | None) -> None:
        """A monitor reported something, and perhaps had something done about it."""

    def sample(self, sample: Sample) -> None:
        """A monitor kept a decoded clip."""


def fit(run: Run, display: Display, *, max_seconds: float = float("inf"), max_updates: int | None = None) -> Ending:
    """Train until the phases are done, a monitor stops the run, time or updates are up, or somebody interrupts.

    Time ends training between two steps; updates end it after the epoch in which they are done.

    Whatever happens, ``checkpoints/last.pt`` is a state to resume from: between two epochs, or between two steps
    where the run was interrupted. On an error the weights before the failing step are kept as ``interrupted.pt``.
    """
    began = time.monotonic()
    epoch_seconds = 0.0
    if not run.clock.now.epoch:
        run.save("last")
    with Interrupt() as interrupt, keep_state_on_error(run):
        while True:
            if not run.clock.mid_epoch:
                left = max_seconds - (time.monotonic() - began)
                if run.state.adjustments.stop_training:
                    return end(run, "stopped by a monitor")
                if max_updates is not None and run.clock.now.update >= max_updates:
                    return end(run, "out of updates")
                if left <= 0 or (epoch_seconds and left < epoch_seconds):
                    return end(run, "out of time")
                if not start_epoch(run):
                    return end(run, "finished")
            for step in train_epoch(run):
                display.step(step)
                if interrupt.requested or time.monotonic() - began > max_seconds:
                    break
            if run.clock.mid_epoch:
                return end(run, "interrupted" if interrupt.requested else "out of time")
            result = judge(run)
            epoch_seconds = result.seconds
            conclude(run, result, display)
            if interrupt.requested:
                return end(run, "interrupted")


def start_epoch(run: Run) -> bool:
    """Begin the next epoch, entering the next phase where it is due; False when all phases are done."""
    phase = run.clock.next_phase(skip_rest=run.state.adjustments.stop_phase)
    if phase is None:
        return False
    entering = phase != run.clock.now.phase
    epoch = run.clock.now.epoch + 1
    share = run.phases[phase].clip_share(1 if entering else run.clock.now.phase_epoch + 1)
    run.clock.start_epoch(phase, run.train.batches_in(epoch, share=share))
    run.state.totals = EpochTotals()
    if entering:
        run.state.adjustments = Adjustments()
        run.configure_phase()
        bias = run.blank_bias()
        if run.phase.penalty and run.phase.penalty_begins:
            with run.naming("penalty", run.phase.penalty):
                run.phase.penalty.prepare(run.model)
        if run.clock.now.update == 0 or run.blank_bias() != bias:
            run.state.blank_bias_start = run.blank_bias()
    # Every epoch draws from its own stream, so that it does not matter what ran before it.
    torch.manual_seed(run.config.seed * 1_000_003 + epoch)
    return True


def train_epoch(run: Run) -> Iterator[StepResult]:
    """Take the steps of the epoch under way that are still to be taken."""
    run.train_mode()
    totals, penalty, at = run.state.totals, run.phase.penalty, run.clock.now
    began, before = time.monotonic(), totals.seconds
    share = run.phase.clip_share(at.phase_epoch)
    for batch in run.train.epoch(at.epoch, share=share, first_batch=at.batch):
        at = run.clock.now
        outcome, cropped = take_step(run, batch)
        totals.add(outcome, clips=len(batch.clip_ids), cropped=cropped)
        totals.seconds = before + time.monotonic() - began
        step = StepResult(at, outcome.loss, outcome.blank_mass, outcome.gradient_norm)
        if penalty:
            with run.naming("penalty", penalty):
                penalty.observe_step(step)
                penalty.observe_emissions(outcome.emissions)
        yield step


def take_step(run: Run, loaded: Batch) -> tuple[StepOutcome, int]:
    """Take one step with a batch as the phase under way says; also how many clips were cropped."""
    settings, views = run.phase.settings, run.phase.views
    max_frames = run.state.adjustments.max_frames or settings.max_frames
    kept, cropped = (loaded, 0) if max_frames is None else crop(loaded, max_frames, run.model)
    batch = augment(kept.to(run.device), settings, views=views)
    run.set_learning_rate()
    objective = run.objective()
    with run.naming("model", run.model):
        outcome = train_step(
            run.model,
            run.optimizer,
            batch,
            objective=objective,
            gradient_clip=run.config.gradient_clip,
        )
    run.clock.finish_batch(int(kept.lengths_B.sum()))
    return outcome, cropped


def judge(run: Run) -> EpochResult:
    """Score the finished epoch on a fixed part of the training corpus and on dev, under the shift in force."""
    began = time.monotonic()
    totals, settings = run.state.totals, run.phase.settings
    run.state.judged_shift = shift = run.evaluation_shift()
    train, dev = (
        evaluate(run.model, part, run.tokens, shift=shift, device=run.device)
        for part in (run.train_sample, run.dev)
    )
    steps = max(totals.steps, 1)
    result = EpochResult(
        at=run.clock.now,
        train_loss=totals.loss / steps,
        train=train.scores,
        val=dev.scores,
        auxiliary_losses={name: total / steps for name, total in sorted(totals.auxiliary.items())},
        plateau_loss=run.plateau_loss,
        gradient_norm=totals.gradient_norm / steps,
        learning_rate=run.last_learning_rate(),
        shift=run.shift(),
        domain=run.domain,
        dropout=settings.dropout if run.state.adjustments.dropout is None else run.state.adjustments.dropout,
        max_frames=run.state.adjustments.max_frames or settings.max_frames,
        cropped=totals.cropped,
        seconds=totals.seconds + time.monotonic() - began,
        samples=dev.hypotheses[:SAMPLES],
        terms={name: total / steps for name, total in sorted(totals.terms.items())},
        clips=totals.clips,
        module_gradients={
            part: totals.module_gradients[part] / steps if part in totals.module_gradients else None
            for part in parts_of(run.model)
        },
        module_weights={part: nn.utils.get_total_norm(own).item() for part, own in parts_of(run.model).items()},
        blank_bias=run.blank_bias(),
        blank_bias_start=run.state.blank_bias_start,
    )
    return run.measured(result)


def conclude(run: Run, result: EpochResult, display: Display) -> None:
    """Record the epoch, let the components learn from it, apply what monitors ask for, and save."""
    row = epoch_row(result)
    run.history.append("epoch", **row)
    epoch = Epoch.from_row(row, f"epoch {result.at.epoch}", table_of(run.figures))
    better = better_epoch(epoch, run.state.best)
    run.state.best = better or run.state.best
    display.epoch(epoch, better is not None)
    with run.naming("schedule", run.phase.schedule):
        run.phase.schedule.observe(result)
    if run.phase.penalty:
        with run.naming("penalty", run.phase.penalty):
            run.phase.penalty.observe(result)
    for name, regularizer in run.phase.regularizers.items():
        with run.naming(f"regularizer '{name}'", regularizer):
            regularizer.observe(result)
    for name, monitor in run.monitors.items():
        with run.naming(f"monitor '{name}'", monitor):
            outcomes = monitor.observe(result)
            if not isinstance(outcomes, Sequence):
                raise PluginError(
                    f"{type(monitor).__name__}.observe returned {outcomes!r}; return a list of findings and actions"
                )
            for outcome in outcomes:
                if not isinstance(outcome, (Action, Finding, Sample)):
                    raise PluginError(
                        f"{type(monitor).__name__}.observe returned {outcome!r} in its list; "
                        "return findings, actions and samples"
                    )
                if isinstance(outcome, Action):
                    run.state.adjustments = apply(outcome, run.state.adjustments)
                run.note(name, outcome)
                if isinstance(outcome, Sample):
                    display.sample(outcome)
                elif isinstance(outcome, Action):
                    display.finding(outcome.finding, outcome)
                else:
                    display.finding(outcome, None)
    run.configure_phase()
    keep, run.state.adjustments = run.state.adjustments.keep, replace(run.state.adjustments, keep=())
    for name in (*keep, *(["best"] if better else []), "last"):
        run.save(name)


def end(run: Run, reason: Reason) -> Ending:
    """Write the last checkpoint where an epoch was left in the middle, and the history's closing row."""
    resumable = reason in RESUMABLE
    if run.clock.mid_epoch:
        run.state.judged_shift = run.evaluation_shift()
        run.save("last")
    best = run.state.best
    run.history.append(
        "end",
        reason=reason,
        epoch=run.clock.now.epoch,
        best_epoch=best.epoch if best else None,
        best_val_wer=best.val_wer if best else None,
        target_wer=run.config.target_wer,
        target_reached=best is not None and best.val_wer <= run.config.target_wer,
    )
    return Ending(reason, best, resumable)


@contextmanager
def keep_state_on_error(run: Run) -> Iterator[None]:
    """On an error between two steps, keep the state, then let the error go on.

    Elsewhere the epoch is done and half recorded: the last checkpoint is what to go on from.
    """
    try:
        yield
    except Exception as error:
        if run.clock.mid_epoch:
            try:
                error.add_note(f"the weights before it are kept in {run.save('interrupted')}")
            except CheckpointError as second:
                error.add_note(f"the weights before it could not be kept: {second}")
        raise
