from __future__ import annotations

import re

import pytest

from ctckit.report import plots
from ctckit.report.plots import Chart, Series


def test_lines_break_where_a_value_is_missing() -> None:
    chart = Chart("k", "T", "u", "n", (Series("s", (1.0, 2.0, None, 4.0), "a"),))
    svg = plots.draw(chart, [1, 2, 3, 4], [], [])
    assert len(re.findall('class="line s-a"', svg)) == 1
    assert len(re.findall('class="dot s-a"', svg)) == 1


def test_stack_adds_up() -> None:
    layers = plots.stack(("low", "high"), ("d", "e"), ((10.0, 10.0), (30.0, 30.0)))
    svg = plots.draw(Chart("k", "T", "u", "n", layers, floor=0.0), [1, 2], [], [])
    tops = [float(top) for top in re.findall(r'class="area s-."\s+d="M[\d.]+ ([\d.]+)L', svg)]
    bottom, full = plots.HEIGHT - plots.BOTTOM, plots.HEIGHT - plots.TOP - plots.BOTTOM
    assert tops == pytest.approx([bottom - full * 10.0 / 40.0, bottom - full], abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 4.31, [0, 1, 2, 3, 4, 5]),
        (87.6, 100.0, [87.5, 90, 92.5, 95, 97.5, 100]),
        (0.0, 0.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 0.0, [-3, -2, -1, 0]),
    ],
)
def test_linear_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert plots.linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(("low", "high"), [(5.0, 5.0), (-1.0, -1.0), (1e-6, 1e-6), (1e300, 1e300), (-0.4, 1e6)])
def test_linear_ticks_cover_anything(low: float, high: float) -> None:
    ticks = plots.linear_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert ticks[0] < ticks[-1]
    assert len(ticks) < 12


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e-3), (0.5, 12.0), (3.0, 3.0), (1e-30, 1e30)])
def test_log_ticks_cover(low: float, high: float) -> None:
    ticks = plots.log_ticks(low, high)
    assert ticks[0] <= low * 1.000001
    assert ticks[-1] >= high * 0.999999
    assert len(ticks) <= 9
