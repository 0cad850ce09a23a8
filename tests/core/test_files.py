from __future__ import annotations

from pathlib import Path

import pytest

from ctckit import DataError
from ctckit.files import atomic


def test_atomic_writes_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.txt"
    with atomic(path, DataError) as temporary:
        temporary.write_text("one")

    def fail_half_way() -> None:
        with atomic(path, DataError) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"), atomic(tmp_path / "file" / "b.txt", DataError):
        pass
