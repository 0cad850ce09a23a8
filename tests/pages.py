"""The page of a run, and what is read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ctckit.doctor.verdict import judge
from ctckit.record.history import recorded
from ctckit.report.html import render


def page_of(rows: list[dict[str, Any]]) -> str:
    summary = recorded(rows, Path("runs/toy-1/history.jsonl"))
    return render(summary, judge(summary))


def tree_of(page: str) -> ElementTree.Element:
    """The page is written so that it is well-formed XML too."""
    return ElementTree.fromstring(page)


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())
