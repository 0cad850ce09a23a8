"""Shows a run on the terminal: a progress line with the time left, and one line an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ctckit.actions import Action
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES
from ctckit.types import DASH, Figure, Finding, Sample, StepResult

STYLES = {"info": "cyan", "warning": "yellow", "error": "bold red"}


PHASE = 14
"""Characters of a phase's name."""

LEAST = 7
"""Characters of a column at least."""

CUT = 0.95
"""A learning rate below this share of the one before, which had not changed, was cut by a schedule or a monitor."""

SHOWN_TOKENS = 10


class ConsoleDisplay:
    """Writes to standard error, so that standard output stays free for what a program reads.

    A run that goes well prints its epochs and nothing else: notes and samples are in the history, and shown here
    where asked for.

    Args:
        console: to write to.
        figures: of the run beside ctckit's own.
        verbose: whether notes and samples are shown too.
    """

    def __init__(self, console: Console, figures: Sequence[Figure] = (), *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._columns = [figure for figure in (*FIGURES.values(), *figures) if figure.console]
        self._phase = ""
        self._rates: list[float] = []
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
        heads = "".join(f"{figure.console:>{_width(figure)}}" for figure in self._columns)
        self._console.print(f"epoch  {'phase':<{PHASE}}{heads}")
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

    def epoch(self, epoch: Epoch, best: bool) -> None:
        """Print the epoch's line."""
        cells = "".join(f"{figure.text(epoch.value(figure.name)):>{_width(figure)}}" for figure in self._columns)
        marks = ["*"] if best else []
        if epoch.on_plateau:
            marks.append("above the plateau" if epoch.above_plateau else "on the plateau")
        if self._cut(epoch.phase, epoch.learning_rate):
            marks.append("learning rate cut")
        line = f"{epoch.epoch:5d}  {epoch.phase[:PHASE]:<{PHASE}}{cells}".replace(DASH, "-")
        self._console.print(f"{line}  {', '.join(marks)}".rstrip())

    def _cut(self, phase: str, rate: float | None) -> bool:
        """Whether a rate that had stood still in the phase was lowered; a warmup or a cosine moves all the time."""
        if phase != self._phase:
            self._phase, self._rates = phase, []
        before, self._rates = self._rates, [*self._rates[-1:], rate or 0.0]
        return rate is not None and len(before) > 1 and before[0] == before[1] and rate < CUT * before[1]

    def finding(self, finding: Finding, action: Action | None) -> None:
        """Print a finding that is no mere note, and what was done about it."""
        if finding.severity == "info" and action is None and not self._verbose:
            return
        done = f" -> {type(action).__name__}" if action else ""
        advice = f" ({finding.advice})" if finding.advice else ""
        style = STYLES[finding.severity]
        # the message may hold square brackets, so that only what stands here is styled
        self._console.print("      ", Text(finding.severity, style), finding.message + advice + done)

    def sample(self, sample: Sample) -> None:
        """Print the founding document's sample analysis (docs/founding-document.md 5.3), where notes are shown."""
        if not self._verbose:
            return
        overlap = len(set(sample.reference) & set(sample.hypothesis))
        for text in (
            f"sample {sample.clip}",
            f"  target length: {len(sample.reference)}",
            f"  predicted length: {len(sample.hypothesis)}",
            f"  target: {' '.join(sample.reference[:SHOWN_TOKENS])}",
            f"  predicted: {' '.join(sample.hypothesis[:SHOWN_TOKENS]) or 'nothing'}",
            f"  overlap: {overlap} labels",
        ):
            self._console.print("      ", text)


def _width(figure: Figure) -> int:
    return max(len(figure.console), LEAST) + 2
