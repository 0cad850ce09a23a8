"""The model card, from histories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctckit.doctor.verdict import judge
from ctckit.errors import DataError
from ctckit.record.foreign import read_any
from ctckit.record.history import read_history
from ctckit.report.card import card


def written(rows: list[dict[str, Any]], folder: Path) -> str:
    folder.mkdir()
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = read_history(folder)
    return card(run, judge(run))


CONFIG = {
    "recipe": "mine",
    "model": {"name": "lstm", "hidden_size": 24},
    "batch_size": 8,
    "data": {"train": "/home/me/a/train.h5", "dev": "/home/me/a/dev.h5", "normalize": "corpus", "frame_rate": 25.0},
    "phases": {"main": {"epochs": 2, "schedule": {"name": "constant", "lr": 0.001}, "penalty": None}},
}
RUN = {
    "kind": "run",
    "ctckit": "0.1.0",
    "seed": 3,
    "parameters": 12345,
    "classes": 7,
    "plateau_loss": 2.0,
    "config": CONFIG,
}
EPOCH = {
    "kind": "epoch", "phase": "main", "train_eval_loss": 0.2, "train_loss": 0.3, "val_loss": 0.4, "val_wer": 12.5,
    "deletion_rate": 5.0, "insertion_rate": 1.0, "blank_ratio": 88.0, "blank_reference": 90.0, "plateau_loss": 2.0,
    "unique_nonblank": 6, "label_coverage": 100.0, "utterances": 30, "seconds": 2.0,
}  # fmt: skip


def test_a_card_holds_what_the_history_does(tmp_path: Path) -> None:
    test = {"kind": "test", "corpus": "/home/me/a/test.h5", "epoch": 2, "wer": 14.25, "unknown": ["X", "Y"]}
    text = written([RUN, EPOCH | {"epoch": 1, "val_wer": 40.0}, EPOCH | {"epoch": 2}, test], tmp_path / "run")
    assert "value: 12.50" in text
    assert "value: 14.25" in text
    assert "12,345 parameters and 7 classes" in text
    assert "`hidden_size = 24`" in text
    assert "Frames come at 25 a second" in text
    assert "seed 3" in text
    assert "2 tokens of test.h5 never occur in training" in text
    assert "| main | 2 | `constant` (lr 0.001) | none | none |" in text
    assert "HEALTHY" in text
    assert "/home/me" not in text


def test_a_run_that_never_recognised_says_so(tmp_path: Path) -> None:
    collapsed = EPOCH | {"epoch": 1, "train_eval_loss": 2.0, "val_wer": 100.0, "unique_nonblank": 0}
    text = written([RUN, collapsed], tmp_path / "run")
    assert "there is no model to use" in text
    assert "value:" not in text


def test_what_has_no_card_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no epoch has been finished"):
        written([RUN], tmp_path / "run")
    foreign = tmp_path / "log.csv"
    foreign.write_text("epoch,train_loss,val_wer\n1,2.0,90\n2,1.0,50\n")
    run = read_any(foreign)
    with pytest.raises(DataError, match="another program trained it"):
        card(run, judge(run))


def test_folders_stay_out_of_advice_and_provenance(tmp_path: Path) -> None:
    plugin = {"name": "/home/me/exp.py", "distribution": "", "version": "sha256:1", "target": "/home/me/exp.py"}
    run = RUN | {"plugins": [plugin], "init_from": {"source": "/home/me/first/checkpoints/best.pt", "epoch": 3}}
    stuck = [EPOCH | {"epoch": number, "train_eval_loss": 2.0, "val_wer": 100.0} for number in range(1, 9)]
    text = written([run, *stuck], tmp_path / "run")
    assert "ctckit audit train.h5" in text
    assert "exp.py" in text
    assert "best.pt" in text
    assert "/home/me" not in text
