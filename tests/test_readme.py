"""Runs the commands that README.md prints, on files with the names that it uses.

Trainings are cut to a few small epochs; `make` targets are left out, because `make test` runs this very test.
"""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SMALL = {
    "phases.*.epochs": 8,
    "phases.*.schedule.name": "constant",
    "phases.*.schedule.lr": 0.01,
    "phases.*.dropout": 0,
    "model.hidden_size": 24,
    "batch_size": 4,
}
SHORT = ["--threads", "1", *(part for key, value in SMALL.items() for part in ("--set", f"{key}={value}"))]


EXIT_CODES = {"audit": {0, 10}, "diagnose": {0, 10}}
"""Verbs that tell by their exit code what they found; a corpus this small deserves a warning."""


def toml_block(*, plan: bool) -> str:
    """The settings file that README.md prints, or the plan of an ablation."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (found,) = [block for block in blocks if ("[variants." in block) == plan]
    return str(found)


def commands() -> list[list[str]]:
    """`ctckit` lines of fenced blocks, then of inline code."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    fenced = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in fenced for line in block.splitlines()]
    inline = re.findall(r"`(ctckit [^`\n]+)`", text)
    found = [shlex.split(line, comments=True) for line in [*lines, *inline] if line.startswith("ctckit ")]
    # a dev corpus has to be carved before anything can use it
    found.sort(key=lambda command: "split" not in command)
    return [command for command in found if "--resume" not in command]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Holds the user's files: all.h5 and test.h5 with one group a clip, a folder of .npy files, a history."""
    random = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    table = [("id", "transcript")]
    for name, count in (("all", 24), ("test", 6)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for number in range(count):
                words = ["rain", "then", "sun"] if number % 2 else ["sun"]
                features = 0.1 * random.standard_normal((24, 6)).astype(np.float32)
                for place, word in enumerate(words):  # a word is a bump in a column of its own
                    features[8 * place + 2 : 8 * place + 6, ["rain", "then", "sun"].index(word)] += 3.0
                group = file.create_group(f"{name}-{number:02d}")
                group["features"] = features
                group.attrs["transcript"] = " ".join(words)
                group.attrs["speaker"] = str(number % 12)
                if name == "test":
                    np.save(tmp_path / "features" / f"{number}.npy", features)
                    table.append((str(number), "sun"))
    with (tmp_path / "transcripts.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(table)
    (tmp_path / "metrics.csv").write_text(
        "epoch,train_loss,val_loss,val_wer\n1,45,40,100\n2,33,30,80\n3,24,22,60\n4,18,17,45\n"
    )
    return tmp_path


def test_the_readme_has_commands() -> None:
    verbs = {command[1] for command in commands()}
    assert {"train", "evaluate", "decode", "report", "data", "plugins", "info"} <= verbs


def test_every_command_of_the_readme_runs(cli: Any, place: Path) -> None:
    (place / "penalties.toml").write_text(toml_block(plan=True))
    for command in commands():
        short = SHORT if command[1] in ("train", "ablate") else []
        if command[1] == "ablate":
            short = [*short, "--data", "all.h5", "--dev", "all.h5"]
        done = cli(*command[1:], *short, cwd=place)
        accepted = EXIT_CODES.get(command[1], {0})
        assert done.returncode in accepted, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


def test_the_settings_file_of_the_readme_is_valid(cli: Any, place: Path) -> None:
    (place / "run.toml").write_text(toml_block(plan=False))
    done = cli(
        "train", "--config", "run.toml", "--data", "all.h5", "--dev", "all.h5", "--dry-run", *SHORT, cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stderr


def test_make_targets_of_the_readme_exist() -> None:
    wanted = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert wanted
    dry = subprocess.run(["make", "-n", *sorted(wanted)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr
