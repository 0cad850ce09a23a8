from __future__ import annotations

from pathlib import Path

import pytest
from easing import call


def test_new_overwrites_nothing(tmp_path: Path) -> None:
    assert call("plugins", "new", "cosine", "--into", str(tmp_path)).exit_code == 0
    module = tmp_path / "ctckit-cosine" / "ctckit_cosine.py"
    module.write_text("mine")
    outcome = call("plugins", "new", "ctckit-cosine", "--into", str(tmp_path))
    assert outcome.exit_code == 4
    assert "ctckit-cosine exists already and is left as it is; choose another name" in outcome.output
    assert module.read_text() == "mine"


@pytest.mark.parametrize("name", ["Cosine", "9lives", "class", "a b", "../x", ""])
def test_new_refuses_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    outcome = call("plugins", "new", "--into", str(tmp_path), name)
    assert outcome.exit_code == 4
    assert f"'{name}' cannot name a plugin; use small letters, digits and -" in outcome.output
    assert list(tmp_path.iterdir()) == []


def test_new_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = call("plugins", "new", "cosine", "--into", str(tmp_path / "file"))
    assert outcome.exit_code == 4
    assert "cannot be written: Not a directory; give another --into" in outcome.output
