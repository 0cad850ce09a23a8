"""A run to call the verbs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
def trained(cli: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the tiny corpora."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    corpora = ["--data", tiny.train, "--dev", tiny.dev, "--test", tiny.test]
    done = cli("train", *corpora, *QUICK, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder
