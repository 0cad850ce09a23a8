"""Puts the page together: one HTML file with everything inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ctckit.doctor.states import State
from ctckit.doctor.verdict import Verdict, blank_reading, ended
from ctckit.edits import matches
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES, PARTS
from ctckit.record.history import Event, KeptSample, PhaseSpan, Recorded
from ctckit.report import charts, page, plots
from ctckit.report.lattice import draw_lattices
from ctckit.report.reliability import diagrams
from ctckit.types import DASH, Lattice

SHOWN_EPOCHS = 6


def tone(verdict: Verdict) -> str:
    """Return the colour of a verdict; green is for a run that recognises and nothing else."""
    if verdict.severity != "info":
        return "attention" if verdict.severity == "warning" else "bad"
    return "good" if verdict.diagnosis is not None and verdict.diagnosis.state is State.HEALTHY else "neutral"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as drawn, with what the page's cursor needs."""

    chart: plots.Chart
    svg: Markup
    points: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its header and its cells."""

    header: str
    cells: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """An epoch that tells something about the run."""

    title: str
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the timeline: an event, or all findings of one rule and severity."""

    events: tuple[Event, ...]

    @property
    def last(self) -> Event:
        """The latest of them; it is the one that is shown."""
        return self.events[-1]

    @property
    def quiet(self) -> bool:
        """Whether it is a mere note."""
        return (
            self.last.kind == "finding" and self.last.finding is not None and self.last.finding.severity == "info"
        )

    @property
    def when(self) -> str:
        """The epochs, shortened where there are many."""
        epochs = [str(event.epoch) for event in self.events]
        return ", ".join(
            epochs if len(epochs) <= SHOWN_EPOCHS else [*epochs[: SHOWN_EPOCHS - 2], "...", epochs[-1]]
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """A decoded clip beside its reference; a token comes with whether the other side has it too."""

    epoch: int
    clip: str
    wanted: tuple[tuple[str, bool], ...]
    got: tuple[tuple[str, bool], ...]


def write_report(run: Recorded, verdict: Verdict, path: Path, lattices: Sequence[Lattice] = ()) -> None:
    """Write the page, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    page.write(render(run, verdict, lattices), path)


def render(run: Recorded, verdict: Verdict, lattices: Sequence[Lattice] = ()) -> str:
    """Return the page. The same history, and the same clips to draw, give the same page."""
    numbers = [epoch.epoch for epoch in run.epochs]
    return page.fill(
        "page.html",
        run=run,
        verdict=verdict,
        lattices=draw_lattices(lattices),
        reliability=diagrams(run.calibrations),
        tone=tone(verdict),
        tiles=tiles(run),
        moments=moments(run),
        measures=measures(run),
        figures=figures(run),
        marks={mark.style for mark in charts.marks(run)},
        axis=json.dumps({"epochs": numbers, "x": plots.positions(numbers)}),
        provenance=provenance(run),
        phase_columns=PHASE_COLUMNS,
        phases=[phase_row(phase) for phase in run.phases],
        timeline=[entry for entry in timeline(run.events) if not entry.quiet],
        notes=[entry for entry in timeline(run.events) if entry.quiet],
        samples=samples(run.samples),
        epoch_columns=[name for name, _ in epoch_columns(run)],
        epochs=[(epoch, [column(epoch) for _, column in epoch_columns(run)]) for epoch in run.epochs],
        config=json.dumps(run.config, indent=2, ensure_ascii=False),
        text=text,
    )


def figures(run: Recorded) -> list[Drawn]:
    """Draw the charts of a run."""
    epochs = [epoch.epoch for epoch in run.epochs]
    bands, marks = charts.bands(run), charts.marks(run)
    return [
        Drawn(
            chart,
            # everything that comes from data is escaped where the chart is drawn
            Markup(plots.draw(chart, epochs, bands, marks)),
            json.dumps([list(series.values) for series in chart.shown]),
        )
        for chart in charts.charts(run)
    ]


def shown(name: str, value: float | None, *, unit: bool = False) -> str:
    """Format a value as the figure of this name is formatted; a dash where there is none."""
    return FIGURES[name].text(value, unit=unit)


def text(value: Any) -> str:
    """Format any value of JSON in one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(text, value))
    return json.dumps(value)


def duration(seconds: float) -> str:
    """Format a wall time."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def tiles(run: Recorded) -> list[tuple[str, str, str]]:
    """Return the figures at the top: title, figure, remark."""
    planned = f"of {run.planned_epochs}, " if run.planned_epochs is not None else ""
    found = [("Epochs", str(len(run.epochs)), planned + ended(run))]
    if not run.epochs:
        return found
    left, first, last = run.left_plateau, run.first_escape, run.epochs[-1]
    if left is not None:
        found.insert(0, ("Left the plateau", f"epoch {left.epoch}", left.phase))
    else:
        remark = "not once" if first is None else f"fell back after epoch {first.epoch}"
        found.insert(0, ("Left the plateau", "no", remark))
    best = run.best
    at = best or last
    if best is None:
        found.append(("Best WER", DASH, "every epoch collapsed" if run.all_collapsed else "none off the plateau"))
    else:
        target = run.target_wer
        against = "" if target is None else f", target {target:g} % {'reached' if run.target_reached else 'missed'}"
        found.append(("Best WER", f"{best.val_wer:.1f} %", f"epoch {best.epoch}{against}"))
    reference = f"1 - U/T is {shown('blank_reference', at.blank_reference, unit=True)}"
    found.append(("Blank frames", shown("blank_ratio", at.blank_ratio, unit=True), reference))
    covered = DASH if at.label_coverage is None else f"{at.label_coverage:.0f}"
    found.append(("Labels emitted", shown("unique_nonblank", at.unique_nonblank), f"{covered} % covered"))
    total = sum(epoch.seconds or 0.0 for epoch in run.epochs)
    found.append(("Time", duration(total), f"{duration(total / len(run.epochs))} an epoch"))
    return found


def moments(run: Recorded) -> list[Moment]:
    """Pick the epochs to set side by side: the first, those around the escape, the best, the last."""
    if not run.epochs:
        return []
    picked = [
        ("first", run.epochs[0]),
        ("last on the plateau", run.last_on_plateau if run.left_plateau else None),
        ("off the plateau", run.left_plateau or run.first_escape),
        ("best", run.best),
        ("last", run.epochs[-1]),
    ]
    titles: dict[int, list[str]] = {}
    at = {epoch.epoch: epoch for _, epoch in picked if epoch is not None}
    for title, epoch in picked:
        if epoch is not None:
            titles.setdefault(epoch.epoch, []).append(title)
    return [Moment(", ".join(titles[number]), at[number]) for number in sorted(at)]


MEASURES = (
    "train_eval_loss",
    "share_of_plateau",
    "val_wer",
    "substitution_rate",
    "deletion_rate",
    "insertion_rate",
    "length_ratio",
    "empty_share",
    "label_coverage",
    "entropy",
    "blank_ratio",
    "blank_reference",
    "label_frames",
    "learning_rate",
)
"""Figures by which moments are compared; those of plugins and of the model come after them."""


def measures(run: Recorded) -> list[Row]:
    """Return what the moments are compared by."""
    chosen = [FIGURES[name] for name in MEASURES]
    chosen += [figure for name, figure in run.table.items() if name not in FIGURES]
    plan: list[tuple[str, str, Callable[[Epoch], str]]] = [("Phase", "", lambda e: e.phase.replace("_", " "))]
    for figure in chosen:
        note = ", ".join(filter(None, (figure.unit if figure.unit != "%" else "", figure.note)))
        unit = figure.unit == "%"
        plan.append(
            (figure.title, note, lambda e, f=figure, u=unit: f.text(e.value(f.name), unit=u))  # type: ignore[misc]
        )
    plan += [
        ("Coverage by frequency", "rare, medium, frequent: thirds by frequency in training", _coverage),
        ("Reading", "of the blank share", lambda e: blank_reading(e) or DASH),
        ("Blank shift", "nats, in training", _shift),
        ("Bias of the blank", "nats, and where it began", _bias),
        ("Weakest gradient", "of the model's parts, before clipping", _weakest),
    ]
    return [Row(name, tuple(cell(moment.epoch) for moment in moments(run)), note) for name, note, cell in plan]


def _shift(epoch: Epoch) -> str:
    if epoch.shift is None:
        return DASH
    return f"{epoch.shift:.3g} {epoch.domain}".strip() if epoch.shift else "0"


def _coverage(epoch: Epoch) -> str:
    bands = (epoch.coverage_rare, epoch.coverage_medium, epoch.coverage_frequent)
    return (
        DASH if bands == (None, None, None) else ", ".join(shown("coverage_rare", one, unit=True) for one in bands)
    )


def _bias(epoch: Epoch) -> str:
    return _course(*(shown("blank_bias", value) for value in (epoch.blank_bias_start, epoch.blank_bias)))


def _weakest(epoch: Epoch) -> str:
    known = {part: norm for part, norm in epoch.module_gradients.items() if norm is not None}
    part = min(known, key=lambda name: known[name], default=None)
    return DASH if part is None else f"{part} {shown('gradient_norm', known[part])}"


NAMES = {
    "ctckit": "ctckit",
    "python": "Python",
    "torch": "PyTorch",
    "platform": "Platform",
    "device": "Device",
    "threads": "Threads",
    "ops": "Kernels",
    "plugins": "Plugins",
    "seed": "Seed",
    "parameters": "Parameters",
    "classes": "Classes, blank included",
    "plateau_loss": "Unigram plateau",
}
"""What the keys of the first row are called."""


def provenance(run: Recorded) -> list[tuple[str, str]]:
    """Return what it takes to say where the figures came from; keys that are not known appear as they are."""
    row = dict(run.provenance)
    found = [("Recipe", text(run.config["recipe"]))] if "recipe" in run.config else []
    reason = row.pop("ops_reason", None)
    data = row.pop("data", None)
    row.pop("remedies", None)  # the advice is made from them
    for key, value in row.items():
        shown = text(value)
        if key == "ops" and reason:
            shown += f" ({text(reason)})"
        elif key == "plugins" and isinstance(value, list):
            shown = "; ".join(_plugin(item) for item in value) or "none"
        elif key in ("parameters", "classes", "threads") and isinstance(value, int):
            shown = f"{value:,}"
        elif key == "plateau_loss" and isinstance(value, float):
            shown = f"{value:.4f} nats per token"
        found.append((NAMES.get(key, key), shown))
    if isinstance(data, Mapping):
        found += [(f"Fingerprint of {name}", text(value)) for name, value in data.items()]
    return found


def _plugin(item: Any) -> str:
    if not isinstance(item, Mapping):
        return text(item)
    origin = " ".join(text(item[key]) for key in ("distribution", "version") if item.get(key))
    return f"{text(item.get('name', ''))} ({origin or text(item.get('target', ''))})"


PHASE_COLUMNS = (
    "epochs",
    "planned",
    "on the plateau",
    "training loss",
    "best WER",
    "learning rate",
    "shift",
    "time",
)


def phase_row(phase: PhaseSpan) -> Row:
    """Return what a phase did."""
    planned = DASH if phase.planned is None else str(phase.planned)
    if not phase.epochs:
        return Row(phase.name, ("not begun", planned, *[DASH] * 6))
    first, last = phase.epochs[0], phase.epochs[-1]
    stuck = sum(epoch.on_plateau is not False for epoch in phase.epochs)
    errors = [epoch.val_wer for epoch in phase.epochs if epoch.val_wer is not None and not epoch.collapsed]
    return Row(
        phase.name,
        (
            span([epoch.epoch for epoch in phase.epochs]),
            planned,
            f"{stuck} of {len(phase.epochs)}",
            _course(*(shown("train_eval_loss", one.fit) for one in (first, last))),
            f"{min(errors):.1f} %" if errors else "collapsed",
            _course(*(shown("learning_rate", one.learning_rate) for one in (first, last))),
            _course(_shift(first), _shift(last)),
            duration(sum(epoch.seconds or 0.0 for epoch in phase.epochs)),
        ),
    )


def _course(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def span(epochs: Sequence[int]) -> str:
    """Format epochs that follow one another."""
    return str(epochs[0]) if epochs[0] == epochs[-1] else f"{epochs[0]}{DASH}{epochs[-1]}"


def timeline(events: Sequence[Event]) -> list[Entry]:
    """Order the events by when they began, all findings of one rule and severity gathered into one entry."""
    entries: dict[object, list[Event]] = {}
    for number, event in enumerate(events):
        found = event.finding
        alike = event.kind == "finding" and found is not None
        key = (event.monitor, found.rule, found.severity) if alike and found is not None else number
        entries.setdefault(key, []).append(event)
    return [Entry(tuple(entry)) for entry in entries.values()]


def samples(kept: Sequence[KeptSample]) -> list[Sample]:
    """Return decoded clips with what the two sides have in common."""
    found = []
    for one in kept:
        wanted, got = one.sample.reference, one.sample.hypothesis
        there, here = matches(wanted, got)
        found.append(
            Sample(
                one.epoch,
                one.sample.clip,
                tuple(zip(wanted, there, strict=True)),
                tuple(zip(got, here, strict=True)),
            )
        )
    return found


def epoch_columns(run: Recorded) -> list[tuple[str, Callable[[Epoch], str]]]:
    """Return the columns of the full table: every figure that any epoch has, heads, terms and parts."""
    return list(_epoch_columns(run))


def on_plateau(epoch: Epoch) -> str:
    """Say where an epoch stands beside the plateau."""
    if epoch.on_plateau is None:
        return "-"
    return "above" if epoch.above_plateau else "yes" if epoch.on_plateau else "no"


def _epoch_columns(run: Recorded) -> Iterator[tuple[str, Callable[[Epoch], str]]]:
    yield "phase", lambda e: e.phase
    yield "on the plateau", on_plateau
    yield "collapsed", lambda e: "yes" if e.collapsed else "no"
    for figure in run.table.values():
        if any(epoch.value(figure.name) is not None for epoch in run.epochs):
            title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
            yield title, lambda e, f=figure: f.text(e.value(f.name))  # type: ignore[misc]
    for title, of in (("{} loss", "auxiliary_losses"), ("{} term", "terms"), *((f"{{}}, {p}", p) for p in PARTS)):
        for name in dict.fromkeys(name for epoch in run.epochs for name in getattr(epoch, of)):
            yield (
                title.format(name).replace("module_", ""),
                lambda e, of=of, name=name: FIGURES["gradient_norm"].text(getattr(e, of).get(name)),  # type: ignore[misc]
            )
