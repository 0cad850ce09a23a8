"""The reference for plugin authors leaves no public name out."""

from __future__ import annotations

import re
from pathlib import Path

import ctckit
import ctckit.testing

PAGES = Path(__file__).parents[2] / "docs" / "pages"


def test_every_public_name_has_its_entry() -> None:
    shown = {
        identifier
        for page in PAGES.glob("*.md")
        for identifier in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.M)
    }
    last = {identifier.rpartition(".")[2] for identifier in shown}
    errors = {name for name in ctckit.__all__ if name.endswith("Error")}  # a page of their own shows them all
    assert "ctckit.errors" in shown
    assert {*ctckit.__all__, *ctckit.testing.__all__} - errors <= last


def test_every_page_is_in_the_navigation() -> None:
    config = (PAGES.parent / "mkdocs.yml").read_text()
    for page in PAGES.glob("*.md"):
        assert f": {page.name}\n" in config
