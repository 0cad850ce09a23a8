"""Emission lattices as inline SVG: posteriors of a clip's labels over time, under transcript and hypothesis.

Colours and fonts come from the page's style sheet, by class, as in ``plots``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from ctckit.report import page
from ctckit.report.plots import linear_ticks
from ctckit.types import Lattice

WIDTH, LEFT, RIGHT = 1100, 130, 12
ROW, GAP, LINE = 26, 6, 17
AXIS = 34
CHARACTER = 7.2
"""Width of a character of the page's type at the size of these texts, on the wide side."""

QUIET = 0.004
"""Posteriors below this are drawn as the base line, which keeps the page small."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A clip's picture and what stands above it."""

    lattice: Lattice
    svg: Markup

    @property
    def summary(self) -> str:
        """How many errors the clip has, by kind."""
        one = self.lattice.hypothesis
        if not one.reference:
            return f"tokens: {len(one.tokens)}, no transcript"
        errors = one.substitutions + one.deletions + one.insertions
        return (
            f"errors: {errors} in {len(one.reference)} tokens ({one.substitutions} substituted, "
            f"{one.deletions} deleted, {one.insertions} inserted)"
        )


def draw_lattices(lattices: Sequence[Lattice]) -> list[Drawn]:
    """Draw each clip."""
    return [Drawn(lattice, Markup(draw(lattice, f"lattice-{number}"))) for number, lattice in enumerate(lattices)]


def render_clips(title: str, lattices: Sequence[Drawn]) -> str:
    """Return a page of clips alone."""
    return page.fill("clips.html", title=title, lattices=lattices)


def draw(lattice: Lattice, key: str) -> str:
    """Return the ``<svg>`` of a clip; ``key`` is its identifier within the page."""
    one = lattice.hypothesis
    parts: list[str] = []
    top = 0
    if lattice.reference_spans:
        drawn, top = _track(
            "reference", one.reference, lattice.reference_spans, lattice.reference_right, lattice.frames, top
        )
        parts += drawn
    spans = tuple(zip(one.starts, one.ends, strict=True))
    drawn, top = _track("hypothesis", one.tokens, spans, lattice.right, lattice.frames, top)
    parts += drawn
    for label, posteriors in zip(lattice.labels, lattice.posteriors_LT, strict=True):
        parts += _row(label, posteriors, top, "s-a")
        top += ROW
    parts += _row("blank", lattice.blank_T, top + GAP, "s-c")
    top += ROW + GAP
    parts += _time_axis(lattice, top)
    head = (
        f'<svg class="lattice" viewBox="0 0 {WIDTH} {top + AXIS}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(one.clip_id)}</title><desc id="{key}-d">{escape(describe(lattice))}</desc>'
    )
    return "\n".join([head, *parts, "</svg>"])


def describe(lattice: Lattice) -> str:
    """Say in words what a picture shows, for those who do not see it."""
    one = lattice.hypothesis
    heard = ", ".join(
        f"{token} from frame {start} to {end}{'' if right or not one.reference else ' (wrong)'}"
        for token, start, end, right in zip(one.tokens, one.starts, one.ends, lattice.right, strict=True)
    )
    missed = [token for token, right in zip(one.reference, lattice.reference_right, strict=True) if not right]
    return f"Heard: {heard or 'nothing'}." + (f" Not heard: {', '.join(missed)}." if missed else "")


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _track(
    name: str,
    tokens: Sequence[str],
    spans: Sequence[tuple[int, int]],
    right: Sequence[bool],
    frames: int,
    top: int,
) -> tuple[list[str], int]:
    """Draw tokens at their places, each on the first line with room for its text; return the height below."""
    ends: list[float] = []
    parts = []
    for token, (start, end), good in zip(tokens, spans, right, strict=True):
        x, width = _x(start / frames), max(2.0, _x(end / frames) - _x(start / frames))
        text = token if len(token) <= 24 else token[:23] + "."
        room = max(width, len(text) * CHARACTER) + 5.0
        line = next((number for number, taken in enumerate(ends) if taken <= x), len(ends))
        ends[line : line + 1] = [x + room]
        y = top + line * LINE
        anchor = f'x="{x + 2:.1f}"' if x + room <= WIDTH else f'x="{WIDTH - 2}" text-anchor="end"'
        parts.append(
            f'<g class="span {"same" if good else "off"}"><title>{escape(token)}: frames {start} to {end}</title>'
            f'<rect x="{x:.1f}" y="{y + 13}" width="{width:.1f}" height="3"/>'
            f'<text {anchor} y="{y + 11}">{escape(text)}</text></g>'
        )
    lines = max(1, len(ends))
    parts.append(f'<text class="row-name" x="{LEFT - 8}" y="{top + 11}">{name}</text>')
    return parts, top + lines * LINE + GAP


def _row(label: str, posteriors: Sequence[float], top: int, style: str) -> list[str]:
    base = top + ROW - 3
    text = label if len(label) <= 16 else label[:15] + "."
    return [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>',
        f'<text class="row-name" x="{LEFT - 8}" y="{base - 3}"><title>{escape(label)}</title>{escape(text)}</text>',
        *(f'<path class="area {style}" d="{outline}"/>' for outline in _outlines(posteriors, base)),
    ]


def _outlines(posteriors: Sequence[float], base: int) -> Iterator[str]:
    """Yield the outline of each stretch that is not quiet; a frame is as wide as it lasts."""
    count = len(posteriors)
    height = ROW - 6
    steps: list[str] = []
    for number, value in enumerate((*posteriors, 0.0)):
        if value >= QUIET and number < count:
            if not steps:
                steps.append(f"M{_x(number / count):.1f} {base}")
            steps.append(f"V{base - value * height:.1f}H{_x((number + 1) / count):.1f}")
        elif steps:
            yield "".join([*steps, f"V{base}Z"])
            steps = []


def _time_axis(lattice: Lattice, top: int) -> list[str]:
    rate = lattice.hypothesis.frame_rate
    length = lattice.frames / rate if rate else float(lattice.frames)
    parts = [
        f'<text class="tick-x" x="{_x(tick / length):.1f}" y="{top + 16}">{tick:g}</text>'
        for tick in linear_ticks(0.0, length, 10)
        if tick <= length
    ]
    unit = "seconds" if rate else "frames"
    return [*parts, f'<text class="row-name" x="{LEFT - 8}" y="{top + 16}">{unit}</text>']
