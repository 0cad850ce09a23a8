"""What lies where in the folder of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctckit.engine.folder import checkpoint_in, run_of


def test_the_run_of_a_checkpoint_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_in(tmp_path, "best")
    assert run_of(checkpoint) == tmp_path
    assert run_of(tmp_path / "model.safetensors") == tmp_path
    checkpoint.parent.mkdir()
    monkeypatch.chdir(checkpoint.parent)
    assert run_of(Path("best.pt")) == tmp_path
