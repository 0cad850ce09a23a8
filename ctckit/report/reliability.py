"""Reliability diagrams as inline SVG: confidence beside the share that was right.

Colours and fonts come from the page's style sheet, by class, as in ``plots``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ctckit.record.calibration import Calibrated, Measured, Reliability

WIDTH, HEIGHT = 320, 300
LEFT, RIGHT, TOP, BOTTOM = 40, 18, 10, 40
TICKS = (0, 20, 40, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A diagram, with its caption and what it says."""

    title: str
    note: str
    svg: Markup


def diagrams(calibrations: Sequence[Calibrated]) -> list[Drawn]:
    """Draw tokens and clips of each corpus."""
    return [
        Drawn(
            f"{name} of {Path(one.corpus).name}{', fitted here' if one.fitted else ''}",
            f"{part.raw.count}, {100 * part.raw.right:.1f} % right; calibration error {100 * part.raw.error:.1f} % "
            f"before, {100 * part.calibrated.error:.1f} % after.",
            Markup(draw(part, f"reliability-{number}-{name}")),
        )
        for number, one in enumerate(calibrations)
        for name, part in (("tokens", one.token), ("clips", one.clip))
    ]


def draw(measured: Measured, key: str) -> str:
    """Return the ``<svg>``; ``key`` is its identifier within the page."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-t {key}-d">',
        f'<title id="{key}-t">Share right by confidence</title>',
        f'<desc id="{key}-d">{describe(measured)}</desc>',
    ]
    for tick in TICKS:
        x, y = _x(tick / 100), _y(tick / 100)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick-y" x="{LEFT - 5}" y="{y + 4:.1f}">{tick}</text>')
        parts.append(f'<text class="tick-x" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{tick}</text>')
    parts.append(f'<path class="line s-reference" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>')
    parts += _line(measured.raw, "c")
    parts += _line(measured.calibrated, "a")
    parts.append(f'<text class="unit-x" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}">confidence, %</text>')
    return "\n".join([*parts, "</svg>"])


def describe(measured: Measured) -> str:
    """Say in words what a diagram shows, for those who do not see it."""
    said = (
        f"{name}: " + ", ".join(f"{100 * one.confidence:.0f} % gave {100 * one.right:.0f} %" for one in part.bins)
        for name, part in (("Before", measured.raw), ("After", measured.calibrated))
    )
    return ". ".join(said) + "."


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)


def _line(reliability: Reliability, style: str) -> Iterator[str]:
    points = [(_x(one.confidence), _y(one.right)) for one in reliability.bins]
    yield f'<path class="line s-{style}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'
    for x, y in points:
        yield f'<circle class="dot s-{style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
