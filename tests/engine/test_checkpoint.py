from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ctckit import CheckpointError
from ctckit.engine.checkpoint import load_checkpoint, save_checkpoint


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"weights": torch.arange(3), "names": ["x"], "best": None})
    state = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(state["weights"], torch.arange(3))
    assert (state["names"], state["best"]) == (["x"], None)


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"value": 1})

    def full_disk(_state: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos\nmore lines")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"a\.pt: cannot be written: \[enforce fail") as error:
        save_checkpoint(path, {"value": 2})
    assert "\n" not in str(error.value)
    assert load_checkpoint(path)["value"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]


def test_unreadable_checkpoints_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"value": torch.zeros(1000)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for broken, message in ((path, "not a readable checkpoint"), (tmp_path / "b.pt", "no such checkpoint")):
        with pytest.raises(CheckpointError, match=message) as error:
            load_checkpoint(broken)
        assert "\n" not in str(error.value)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="not a checkpoint of ctckit"):
        load_checkpoint(path)
    path.write_text("notes")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    torch.save({"format": 99}, path)
    with pytest.raises(CheckpointError, match="not format 2, which this ctckit reads"):
        load_checkpoint(path)
    torch.save({"format": 1}, path)
    with pytest.raises(CheckpointError, match=r"a\.pt: was written by an earlier ctckit.*; train anew") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
