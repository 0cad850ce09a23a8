"""Shows a run on the terminal: a progress line with the time left, and one line an epoch."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ctckit.actions import Action
from ctckit.types import EpochResult, Finding, StepResult

STYLES = {"info": "cyan", "warning": "yellow", "error": "bold red"}


class ConsoleDisplay:
    """Writes to standard error, so that standard output stays free for what a program reads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
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
        self._console.print(
            "epoch  phase            loss  plateau      dev     WER   S/D/I %       "
            "  blank % (1-U/T)   labels    lr       shift"
        )
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

    def epoch(self, result: EpochResult, best: bool) -> None:
        """Print the epoch's line."""
        val = result.val
        kinds = f"{val.substitution_rate:.0f}/{val.deletion_rate:.0f}/{val.insertion_rate:.0f}"
        line = (
            f"{result.at.epoch:5d}  {result.at.phase:<14}{result.train.loss:7.3f}  {result.plateau_loss:7.3f}"
            f"{val.loss:9.3f}{val.wer:8.2f}   {kinds:<14}{val.blank_ratio:7.1f}  ({val.blank_reference:.1f})"
            f"{val.unique_nonblank:13d}    {result.learning_rate:<8.2g} {result.shift:<6.3g}"
        )
        marks = ("*" if best else "") + (" on the plateau" if result.on_plateau else "")
        self._console.print(f"{line} {marks}")

    def finding(self, finding: Finding, action: Action | None) -> None:
        """Print a finding, and what was done about it."""
        done = f" -> {type(action).__name__}" if action else ""
        advice = f" ({finding.advice})" if finding.advice else ""
        style = STYLES[finding.severity]
        # the message may hold square brackets, so that only what stands here is styled
        self._console.print("      ", Text(finding.severity, style), finding.message + advice + done)
