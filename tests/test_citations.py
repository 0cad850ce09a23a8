"""What code and pages cite as ``docs/founding-document.md X`` is a section of that page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "founding-document.md"
FOLDERS = ("ctckit", "plugins", "csrc", "docs", "tests", "benchmarks")
SUFFIXES = {".py", ".md", ".toml", ".yml", ".html", ".h", ".cpp", ".cu", ".cuh"}

SECTION = r"(?:C?\d+(?:\.\d+)*|Appendix)\b"
AFTER_NAME = r"founding-document\.md[\s#]+"  # a citation may be wrapped, in a comment too
CITED = re.compile(rf"{AFTER_NAME}({SECTION}(?:(?:,|;| and)[\s#]+{SECTION})*)")
MISSHAPEN = re.compile(rf"{AFTER_NAME}(?:section|part|correction)s?\b.*", re.IGNORECASE)
LINKED = re.compile(r"founding-document\.md#([^)\s]+)\)")


def texts() -> Iterator[tuple[Path, str]]:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    for path in [*ROOT.glob("*.md"), *paths]:
        if path.suffix in SUFFIXES and "build" not in path.relative_to(ROOT).parts:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def cited() -> list[tuple[Path, str]]:
    return [
        (path, section)
        for path, text in texts()
        for sections in [*CITED.findall(text), *LINKED.findall(text)]
        for section in re.findall(SECTION, sections) or [sections]
    ]


def sections() -> list[str]:
    return re.findall(r'^#+ <a id="([^"]+)"></a>', PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_cited_section_is_there() -> None:
    known, found = set(sections()), cited()
    folders = {path.parts[0] for path, _ in found}
    assert {"ctckit", "plugins", "docs", "README.md", "ARCHITECTURE.md"} <= folders, folders
    assert [(str(path), section) for path, section in found if section not in known] == []


def test_citations_give_the_number_alone() -> None:
    found = [(str(path), match.group()) for path, text in texts() for match in MISSHAPEN.finditer(text)]
    assert found == []


def test_nothing_cites_the_page_as_it_was_called_before() -> None:
    old = re.compile("diagnosis" + r"(?:[- ]review)?, sections?\s")
    assert [(str(path), match.group()) for path, text in texts() for match in old.finditer(text)] == []


def test_anchors_are_the_numbers_of_their_headings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    numbered = re.findall(rf"^##+ (?:<[^>]*>)*({SECTION})", text, flags=re.MULTILINE)
    assert sections() == numbered
    assert len(set(numbered)) == len(numbered)
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= set(numbered)
