"""Start-up of the command line: what a user waits for before anything happens. Goal: under 0.3 s."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

GOAL_SECONDS = 0.3
ROUNDS = 10


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"]], ids=["help", "plugins list"])
def test_startup(benchmark: Any, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "ctckit", *arguments]

    def start() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    benchmark.pedantic(start, rounds=ROUNDS, warmup_rounds=2)
    benchmark.extra_info["goal_seconds"] = GOAL_SECONDS
    # the fastest round: a busy machine slows single rounds, never speeds them up
    assert benchmark.stats.stats.min < GOAL_SECONDS
