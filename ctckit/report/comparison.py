"""The curves of several runs side by side: as lines of text, as values of JSON, and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ctckit.report import page, plots
from ctckit.report.charts import LOSS_CEILING, WER_CEILING
from ctckit.report.html import Figure, text
from ctckit.report.summary import Epoch, Summary

STYLES = "abdefc"
"""Of the lines, by run; as many runs can be told apart."""

COLUMNS = 12
"""Epochs in the text at most."""

CELL = 8
"""Characters of a value in the text."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the history that curves are drawn of.

    Attributes:
        key: its name in the history.
        title: of the chart.
        unit: of its axis.
        column: its value in an epoch.
        digits: after the point, in the text.
        note: how to read it.
    """

    key: str
    title: str
    unit: str
    column: Callable[[Epoch], float | None]
    digits: int
    note: str


METRICS = (
    Metric("val_wer", "WER on dev", "%", lambda e: e.dev.wer, 1, "Of the epochs; the table scores the best ones."),
    Metric(
        "train_eval_loss",
        "Training loss",
        "nats per token",
        lambda e: e.train_eval_loss,
        3,
        "In evaluation mode. The dashed line is the unigram plateau, the best that ignores the input.",
    ),
    Metric("val_loss", "Dev loss", "nats per token", lambda e: e.dev.loss, 3, "Under each run's own logit shift."),
    Metric(
        "blank_ratio",
        "Blank frames on dev",
        "%",
        lambda e: e.dev.blank_ratio,
        1,
        "The dashed line is 1 - U/T, the share of perfect one-frame spikes: near it is healthy.",
    ),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A run in the table above the curves.

    Attributes:
        name: as it was called for.
        cells: by column, formatted.
        summary: None where there is no history, as for a checkpoint alone.
    """

    name: str
    cells: Mapping[str, str]
    summary: Summary | None


def curves(summary: Summary) -> dict[str, list[Any]]:
    """Return the curves of a run as values of JSON, one value an epoch."""
    found: dict[str, list[Any]] = {"epoch": [epoch.epoch for epoch in summary.epochs]}
    found |= {metric.key: [metric.column(epoch) for epoch in summary.epochs] for metric in METRICS}
    return found | {"on_plateau": [epoch.on_plateau for epoch in summary.epochs]}


def lines(runs: Sequence[Compared]) -> list[str]:
    """Write the curves as text: by metric, the runs under one another, at the same epochs."""
    known = [(run.name, run.summary) for run in runs if run.summary is not None and run.summary.epochs]
    if not known:
        return []
    shown = some_epochs(max(summary.epochs[-1].epoch for _, summary in known))
    width = max(len(name) for name, _ in known) + 2
    found = ["epoch".ljust(width) + "".join(f"{epoch:{CELL}d}" for epoch in shown)]
    for metric in METRICS:
        found.append(f"{metric.title}, {metric.unit}")
        for name, summary in known:
            at = {epoch.epoch: metric.column(epoch) for epoch in summary.epochs}
            cells = ("-" if (value := at.get(epoch)) is None else f"{value:.{metric.digits}f}" for epoch in shown)
            found.append(f"  {name}".ljust(width) + "".join(f"{cell:>{CELL}}" for cell in cells))
    found.append("On the unigram plateau")
    for name, summary in known:
        on = {epoch.epoch: "yes" if epoch.on_plateau else "no" for epoch in summary.epochs}
        cells = (on.get(epoch, "-") for epoch in shown)
        found.append(f"  {name}".ljust(width) + "".join(f"{cell:>{CELL}}" for cell in cells))
    return found


def some_epochs(last: int) -> list[int]:
    """Choose at most ``COLUMNS`` epochs from 1 to ``last``, both included, the later the wider apart."""
    if last <= COLUMNS:
        return list(range(1, last + 1))
    chosen = [1]
    while len(chosen) < COLUMNS:
        ratio = (last / chosen[-1]) ** (1.0 / (COLUMNS - len(chosen)))
        chosen.append(max(chosen[-1] + 1, round(chosen[-1] * ratio)))
    return chosen


def charts(runs: Sequence[Compared]) -> tuple[list[int], list[plots.Chart]]:
    """Build the charts of several runs: the epochs that any of them has, and one chart a metric."""
    known = [(run.name, run.summary) for run in runs if run.summary is not None and run.summary.epochs]
    epochs = sorted({epoch.epoch for _, summary in known for epoch in summary.epochs})
    if not known:
        return [], []
    first = known[0][1]
    plateau, blank = first.plateau_loss, first.epochs[-1].dev.blank_reference
    references = {
        "train_eval_loss": plots.Series("unigram plateau", (plateau,) * len(epochs), "reference"),
        "val_loss": plots.Series("unigram plateau", (plateau,) * len(epochs), "reference"),
        "blank_ratio": plots.Series("1 - U/T", (blank,) * len(epochs), "reference"),
    }
    loss_ceiling = LOSS_CEILING * plateau if plateau else None
    ceilings = {"val_wer": WER_CEILING, "train_eval_loss": loss_ceiling, "val_loss": loss_ceiling}
    drawn = []
    for metric in METRICS:
        series = []
        for style, (name, summary) in zip(STYLES, known, strict=False):
            at = {epoch.epoch: metric.column(epoch) for epoch in summary.epochs}
            series.append(plots.Series(name, tuple(at.get(epoch) for epoch in epochs), style))
        if metric.key in references:
            series.append(references[metric.key])
        chart = plots.Chart(
            metric.key,
            metric.title,
            metric.unit,
            metric.note,
            tuple(series),
            floor=None if metric.key == "blank_ratio" else 0.0,
            ceiling=ceilings.get(metric.key),
            wide=True,
        )
        if any(one.present for one in series if one.style != "reference"):
            drawn.append(chart)
    return epochs, drawn


def differing_settings(runs: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    """Return the settings that are not the same in all runs: the key, and the value in each."""
    flat = [dict(_leaves(run.summary.config)) if run.summary is not None else {} for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = [(key, [_setting(settings.get(key, "-")) for settings in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def render(runs: Sequence[Compared], caption: str) -> str:
    """Return the page: the table, the settings that differ, the curves overlaid.

    Args:
        runs: at most ``len(STYLES)``, all with the same columns.
        caption: of the table.
    """
    epochs, drawn = charts(runs)
    marks = [
        plots.Mark(left.epoch, "escape", f"{run.name} left the plateau in epoch {left.epoch}")
        for run in runs
        if run.summary is not None and (left := run.summary.left_plateau) is not None
    ]
    return page.fill(
        "comparison.html",
        runs=runs,
        caption=caption,
        columns=list(runs[0].cells),
        settings=differing_settings(runs),
        figures=[
            Figure(
                chart,
                # everything that comes from data is escaped where the chart is drawn
                Markup(plots.draw(chart, epochs, (), marks)),
                json.dumps([list(series.values) for series in chart.shown]),
            )
            for chart in drawn
        ],
        marked=bool(marks),
        axis=json.dumps({"epochs": epochs, "x": plots.positions(epochs)}),
    )


def write_comparison(runs: Sequence[Compared], caption: str, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    page.write(render(runs, caption), path)


def _setting(value: Any) -> str:
    return "none" if value is None else text(value)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
