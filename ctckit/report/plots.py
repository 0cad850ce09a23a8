"""Line charts as inline SVG.

All charts of a page share the same horizontal geometry, so that one cursor can run through all of them. Colours
and fonts come from the page's style sheet, by class: ``s-...`` for a series, ``band`` for a phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 6, 20, 34

Value = float | None


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or one layer of a stack.

    Attributes:
        name: in the legend.
        values: one an epoch, None where there is none.
        style: class of its colour: a to f, or ``reference`` for a dashed line to compare with.
        stacked: draw it as an area on top of the stacked series before it.
    """

    name: str
    values: tuple[Value, ...]
    style: str
    stacked: bool = False

    @property
    def present(self) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for value in self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """What one figure shows.

    Attributes:
        key: identifier within the page.
        title: of the figure.
        unit: of the vertical axis.
        note: how to read it, one or two sentences.
        series: in drawing order.
        scale: of the vertical axis.
        floor: lowest end of the axis; by default what the values need.
        ceiling: highest end of the axis; larger values are cut off there.
        wide: whether it is one of the main figures.
    """

    key: str
    title: str
    unit: str
    note: str
    series: tuple[Series, ...]
    scale: Literal["linear", "log"] = "linear"
    floor: Value = None
    ceiling: Value = None
    wide: bool = False

    @property
    def shown(self) -> tuple[Series, ...]:
        """Series that hold at least one value."""
        return tuple(series for series in self.series if series.present)


@dataclass(frozen=True, slots=True)
class Band:
    """A phase: its name, its first and its last epoch."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Mark:
    """An epoch that every chart points out; ``style`` is escape, best or action."""

    epoch: int
    style: str
    label: str


class Axis:
    """Maps values to vertical positions, and knows its ticks."""

    def __init__(self, chart: Chart, values: Sequence[float]) -> None:
        self.log = chart.scale == "log" and bool(values) and min(values) > 0.0
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if chart.floor is not None and not self.log:
            low = min(chart.floor, low)
        if chart.ceiling is not None:
            high = min(high, max(chart.ceiling, low))
        if self.log:
            self.ticks = log_ticks(low, high)
            self.low, self.high = math.log10(min(low, self.ticks[0])), math.log10(max(high, self.ticks[-1]))
        else:
            self.ticks = linear_ticks(low, high)
            self.low, self.high = self.ticks[0], self.ticks[-1]

    def y(self, value: float) -> float:
        """Return the vertical position of a value; values beyond the axis lie beyond the plot."""
        if self.log:
            value = math.log10(value) if value > 0.0 else self.low - 1.0
        share = (value - self.low) / (self.high - self.low)
        return TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover ``low`` to ``high``, about ``count`` of them."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-6):
        pad = abs(high) / 10.0 or 1.0
        low, high = low - (pad if low < 0 else min(pad, low)), high + (pad if high >= 0 else min(pad, -high))
    rough = (high - low) / count
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if base * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that cover ``low`` to ``high``; thinned where they would crowd."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    step = math.ceil((last - first) / 6)
    if last - first <= 1:
        return [factor * 10.0**first for factor in (1, 2, 5, 10)]
    return [10.0**power for power in range(first, last + step, step)]


def label(value: float) -> str:
    """Format a tick."""
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:g}"


def epoch_ticks(first: int, last: int, count: int = 7) -> list[int]:
    """Return epochs to label."""
    step = next(s for s in _steps() if (last - first) / s <= count)
    return [epoch for epoch in range(first, last + 1) if epoch % step == 0 or (step == 1)]


def _steps() -> Iterable[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def positions(epochs: Sequence[int]) -> list[float]:
    """Return the horizontal position of each epoch; the page's cursor uses the same numbers."""
    if not epochs:
        return []
    span = epochs[-1] - epochs[0]
    width = WIDTH - LEFT - RIGHT
    # half an epoch of margin on both sides, so that phases can be shaded from border to border
    return [round(LEFT + (epoch - epochs[0] + 0.5) / (span + 1) * width, 1) for epoch in epochs]


