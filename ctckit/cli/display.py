"""Shows a run on the terminal: a progress line with the time left, and one line an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ctckit.lines import Lines
from ctckit.types import Figure, StepResult


class ConsoleDisplay(Lines):
    """Writes to standard error, so that standard output stays free for what a program reads.

    Args:
        console: to write to.
        figures: of the run beside ctckit's own.
        verbose: whether notes and samples are shown too.
    """

    def __init__(self, console: Console, figures: Sequence[Figure] = (), *, verbose: bool = False) -> None:
        super().__init__(console, figures, verbose=verbose)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.2f} of {task.total} epochs"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, loss="")

    def __enter__(self) -> Self:
        self.head()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, result: StepResult) -> None:
        """Move the bar."""
        at = result.at
        self._bar.update(
            self._task,
            description=at.phase,
            total=at.epochs,
            completed=at.epoch - 1 + (at.batch + 1) / at.batches,
            loss=f"loss {result.loss:.3f}",
        )
