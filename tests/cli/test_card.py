"""``ctckit card``."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_the_verb_writes_a_file_or_standard_output(cli: Any, trained: Path, tmp_path: Path) -> None:
    shown = cli("card", trained)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("---\nlibrary_name: ctckit\n")
    assert cli("card", trained, "--out", tmp_path / "README.md").returncode == 0
    assert (tmp_path / "README.md").read_text() == shown.stdout