def draw(chart: Chart, epochs: Sequence[int], bands: Sequence[Band], marks: Sequence[Mark]) -> str:
    """Return the ``<svg>`` element of a chart.

    Args:
        chart: what to show.
        epochs: their numbers, ascending; as many as each series has values.
        bands: phases to shade.
        marks: epochs to point out.
    """
    layers = list(_layers(chart.shown))
    drawn = [value for _, lower, upper in layers for value in (*lower, *upper) if value is not None]
    axis = Axis(chart, drawn)
    xs = positions(epochs)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-labelledby="{chart.key}-t {chart.key}-d">',
        f'<title id="{chart.key}-t">{escape(chart.title)}</title>',
        f'<desc id="{chart.key}-d">{escape(describe(chart, epochs))}</desc>',
        f'<clipPath id="{chart.key}-c"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        *_bands(bands, epochs),
        *_grid(axis),
        *_epoch_axis(epochs, xs),
        f'<g clip-path="url(#{chart.key}-c)">',
    ]
    for series, lower, upper in layers:
        if series.stacked:
            parts += _area(series, xs, [axis.y(v or 0.0) for v in lower], [_y(axis, v) for v in upper])
        else:
            parts += _line(series, xs, [_y(axis, v) for v in upper])
    parts += ["</g>", *_marks(marks, epochs, xs)]
    parts.append(f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    if not drawn:
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text class="empty" x="{middle:g}" y="{HEIGHT / 2:g}">no finite values</text>')
    return "\n".join([*parts, "</svg>"])


def describe(chart: Chart, epochs: Sequence[int]) -> str:
    """Say in words what a chart shows, for those who do not see it."""
    texts = []
    for series in chart.shown:
        points = [(v, epoch) for v, epoch in zip(series.values, epochs, strict=True) if v is not None]
        (first, start), (last, end) = points[0], points[-1]
        low, high = min(points), max(points)
        texts.append(
            f"{series.name}: {first:.4g} in epoch {start}, {last:.4g} in epoch {end}, "
            f"lowest {low[0]:.4g} in epoch {low[1]}, highest {high[0]:.4g} in epoch {high[1]}."
        )
    return " ".join([f"{chart.unit} by epoch.", *texts])


def _layers(
    shown: Iterable[Series],
) -> Iterable[tuple[Series, Sequence[Value], Sequence[Value]]]:
    """Yield each series with its lower and upper edge; a line's lower edge is empty."""
    base: list[Value] = []
    for series in shown:
        if not series.stacked:
            yield series, (), series.values
            continue
        lower = base or [0.0] * len(series.values)
        upper = [
            None if value is None or under is None else under + value
            for value, under in zip(series.values, lower, strict=True)
        ]
        yield series, lower, upper
        base = upper


def _y(axis: Axis, value: Value) -> Value:
    return None if value is None else axis.y(value)


def _runs(xs: Sequence[float], ys: Sequence[Value]) -> list[list[tuple[int, float, float]]]:
    """Split a line where values are missing."""
    runs: list[list[tuple[int, float, float]]] = [[]]
    for index, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if y is None:
            runs.append([])
        else:
            runs[-1].append((index, x, y))
    return [run for run in runs if run]


def _line(series: Series, xs: Sequence[float], ys: Sequence[Value]) -> list[str]:
    parts = []
    for run in _runs(xs, ys):
        if len(run) == 1:
            _, x, y = run[0]
            if series.style == "reference":
                half = (WIDTH - LEFT - RIGHT) / 2 / max(len(xs), 1)
                parts.append(f'<path class="line s-reference" d="M{x - half:.1f} {y:.1f}H{x + half:.1f}"/>')
            else:
                parts.append(f'<circle class="dot s-{series.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
            continue
        path = "L".join(f"{x:.1f} {y:.1f}" for _, x, y in run)
        parts.append(f'<path class="line s-{series.style}" d="M{path}"/>')
    return parts


def _area(series: Series, xs: Sequence[float], lower: Sequence[float], upper: Sequence[Value]) -> list[str]:
    parts = []
    for run in _runs(xs, upper):
        if len(run) == 1:
            index, x, y = run[0]
            run = [(index, x - 6.0, y), (index, x + 6.0, y)]
        top = "L".join(f"{x:.1f} {y:.1f}" for _, x, y in run)
        back = "L".join(f"{x:.1f} {lower[index]:.1f}" for index, x, _ in reversed(run))
        parts.append(f'<path class="area s-{series.style}" d="M{top}L{back}Z"/>')
    return parts


def _bands(bands: Sequence[Band], epochs: Sequence[int]) -> list[str]:
    if not epochs:
        return []
    step = (WIDTH - LEFT - RIGHT) / (epochs[-1] - epochs[0] + 1)
    parts = []
    for index, band in enumerate(bands):
        x = LEFT + (band.first - epochs[0]) * step
        width = (band.last - band.first + 1) * step
        name = _fitting(band.name.replace("_", " "), width)
        parts.append(
            f'<g class="band band-{index % 2}">'
            f"<title>{escape(band.name)}: epochs {band.first} to {band.last}</title>"
            f'<rect x="{x:.1f}" y="{TOP - 16}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM + 16}"/>'
            f'<text x="{x + width / 2:.1f}" y="{TOP - 5}">{escape(name)}</text></g>'
        )
    return parts


def _fitting(name: str, width: float) -> str:
    room = int((width - 4.0) / 6.6)
    if len(name) <= room:
        return name
    return name[: room - 1] + "." if room >= 4 else ""


def _grid(axis: Axis) -> list[str]:
    parts = []
    for tick in axis.ticks:
        y = axis.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick-y" x="{LEFT - 5}" y="{y + 4:.1f}">{label(tick)}</text>')
    return parts


def _epoch_axis(epochs: Sequence[int], xs: Sequence[float]) -> list[str]:
    if not epochs:
        return []
    at = dict(zip(epochs, xs, strict=True))
    parts = [
        f'<text class="tick-x" x="{at[epoch]:.1f}" y="{HEIGHT - BOTTOM + 15}">{epoch}</text>'
        for epoch in epoch_ticks(epochs[0], epochs[-1])
        if epoch in at
    ]
    parts.append(f'<text class="unit-x" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}">epoch</text>')
    return parts


def _marks(marks: Sequence[Mark], epochs: Sequence[int], xs: Sequence[float]) -> list[str]:
    at = dict(zip(epochs, xs, strict=True))
    parts = []
    bottom = HEIGHT - BOTTOM
    for mark in marks:
        if mark.epoch not in at:
            continue
        x = at[mark.epoch]
        title = f"<title>{escape(mark.label)}</title>"
        if mark.style == "action":
            shape = f'<path d="M{x:.1f} {bottom - 7}l4 7h-8z"/>'
        else:
            shape = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        parts.append(f'<g class="mark mark-{mark.style}">{title}{shape}</g>')
    return parts


def stack(names: Sequence[str], styles: Sequence[str], columns: Iterable[Sequence[Value]]) -> tuple[Series, ...]:
    """Build the layers of a stack, the first at the bottom."""
    layers = (Series(n, tuple(c), s) for n, s, c in zip(names, styles, columns, strict=True))
    return tuple(replace(layer, stacked=True) for layer in layers)
