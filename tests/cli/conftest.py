"""Runs ``ctckit`` as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = [
    "--threads=1",
    "--set=model.hidden_size=24",
    "--set=batch_size=8",
    "--set=phases.warmup.epochs=1",
    "--set=phases.warmup.schedule.epochs=1",
    "--set=phases.warmup.schedule.lr=0.01",
    "--set=phases.exploration.epochs=22",
    "--set=phases.exploration.schedule.lr=0.01",
    "--set=phases.consolidation.epochs=1",
    "--set=phases.fine_tuning.epochs=1",
]


@pytest.fixture(scope="session")
def cli() -> Cli:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ctckit", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**environment, **options.pop("env", {})},
            timeout=240,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def trained(cli: Cli, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the tiny corpora."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    corpora = ["--data", tiny.train, "--dev", tiny.dev, "--test", tiny.test]
    done = cli("train", *corpora, *QUICK, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder
