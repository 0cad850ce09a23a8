"""examples/phoenix_to_report.py, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ctckit.data import open_corpus

EXAMPLE = Path(__file__).parents[2] / "examples" / "phoenix_to_report.py"


def test_from_a_folder_to_a_report(tmp_path: Path) -> None:
    small = ["model.hidden_size=16", "batch_size=8", "phases.*.schedule.name=constant", "phases.*.schedule.lr=0.01"]
    settings = [part for one in small for part in ("--set", one)]
    command = [sys.executable, EXAMPLE, "--out", tmp_path / "out", "--epochs", "1", *settings]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "read as PHOENIX CSV, separated by '|', id from column 'id', text from 'annotation'" in done.stdout
    assert "left out 12 features without a row" in done.stdout
    assert "60 rows, 60 used" in done.stdout
    assert open_corpus(tmp_path / "out" / "dev.h5").attribute("signer", 0).startswith("Signer")
    assert list((tmp_path / "out" / "run").glob("*.html"))
