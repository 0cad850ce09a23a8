"""A run to call the verbs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctckit.cli import main

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


@pytest.fixture(scope="session")
def recogniser(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A run that recognises something, trained in this process; only to be read."""
    folder = tmp_path_factory.mktemp("recogniser") / "run"
    options = ["--data", str(tiny.train), "--dev", str(tiny.dev), "--out", str(folder), "--threads", "1"]
    settings = ["model.hidden_size=16", "batch_size=4", "phases.*.schedule.lr=0.01", "phases.exploration.epochs=10"]
    settings += ["phases.warmup.epochs=1", "phases.warmup.schedule.epochs=1", "phases.consolidation.epochs=1"]
    for setting in [*settings, "phases.fine_tuning.epochs=1"]:
        options += ["--set", setting]
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 0, result.output
    assert (folder / "checkpoints" / "best.pt").is_file(), result.output
    return folder
