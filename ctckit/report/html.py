"""Puts the page together: one HTML file with everything inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ctckit.report import charts, page, plots
from ctckit.report.summary import Epoch, Event, PhaseSpan, Summary
from ctckit.report.verdict import Verdict, blank_reading, ended

DASH = "\u2013"


@dataclass(frozen=True, slots=True)
class Figure:
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
    """An entry of the timeline: an event, or findings of one rule in epochs that follow one another."""

    events: tuple[Event, ...]

    @property
    def last(self) -> Event:
        """The latest of them; it is the one that is shown."""
        return self.events[-1]


@dataclass(frozen=True, slots=True)
class Sample:
    """A decoded clip beside its reference; a token comes with whether the other side has it too."""

    epoch: int
    clip: str
    wanted: tuple[tuple[str, bool], ...]
    got: tuple[tuple[str, bool], ...]


def write_report(summary: Summary, verdict: Verdict, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    page.write(render(summary, verdict), path)


def render(summary: Summary, verdict: Verdict) -> str:
    """Return the page. The same history gives the same page."""
    numbers = [epoch.epoch for epoch in summary.epochs]
    return page.fill(
        "page.html",
        summary=summary,
        verdict=verdict,
        tiles=tiles(summary),
        moments=moments(summary),
        measures=measures(summary),
        figures=figures(summary),
        marks={mark.style for mark in charts.marks(summary)},
        axis=json.dumps({"epochs": numbers, "x": plots.positions(numbers)}),
        provenance=provenance(summary),
        phase_columns=PHASE_COLUMNS,
        phases=[phase_row(phase) for phase in summary.phases],
        timeline=timeline(summary.events),
        samples=samples(summary.events),
        epoch_columns=[name for name, _ in epoch_columns(summary)],
        epochs=[(epoch, [column(epoch) for _, column in epoch_columns(summary)]) for epoch in summary.epochs],
        config=json.dumps(summary.config, indent=2, ensure_ascii=False),
        text=text,
    )


def figures(summary: Summary) -> list[Figure]:
    """Draw the charts of a run."""
    epochs = [epoch.epoch for epoch in summary.epochs]
    bands, marks = charts.bands(summary), charts.marks(summary)
    return [
        Figure(
            chart,
            # everything that comes from data is escaped where the chart is drawn
            Markup(plots.draw(chart, epochs, bands, marks)),
            json.dumps([list(series.values) for series in chart.shown]),
        )
        for chart in charts.charts(summary)
    ]


def figure(value: float | None, digits: int = 1, suffix: str = "") -> str:
    """Format a figure for a table; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}{suffix}"


def short(value: float | None) -> str:
    """Format a figure of any magnitude for a table."""
    return DASH if value is None else f"{value:.3g}"


def whole(value: float | None) -> str:
    """Format a count for a table."""
    return DASH if value is None else f"{value:,.0f}"


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


def tiles(summary: Summary) -> list[tuple[str, str, str]]:
    """Return the figures at the top: title, figure, remark."""
    planned = f"of {summary.planned_epochs}, " if summary.planned_epochs is not None else ""
    found = [("Epochs", str(len(summary.epochs)), planned + ended(summary))]
    if not summary.epochs:
        return found
    left, first, last = summary.left_plateau, summary.first_escape, summary.epochs[-1]
    if left is not None:
        found.insert(0, ("Left the plateau", f"epoch {left.epoch}", left.phase))
    else:
        remark = "not once" if first is None else f"fell back after epoch {first.epoch}"
        found.insert(0, ("Left the plateau", "no", remark))
    best = summary.best
    shown = best or last
    if best is None:
        found.append(("Best WER", DASH, "every epoch collapsed" if summary.all_collapsed else "none finite"))
    else:
        target = summary.target_wer
        against = (
            "" if target is None else f", target {target:g} % {'reached' if summary.target_reached else 'missed'}"
        )
        found.append(("Best WER", figure(best.dev.wer, 1, " %"), f"epoch {best.epoch}{against}"))
    reference = f"1 - U/T is {figure(shown.dev.blank_reference, 1, ' %')}"
    found.append(("Blank frames", figure(shown.dev.blank_ratio, 1, " %"), reference))
    found.append(
        ("Labels emitted", whole(shown.dev.unique_nonblank), f"{figure(shown.dev.label_coverage, 0)} % covered")
    )
    total = sum(epoch.seconds or 0.0 for epoch in summary.epochs)
    found.append(("Time", duration(total), f"{duration(total / len(summary.epochs))} an epoch"))
    return found


