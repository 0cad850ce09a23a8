"""The examples with other people's trainers run, and are read back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from ctckit.record.history import read_history

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "package"), [("huggingface_callback", "transformers"), ("speechbrain_watch", "speechbrain")]
)
def test_an_example_writes_a_history(example: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make test-integrations")
    command = [
        sys.executable,
        EXAMPLES / f"{example}.py",
        "--out",
        tmp_path / "run",
        "--epochs",
        "2",
        "--clips",
        "96",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recorded = read_history(tmp_path / "run")
    assert [epoch.epoch for epoch in recorded.epochs] == [1, 2]
    assert recorded.epochs[-1].val_wer is not None
    assert recorded.epochs[-1].plateau_loss is not None
    assert recorded.ending is not None
    assert recorded.ending["reason"] == "finished"
