"""The table of ratios that ends a benchmark run."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
import torch


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured against its goal and its floor."""

    name: str
    measured: float
    goal: float
    floor: float | None
    unit: str
    note: str
    more_is_better: bool

    def verdict(self) -> str:
        def reaches(mark: float) -> bool:
            return self.measured >= mark if self.more_is_better else self.measured <= mark

        if reaches(self.goal):
            return "goal"
        return "floor" if self.floor is not None and reaches(self.floor) else "BELOW"


class Table:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(
        self,
        name: str,
        measured: float,
        *,
        goal: float,
        floor: float | None = None,
        unit: str = "x",
        note: str = "",
        more_is_better: bool = True,
    ) -> None:
        self.rows.append(Row(name, measured, goal, floor, unit, note, more_is_better))


_TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLE] = Table()


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    return request.config.stash[_TABLE]


@pytest.fixture(autouse=True)
def _only_on_request(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--benchmark"):
        pytest.skip("benchmarks run with --benchmark")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_TABLE].rows
    if not rows:
        return
    threads = torch.get_num_threads()
    waiting = os.environ.get("OMP_WAIT_POLICY", "not set")
    terminalreporter.section("figures")
    terminalreporter.write_line(f"torch {torch.__version__}, {threads} threads, OMP_WAIT_POLICY {waiting}")
    terminalreporter.write_line(f"{'':58} {'measured':>10} {'goal':>8} {'floor':>8}")
    for row in rows:
        floor = "" if row.floor is None else f"{row.floor:.3g}"
        sign = "" if row.more_is_better else "<="
        terminalreporter.write_line(
            f"{row.name:58} {row.measured:>9.3g}{row.unit:1} {sign + format(row.goal, '.3g'):>8} {floor:>8}"
            f"  {row.verdict():6} {row.note}"
        )
