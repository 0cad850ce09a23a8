"""The curves of several runs side by side: as lines of text, as values of JSON, and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ctckit.record.epoch import Epoch
from ctckit.record.history import Recorded
from ctckit.report import page, plots
from ctckit.report.charts import LOSS_CEILING, error_ceiling
from ctckit.report.html import Drawn, on_plateau, text
from ctckit.types import DASH, Figure

STYLES = "abdefc"
"""Of the lines, by run; as many runs can be told apart."""

COLUMNS = 12
"""Epochs in the text at most."""

CELL = 8
"""Characters of a value in the text."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A run in the table above the curves.

    Attributes:
        name: as it was called for.
        cells: by column, formatted.
        recorded: None where there is no history, as for a checkpoint alone.
    """

    name: str
    cells: Mapping[str, str]
    recorded: Recorded | None


def compared_by(runs: Sequence[Compared]) -> list[Figure]:
    """Return the figures that curves are drawn of: those of the runs' tables that say so."""
    tables = [run.recorded.table for run in runs if run.recorded is not None]
    return list({name: one for table in tables for name, one in table.items() if one.curve}.values())


def curves(run: Recorded) -> dict[str, list[Any]]:
    """Return the curves of a run as values of JSON, one value an epoch."""
    found: dict[str, list[Any]] = {"epoch": [epoch.epoch for epoch in run.epochs]}
    shown = [figure.name for figure in run.table.values() if figure.curve]
    found |= {name: [epoch.value(name) for epoch in run.epochs] for name in shown}
    return found | {"on_plateau": [epoch.on_plateau for epoch in run.epochs]}


def lines(runs: Sequence[Compared]) -> list[str]:
    """Write the curves as text: by figure, the runs under one another, at the same epochs."""
    known = _known(runs)
    if not known:
        return []
    shown = some_epochs(max(run.epochs[-1].epoch for _, run in known))
    width = max(len(name) for name, _ in known) + 4
    found = ["epoch".ljust(width) + "".join(f"{epoch:{CELL}d}" for epoch in shown)]

    def rows(title: str, cell: Callable[[Epoch], str]) -> Iterator[str]:
        yield title
        for name, run in known:
            at = {epoch.epoch: cell(epoch) for epoch in run.epochs}
            cells = (at.get(epoch, "-").replace(DASH, "-") for epoch in shown)
            yield f"  {name}".ljust(width) + "".join(f"{text:>{CELL}}" for text in cells)

    for figure in compared_by(runs):
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        found += rows(title, lambda epoch, f=figure: f.text(epoch.value(f.name)))  # type: ignore[misc]
    found += rows("On the unigram plateau", on_plateau)
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


def _known(runs: Sequence[Compared]) -> list[tuple[str, Recorded]]:
    return [(run.name, run.recorded) for run in runs if run.recorded is not None and run.recorded.epochs]


def charts(runs: Sequence[Compared]) -> tuple[list[int], list[plots.Chart]]:
    """Build the charts of several runs: the epochs that any of them has, and one chart a figure."""
    known = _known(runs)
    epochs = sorted({epoch.epoch for _, run in known for epoch in run.epochs})
    if not known:
        return [], []
    errors = [[epoch.val_wer for epoch in run.epochs if epoch.val_wer is not None] for _, run in known]
    plateau = max((run.plateau_loss or 0.0 for _, run in known), default=0.0)
    loss_ceiling = LOSS_CEILING * plateau if plateau else None
    ceilings = {
        "val_wer": max(map(error_ceiling, errors)),
        "train_eval_loss": loss_ceiling,
        "val_loss": loss_ceiling,
    }
    drawn = []
    for figure in compared_by(runs):
        series = []
        for style, (name, run) in zip(STYLES, known, strict=False):
            at = {epoch.epoch: epoch.value(figure.name) for epoch in run.epochs}
            series.append(plots.Series(name, tuple(at.get(epoch) for epoch in epochs), style))
        series += _references(figure.name, known, len(epochs))
        chart = plots.Chart(
            figure.name,
            figure.title,
            figure.unit or "value",
            NOTES.get(figure.name, figure.note),
            tuple(series),
            floor=0.0 if figure.name in ceilings else None,
            ceiling=ceilings.get(figure.name),
            wide=True,
        )
        if any(one.present for one in series if not one.style.startswith("reference")):
            drawn.append(chart)
    return epochs, drawn


NOTES = {
    "val_wer": "Of the epochs; the table scores the best ones.",
    "train_eval_loss": "In evaluation mode. A dashed line is a unigram plateau, the best that ignores the input.",
    "val_loss": "Under each run's own logit shift.",
    "blank_ratio": "A dashed line is 1 - U/T, the share of perfect one-frame spikes: near it is healthy.",
}


def _references(figure: str, known: Sequence[tuple[str, Recorded]], epochs: int) -> list[plots.Series]:
    """Draw what a figure is held against, once where all runs have the same, else each with its run's name."""
    values: dict[str, float | None] = {}
    title = ""
    if figure in ("train_eval_loss", "val_loss"):
        title, values = "unigram plateau", {name: run.plateau_loss for name, run in known}
    elif figure == "blank_ratio":
        title, values = "1 - U/T", {name: run.epochs[-1].blank_reference for name, run in known}
    known_values = [value for value in values.values() if value is not None]
    if len({round(value, 6) for value in known_values}) == 1 and len(known_values) == len(values):
        return [plots.Series(title, (known_values[0],) * epochs, "reference")]
    return [
        plots.Series(f"{title} of {run}", (value,) * epochs, f"reference s-{style}")
        for style, (run, value) in zip(STYLES, values.items(), strict=False)
        if value is not None
    ]


def differing_settings(runs: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    """Return the settings that are not the same in all runs: the key, and the value in each."""
    flat = [dict(_leaves(run.recorded.config)) if run.recorded is not None else {} for run in runs]
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
        if run.recorded is not None and (left := run.recorded.left_plateau) is not None
    ]
    return page.fill(
        "comparison.html",
        runs=runs,
        caption=caption,
        columns=list(runs[0].cells),
        settings=differing_settings(runs),
        figures=[
            Drawn(
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
