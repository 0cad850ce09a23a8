"""The verbs on good input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_train_leaves_a_run_with_provenance(trained: Path) -> None:
    first, *rows = history(trained)
    assert first["kind"] == "run"
    assert {"ctckit", "torch", "plugins", "seed", "ops", "ops_reason", "data", "config", "classes"} <= set(first)
    assert first["plugins"][0]["name"] == "hierarchical_fixed"
    assert first["plugins"][0]["distribution"] == "ctckit"
    assert [row["epoch"] for row in rows if row["kind"] == "epoch"] == list(range(1, 26))
    assert rows[-2]["kind"] == "end"
    assert rows[-2]["reason"] == "finished"
    assert rows[-1]["kind"] == "test"
    assert rows[-1]["wer"] < 30
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["best.pt", "last.pt"]


def test_evaluate_agrees_with_the_history(cli: Any, trained: Path, tiny: Any) -> None:
    done = cli("evaluate", trained, "--data", tiny.dev, "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    best = next(row for row in history(trained) if row["kind"] == "epoch" and row["epoch"] == scores["epoch"])
    # a remaining logit shift was folded into the bias, and the scores are those of training
    assert scores["wer"] == pytest.approx(best["val_wer"])
    assert scores["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert scores["raw_blank_ratio"] == pytest.approx(best["blank_ratio"])
    readable = cli("evaluate", trained)
    assert "word errors" in readable.stdout
    assert "(S " in readable.stdout


def test_decode_gives_times_and_scores(cli: Any, trained: Path, tiny: Any, tmp_path: Path) -> None:
    done = cli("decode", trained, "--data", tiny.test)
    assert done.returncode == 0, done.stderr
    clips = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(clips) == 12
    for clip in clips:
        tokens = clip["tokens"]
        assert all(token["score"] <= 0 for token in tokens)
        assert all(token["start"] < token["end"] for token in tokens)
        starts = [token["start"] for token in tokens]
        assert starts == sorted(starts)
    out = tmp_path / "decoded.jsonl"
    assert cli("decode", trained, "--data", tiny.test, "--out", out).returncode == 0
    assert out.read_text() == done.stdout


def test_tokens_that_training_never_saw_count_as_errors(cli: Any, trained: Path, tmp_path: Path) -> None:
    import numpy as np

    from ctckit.data import CorpusWriter

    path = tmp_path / "unseen.h5"
    with CorpusWriter(path, 5, dtype="float32") as writer:
        writer.add("one", np.zeros((9, 5), np.float32), ["ant", "yak"])
    done = cli("evaluate", trained, "--data", path, "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["unknown"] == ["yak"]
    assert scores["reference_tokens"] == 2
    assert scores["deletions"] + scores["substitutions"] >= 1


def test_dry_run_reports_and_writes_nothing(cli: Any, tiny: Any, tmp_path: Path) -> None:
    done = cli("train", "--data", tiny.train, "--dev", tiny.dev, "--dry-run", "--json", "--threads=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert len(outcome["step_seconds"]) == 3
    assert outcome["peak_memory_mb"] > 0
    assert outcome["batches"] == 3
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(cli: Any, tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "ctckit", "train", "--data", str(tiny.train), "--dev", str(tiny.dev)]
    process = subprocess.Popen(
        [*command, "--threads=1", "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (folder / "checkpoints" / "last.pt").exists():  # after the first epoch
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0
    assert f"go on with: ctckit train --resume {folder}" in errors
    assert history(folder)[-1]["reason"] == "interrupted"
    done = cli("train", "--resume", folder, "--max-minutes", "0.0001", "--threads=1")
    assert done.returncode == 0, done.stderr
    assert "resume" in [row["kind"] for row in history(folder)]


def test_plugins_list_and_show(cli: Any) -> None:
    listed = json.loads(cli("plugins", "list", "--json").stdout)
    assert {"hierarchical_fixed", "hierarchical_multistage"} <= {plugin["name"] for plugin in listed}
    shown = cli("plugins", "show", "hierarchical_fixed").stdout
    assert "model hierarchical_bilstm" in shown
    assert "hidden_size" in shown


def test_info_says_which_kernels_run_and_why(cli: Any) -> None:
    facts = json.loads(cli("info", "--json", env={"CTCKIT_OPS": "reference"}).stdout)
    assert facts["ops name"] == "reference"
    assert "CTCKIT_OPS" in facts["ops reason"]


def test_report_is_written(cli: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = cli("report", trained, "-o", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_a_plugin_file_changes_a_training(cli: Any, tiny: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "cosine.py"
    plugin.write_text(
        "import math\n"
        "from dataclasses import dataclass\n"
        "import ctckit\n\n"
        "@dataclass\n"
        "class CosineBlankPenalty(ctckit.Penalty):\n"
        "    start: float = -2.0\n"
        "    epochs: int = 30\n\n"
        "    def shift(self, at):\n"
        "        done = min(at.epoch / self.epochs, 1.0)\n"
        "        return self.start * 0.5 * (1.0 + math.cos(math.pi * done))\n\n"
        "@ctckit.hookimpl\n"
        "def ctckit_register(registry):\n"
        "    registry.penalty('cosine', CosineBlankPenalty)\n"
        "import sys\n"
        "print('imported', file=sys.stderr)\n"
    )
    odd = tmp_path / "run[x=1]"  # square brackets are markup to rich
    chosen = ["--plugin", plugin, "--set", "phases.*.penalty=cosine", "--set", "phases.*.penalty.epochs=2"]
    sizes = ["--set", "phases.*.epochs=1", "--set", "model.hidden_size=8", "--threads=1"]
    folder = odd
    done = cli("train", "--data", tiny.train, "--dev", tiny.dev, "--out", folder, *chosen, *sizes)
    assert done.returncode == 0, done.stderr
    assert "run[x=1]" in done.stderr
    assert "no recipe in" in done.stderr
    assert done.stderr.count("imported") == 1
    shifts = [row["shift"] for row in history(folder) if row["kind"] == "epoch"]
    assert shifts == pytest.approx([-1.0, 0.0, 0.0, 0.0])
    assert history(folder)[0]["plugins"][0]["version"].startswith("sha256:")
