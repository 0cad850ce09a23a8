"""The clock: the only writer of epoch, update, batch and frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ctckit.errors import CheckpointError
from ctckit.types import Progress


class Clock:
    """Counts through the phases of a run, and hands out frozen ``Progress`` records.

    Args:
        phase_epochs: epochs of each phase, by name, in order.
    """

    def __init__(self, phase_epochs: Mapping[str, int]) -> None:
        self._phase_epochs = dict(phase_epochs)
        self.now = Progress(epoch=0, phase="", phase_epoch=0, phase_epochs=0, epochs=sum(phase_epochs.values()))

    def next_phase(self, *, skip_rest: bool = False) -> str | None:
        """Return the phase of the epoch to come, or None after the last.

        Args:
            skip_rest: leave the phase under way although it has epochs left.
        """
        phases = list(self._phase_epochs)
        if not self.now.phase:
            return phases[0]
        if self.now.phase_epoch < self.now.phase_epochs and not skip_rest:
            return self.now.phase
        following = phases.index(self.now.phase) + 1
        return phases[following] if following < len(phases) else None

    @property
    def mid_epoch(self) -> bool:
        """Whether the epoch under way has batches left."""
        return self.now.batch < self.now.batches

    def start_epoch(self, phase: str, batches: int) -> Progress:
        """Begin the next epoch, in ``phase``."""
        entering = phase != self.now.phase
        phases = list(self._phase_epochs)
        ahead = sum(self._phase_epochs[name] for name in phases[phases.index(phase) :])
        self.now = replace(
            self.now,
            epoch=self.now.epoch + 1,
            # what a phase was spared is not owed
            epochs=self.now.epoch + ahead if entering else self.now.epochs,
            phase=phase,
            phase_epoch=1 if entering else self.now.phase_epoch + 1,
            phase_epochs=self._phase_epochs[phase],
            batch=0,
            batches=batches,
        )
        return self.now

    def finish_batch(self, frames: int) -> Progress:
        """Count one optimiser step over ``frames`` real input frames."""
        self.now = replace(
            self.now, batch=self.now.batch + 1, update=self.now.update + 1, frames=self.now.frames + frames
        )
        return self.now

    def state_dict(self) -> dict[str, Any]:
        """Return the counters and the plan that they count through."""
        return {"now": asdict(self.now), "phase_epochs": dict(self._phase_epochs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the counters.

        Raises:
            CheckpointError: the checkpoint counts through other phases.
        """
        if state["phase_epochs"] != self._phase_epochs:
            raise CheckpointError(
                f"the checkpoint has phases {state['phase_epochs']}, the configuration {self._phase_epochs}; "
                "resume with the configuration of the run"
            )
        self.now = Progress(**state["now"])
