"""``ctckit train`` with a plugin file that is changed while it trains."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ctckit
from ctckit.cli import main

FILE = """
import ctckit
from torch import nn


class Linear(ctckit.Model):
    def __init__(self, input_size: int, num_classes: int):
        super().__init__()
        self.head = nn.Linear(input_size, num_classes)

    def forward(self, features_BTF, lengths_B):
        return ctckit.Emissions(self.head(features_BTF).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B):
        return lengths_B


class Editing(ctckit.Monitor):
    def observe(self, epoch):
        with open(__file__, "w") as file:
            file.write("raise RuntimeError('the file as it is by now')")
        return []


@ctckit.hookimpl
def ctckit_register(registry):
    registry.model("linear", Linear)
    registry.monitor("editing", Editing)
"""


@pytest.fixture
def edited(tiny: Any, tmp_path: Path) -> tuple[Path, Path, Any]:
    """A run whose plugin file was changed after its first epoch, that file, and the outcome."""
    file, run = tmp_path / "my plugin.py", tmp_path / "my run"
    file.write_text(FILE)
    settings = ["model=linear", "monitors=[{name='editing'}]", "phases.*.schedule={name='constant', lr=0.05}"]
    settings += ["phases.*.penalty=none", "phases.*.dropout=none", "phases.*.stage=none", "batch_size=4"]
    done = CliRunner().invoke(
        main,
        ["train", "--plugin", str(file), "--plugin=hierarchical_fixed", "--data", str(tiny.train), "--dev",
         str(tiny.dev), "--test", str(tiny.test), "--threads=1", "--out", str(run), "--max-updates=150",
         *(f"--set={one}" for one in settings)],
    )  # fmt: skip
    return run, file, done


def test_a_file_that_is_edited_meanwhile_ends_nothing(edited: tuple[Path, Path, Any], tiny: Any) -> None:
    run, file, done = edited
    assert done.exit_code == 0, done.output
    assert file.read_text() != FILE
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows].count("test") == 1
    kept = run / "plugins" / file.name
    assert kept.read_text() == FILE
    with pytest.raises(ctckit.PluginError, match=r"the run keeps that as --plugin .*my plugin\.py'"):
        ctckit.load(run, plugins=[str(file)])
    assert ctckit.load(run, plugins=[str(kept)]).tokens
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("go on with: ctckit "))
    command = shlex.split(line.removeprefix("go on with: ctckit "))
    assert command == ["train", "--resume", str(run), "--plugin", str(kept)]
    again = CliRunner().invoke(main, [*command, "--max-updates=160"])
    assert again.exit_code == 0, again.output
