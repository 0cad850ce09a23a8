"""A loop of one's own, watched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ctckit
from ctckit.record.history import HISTORY, read_history

ROOT = Path(__file__).parents[2]


def logits_of(path: list[int], classes: int = 4) -> torch.Tensor:
    return 9.0 * torch.nn.functional.one_hot(torch.tensor(path), classes).float()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits_TBC = torch.stack([logits_of([1, 1, 0, 2, 0, 0]), logits_of([0, 3, 0, 0, 0, 1])], 1)
    return logits_TBC, torch.tensor([6, 5]), torch.tensor([[1, 2], [3, 1]])


def test_figures_are_those_of_measure_and_reach_report_and_diagnose(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    scores = ctckit.measure(batch()[0], [6, 5], [[1, 2], [3, 1]])
    with ctckit.watch(folder, quiet=True) as watcher:
        for _ in range(3):
            watcher.train_step(torch.tensor(0.5), lengths=batch()[1], targets=batch()[2])
            watcher.evaluate_batch(*batch())
            epoch = watcher.end_epoch()
    assert epoch.epoch == 3
    assert epoch.val_wer == pytest.approx(scores.wer)
    assert epoch.val_loss == pytest.approx(scores.loss, rel=1e-6)
    assert epoch.blank_ratio == pytest.approx(scores.blank_ratio)
    assert epoch.train_loss == pytest.approx(0.5)
    recorded = read_history(folder)
    assert len(recorded.epochs) == 3
    assert recorded.epochs[-1].val_wer == epoch.val_wer
    assert cli("report", folder).returncode == 0
    assert (folder / "report.html").is_file()
    diagnosed = cli("diagnose", folder, "--json")
    assert diagnosed.returncode in (0, 10), diagnosed.stderr
    assert "state" in json.loads(diagnosed.stdout)


def test_compare_takes_watched_runs(cli: Any, tmp_path: Path) -> None:
    for name, logits in (("good", batch()[0]), ("bad", batch()[0].flip(0))):
        with ctckit.watch(tmp_path / name, quiet=True) as watcher:
            watcher.train_step(torch.tensor(0.5), lengths=batch()[1], targets=batch()[2])
            watcher.evaluate_batch(logits, *batch()[1:])
            watcher.end_epoch()
    done = cli("compare", tmp_path / "good", tmp_path / "bad", "--json")
    assert done.returncode == 0, done.stderr
    first, other = json.loads(done.stdout)["runs"]
    assert first["wer"] == {"value": 25.0, "low": None, "high": None}
    assert other["difference"]["value"] == pytest.approx(other["wer"]["value"] - 25)
    readable = cli("compare", tmp_path / "good", tmp_path / "bad")
    assert "leaves no model to decode" in readable.stdout
    refused = cli("compare", tmp_path / "good", tmp_path / "bad", "--data", "x.h5")
    assert refused.returncode == 2
    assert "leave it out" in refused.stderr


@pytest.mark.parametrize("blank", [1, 3, -1])
def test_blank_anywhere_and_batch_first(tmp_path: Path, blank: int) -> None:
    logits_TBC, lengths_B, targets_BS = batch()
    order = [1, 2, 3]
    order.insert(blank % 4, 0)
    place = torch.tensor([order.index(label) for label in range(4)])
    with ctckit.watch(tmp_path / "moved", blank=blank, batch_first=True, quiet=True) as watcher:
        watcher.evaluate_batch(logits_TBC[..., order].transpose(0, 1), lengths_B, place[targets_BS])
        moved = watcher.end_epoch()
    with ctckit.watch(tmp_path / "plain", quiet=True) as watcher:
        watcher.evaluate_batch(*batch())
        plain = watcher.end_epoch()
    assert moved.val_wer == plain.val_wer
    assert moved.val_loss == pytest.approx(plain.val_loss)
    assert moved.blank_ratio == plain.blank_ratio


def test_a_run_is_not_overwritten_and_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with ctckit.watch(tmp_path, quiet=True) as watcher:
        watcher.evaluate_batch(*batch())
        watcher.end_epoch()
    written = (tmp_path / HISTORY).read_bytes()
    with pytest.raises(ctckit.ConfigError):
        ctckit.watch(tmp_path, quiet=True)
    assert (tmp_path / HISTORY).read_bytes() == written
    logits_TBC, lengths_B, targets_BS = batch()
    other = ctckit.watch(tmp_path / "other", quiet=True)
    with pytest.raises(ctckit.DataError):
        other.evaluate_batch(logits_TBC, lengths_B[:1], targets_BS)
    with pytest.raises(ctckit.DataError):
        other.evaluate_batch(logits_TBC, lengths_B, targets_BS + 7)


def test_the_example_leaves_the_plateau(tiny: Any, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "own_loop.py", tiny.train, tiny.dev, "--out", tmp_path / "own"]
    done = subprocess.run(
        [*command, "--epochs", "70", "--hidden", "24", "--lr", "0.02"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "on the plateau" in done.stderr
    recorded = read_history(tmp_path / "own")
    assert len(recorded.epochs) == 70
    assert recorded.epochs[-1].val_wer < 60
    assert recorded.left_plateau is not None
    assert recorded.epochs[-1].plateau_loss > 0