def moments(summary: Summary) -> list[Moment]:
    """Pick the epochs to set side by side: the first, those around the escape, the best, the last."""
    if not summary.epochs:
        return []
    picked = [
        ("first", summary.epochs[0]),
        ("last on the plateau", summary.last_on_plateau if summary.left_plateau else None),
        ("off the plateau", summary.left_plateau or summary.first_escape),
        ("best", summary.best),
        ("last", summary.epochs[-1]),
    ]
    titles: dict[int, list[str]] = {}
    at = {epoch.epoch: epoch for _, epoch in picked if epoch is not None}
    for title, epoch in picked:
        if epoch is not None:
            titles.setdefault(epoch.epoch, []).append(title)
    return [Moment(", ".join(titles[number]), at[number]) for number in sorted(at)]


def measures(summary: Summary) -> list[Row]:
    """Return what the moments are compared by."""
    plan: Sequence[tuple[str, str, Callable[[Epoch], str]]] = (
        ("Phase", "", lambda e: e.phase.replace("_", " ")),
        ("Training loss", "nats per token, in evaluation mode", lambda e: figure(e.train_eval_loss, 3)),
        ("of the plateau", "within 3 % of it the input is ignored", _share_of_plateau),
        ("WER on dev", "", lambda e: figure(e.dev.wer, 1, " %")),
        ("substitutions", "", lambda e: figure(e.dev.substitution_rate, 1, " %")),
        ("deletions", "from 90 % on, collapsed", lambda e: figure(e.dev.deletion_rate, 1, " %")),
        ("insertions", "", lambda e: figure(e.dev.insertion_rate, 1, " %")),
        ("Length ratio", "emitted over reference tokens; 1 is right", lambda e: figure(e.dev.length_ratio, 2)),
        ("Empty hypotheses", "", lambda e: figure(e.dev.empty_share, 1, " %")),
        ("Label coverage", "labels emitted at least once", lambda e: figure(e.dev.label_coverage, 1, " %")),
        ("rare, medium, frequent", "thirds by frequency in training", _coverage),
        ("Entropy", "nats, mean over frames", lambda e: figure(e.dev.entropy, 2)),
        ("Blank frames", "", lambda e: figure(e.dev.blank_ratio, 1, " %")),
        ("1 - U/T", "what one-frame spikes have", lambda e: figure(e.dev.blank_reference, 1, " %")),
        ("Label frames a token", "1 is a one-frame spike", lambda e: figure(e.dev.frames_a_token, 2)),
        ("Reading", "", lambda e: blank_reading(e.dev) or DASH),
        ("Learning rate", "", lambda e: short(e.learning_rate)),
        ("Blank shift", "nats, in training", _shift),
        ("Bias of the blank", "nats, and where it began", _bias),
        ("Weakest gradient", "of the model's parts, before clipping", _weakest),
    )
    return [Row(name, tuple(cell(moment.epoch) for moment in moments(summary)), note) for name, note, cell in plan]


def _share_of_plateau(epoch: Epoch) -> str:
    loss, plateau = epoch.train_eval_loss, epoch.plateau_loss
    return DASH if loss is None or not plateau else f"{100.0 * loss / plateau:.1f} %"


def _shift(epoch: Epoch) -> str:
    if epoch.shift is None:
        return DASH
    return f"{epoch.shift:.3g} {epoch.domain}".strip() if epoch.shift else "0"


def _coverage(epoch: Epoch) -> str:
    bands = (epoch.dev.coverage_rare, epoch.dev.coverage_medium, epoch.dev.coverage_frequent)
    return DASH if bands == (None, None, None) else ", ".join(figure(band, 0, " %") for band in bands)


def _bias(epoch: Epoch) -> str:
    return _course(figure(epoch.blank_bias_start, 2), figure(epoch.blank_bias, 2))


def _weakest(epoch: Epoch) -> str:
    known = {part: norm for part, norm in epoch.module_gradients.items() if norm is not None}
    part = min(known, key=lambda name: known[name], default=None)
    return DASH if part is None else f"{part} {short(known[part])}"


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


