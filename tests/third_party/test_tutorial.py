"""Every snippet of the tutorial, written and run in the order of the page, by a user who has nothing else."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ctckit.testing.component_checks import MONITOR, PENALTY, REGULARIZER, SCHEDULE
from ctckit.testing.model_checks import MODEL

PAGE = Path(__file__).parents[2] / "plugins" / "README.md"
FENCE = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Snippet:
    language: str
    body: str
    file: str | None


def snippets() -> list[Snippet]:
    return [Snippet(m["language"], m["body"], m["file"]) for m in FENCE.finditer(PAGE.read_text())]


def commands(body: str) -> list[tuple[str, list[str]]]:
    """Split a console block into commands and the lines that each is said to print."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def test_every_command_does_what_the_page_says(clean_venv: Any, tmp_path: Path) -> None:
    ran = 0
    for snippet in snippets():
        if snippet.file:
            (tmp_path / snippet.file).write_text(snippet.body)
        if snippet.language != "console":
            continue
        for command, expected in commands(snippet.body):
            outcome = clean_venv.run(command, tmp_path, succeed=False)
            printed = outcome.stdout + outcome.stderr
            fails = any(line.startswith(("Error:", "  FAILED")) for line in expected)
            assert (outcome.returncode != 0) is fails, f"$ {command}\n{printed}"
            for line in expected:
                assert line in printed, f"$ {command}\n{printed}"
            ran += 1
    assert ran >= 15
    shifts = re.findall(r'"shift": ?(-?[0-9.]+)', (tmp_path / "runs/cosine/history.jsonl").read_text())
    assert [f"{float(shift):.3g}" for shift in shifts][:4] == ["-1.71", "-1", "-0.293", "0"]


def test_every_python_snippet_is_run() -> None:
    python = [snippet for snippet in snippets() if snippet.language == "python"]
    assert len(python) >= 6
    console = "".join(snippet.body for snippet in snippets() if snippet.language == "console")
    for snippet in python:
        assert snippet.file is not None
        assert snippet.file in console


def test_a_penalty_is_at_most_25_lines() -> None:
    (penalty,) = [snippet for snippet in snippets() if snippet.file == "cosine.py"]
    assert len([line for line in penalty.body.splitlines() if line.strip()]) <= 25


def test_toml_snippets_are_toml() -> None:
    for snippet in snippets():
        if snippet.language == "toml":
            assert tomllib.loads(snippet.body)


def test_the_table_of_checks_is_complete() -> None:
    page = PAGE.read_text()
    table = page[page.index("## What the checks promise") : page.index("## Stability")]
    assert set(re.findall(r"`(\w+)`", table)) == {
        f.__name__ for f in (*SCHEDULE, *PENALTY, *REGULARIZER, *MONITOR, *MODEL)
    }


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE.read_text()))
def test_links_lead_somewhere(anchor: str) -> None:
    headings = re.findall(r"^## (.+)$", PAGE.read_text(), flags=re.M)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
