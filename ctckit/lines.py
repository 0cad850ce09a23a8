"""Prints a run on the terminal, one line an epoch: the same for ``ctckit train`` and for somebody's own loop."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ctckit.actions import Action
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES
from ctckit.types import DASH, Figure, Finding, Sample

STYLES = {"info": "cyan", "warning": "yellow", "error": "bold red"}

PHASE = 14
"""Characters of a phase's name."""

LEAST = 7
"""Characters of a column at least."""

CUT = 0.95
"""A learning rate below this share of the one before, which had not changed, was cut by a schedule or a monitor."""

SHOWN_TOKENS = 10


class Lines:
    """Prints the head, epochs, findings and samples.

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

    def head(self) -> None:
        """Print what the columns are."""
        heads = "".join(f"{figure.console:>{_width(figure)}}" for figure in self._columns)
        self._console.print(f"epoch  {'phase':<{PHASE}}{heads}")

    def epoch(self, epoch: Epoch, best: bool) -> None:
        """Print the epoch's line."""
        cells = "".join(f"{figure.text(_shown(epoch, figure)):>{_width(figure)}}" for figure in self._columns)
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

    def finding(self, finding: Finding, action: Action | None, *, always: bool = False) -> None:
        """Print a finding that is no mere note, or is to be shown always, and what was done about it."""
        if finding.severity == "info" and action is None and not (self._verbose or always):
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


def _shown(epoch: Epoch, figure: Figure) -> float | None:
    """Return what stands in a column; a loop that scores no training clips has its loss from the steps."""
    return epoch.fit if figure.name == "train_eval_loss" else epoch.value(figure.name)