def provenance(summary: Summary) -> list[tuple[str, str]]:
    """Return what it takes to say where the figures came from; keys that are not known appear as they are."""
    row = dict(summary.provenance)
    found = [("Recipe", text(summary.config["recipe"]))] if "recipe" in summary.config else []
    reason = row.pop("ops_reason", None)
    data = row.pop("data", None)
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
    stuck = sum(epoch.on_plateau for epoch in phase.epochs)
    errors = [epoch.dev.wer for epoch in phase.epochs if epoch.dev.wer is not None and not epoch.dev.collapsed]
    return Row(
        phase.name,
        (
            span([epoch.epoch for epoch in phase.epochs]),
            planned,
            f"{stuck} of {len(phase.epochs)}",
            _course(figure(first.train_eval_loss, 2), figure(last.train_eval_loss, 2)),
            figure(min(errors), 1, " %") if errors else "collapsed",
            _course(short(first.learning_rate), short(last.learning_rate)),
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
    """Order the events, findings of one rule in successive epochs gathered into one entry."""
    entries: list[list[Event]] = []
    open_at: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        if event.rule == "sample_prediction" and event.kind == "finding":
            continue
        key = (event.monitor, event.rule, event.severity)
        entry = open_at.get(key)
        if event.kind == "finding" and entry is not None and event.epoch - entry[-1].epoch <= 1:
            entry.append(event)
            continue
        entries.append([event])
        if event.kind == "finding":
            open_at[key] = entries[-1]
    return [Entry(tuple(entry)) for entry in entries]


def samples(events: Sequence[Event]) -> list[Sample]:
    """Return the decoded clips that a monitor has noted."""
    found = []
    for event in events:
        if event.rule != "sample_prediction":
            continue
        evidence = event.evidence or {}
        wanted, got = (str(evidence.get(key) or "").split() for key in ("target", "predicted"))
        blocks = SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
        matched = {block.a + step for block in blocks for step in range(block.size)}
        right = {block.b + step for block in blocks for step in range(block.size)}
        found.append(
            Sample(
                event.epoch,
                str(evidence.get("clip", "")),
                tuple((token, index in matched) for index, token in enumerate(wanted)),
                tuple((token, index in right) for index, token in enumerate(got)),
            )
        )
    return found


def epoch_columns(summary: Summary) -> list[tuple[str, Callable[[Epoch], str]]]:
    """Return the columns of the full table."""
    return list(_epoch_columns(summary))


def _epoch_columns(summary: Summary) -> Iterator[tuple[str, Callable[[Epoch], str]]]:
    yield "phase", lambda e: e.phase
    yield "on plateau", lambda e: "yes" if e.on_plateau else "no"
    yield "collapsed", lambda e: "yes" if e.dev.collapsed else "no"
    yield "train loss, training mode", lambda e: figure(e.train_loss, 3)
    yield "train loss", lambda e: figure(e.train_eval_loss, 3)
    yield "plateau", lambda e: figure(e.plateau_loss, 3)
    yield "dev loss", lambda e: figure(e.dev.loss, 3)
    for name in sorted({name for epoch in summary.epochs for name in epoch.auxiliary_losses}):
        yield f"{name} loss", lambda e, name=name: figure(e.auxiliary_losses.get(name), 3)  # type: ignore[misc]
    yield "overfit ratio", lambda e: figure(e.overfit_ratio, 2)
    yield "train WER %", lambda e: figure(e.train_wer)
    yield "dev WER %", lambda e: figure(e.dev.wer)
    yield "S %", lambda e: figure(e.dev.substitution_rate)
    yield "D %", lambda e: figure(e.dev.deletion_rate)
    yield "I %", lambda e: figure(e.dev.insertion_rate)
    yield "wrong clips %", lambda e: figure(e.dev.sentence_error_rate)
    yield "length ratio", lambda e: figure(e.dev.length_ratio, 2)
    yield "empty %", lambda e: figure(e.dev.empty_share)
    yield "labels", lambda e: whole(e.dev.unique_nonblank)
    yield "coverage %", lambda e: figure(e.dev.label_coverage)
    yield "of rare %", lambda e: figure(e.dev.coverage_rare)
    yield "of medium %", lambda e: figure(e.dev.coverage_medium)
    yield "of frequent %", lambda e: figure(e.dev.coverage_frequent)
    yield "entropy", lambda e: figure(e.dev.entropy, 3)
    yield "blank %", lambda e: figure(e.dev.blank_ratio)
    yield "raw blank %", lambda e: figure(e.dev.raw_blank_ratio)
    yield "1 - U/T %", lambda e: figure(e.dev.blank_reference)
    yield "blank mass", lambda e: figure(e.dev.blank_mass, 3)
    yield "gradient norm", lambda e: short(e.gradient_norm)
    for part in dict.fromkeys(part for epoch in summary.epochs for part in epoch.module_gradients):
        yield f"of {part}", lambda e, part=part: short(e.module_gradients.get(part))  # type: ignore[misc]
    yield "learning rate", lambda e: short(e.learning_rate)
    yield "shift", _shift
    yield "blank bias", lambda e: figure(e.blank_bias, 2)
    yield "dropout", lambda e: short(e.dropout)
    yield "max frames", lambda e: whole(e.max_frames)
    yield "cropped", lambda e: whole(e.cropped)
    yield "infeasible", lambda e: whole(e.dev.infeasible)
    yield "infeasible, training", lambda e: whole(e.train_infeasible)
    yield "updates", lambda e: whole(e.update)
    yield "frames", lambda e: whole(e.frames)
    yield "seconds", lambda e: figure(e.seconds)
