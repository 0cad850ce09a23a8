from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from histories import LEFT, write
from pages import tree_of, words

from ctckit.cli import main


def test_command_writes_the_page_and_prints_the_verdict(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    outcome = CliRunner().invoke(main, ["report", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.output.splitlines()
    assert lines[0] == str(folder / "report.html")
    assert lines[1] == "HEALTHY since epoch 5 (2 epochs): labels are recognised."
    assert "  Left the unigram plateau in epoch 3; best WER 31.2 % in epoch 4." in lines
    assert (
        words(tree_of((folder / "report.html").read_text(encoding="utf-8")).find("body/main/header/h1")) == "toy-1"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "report.html"]


def test_command_prints_json(tmp_path: Path) -> None:
    folder, page = write(tmp_path / "toy-1", LEFT), tmp_path / "page.html"
    outcome = CliRunner().invoke(main, ["report", str(folder), "-o", str(page), "--json"])
    told = json.loads(outcome.output)
    assert (told["report"], told["state"], told["left_plateau"]) == (str(page), "HEALTHY", 3)
    assert page.is_file()


def test_command_fails_in_one_line(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert outcome.exit_code == 3
    assert outcome.output.count("\n") == 1


def test_a_page_that_cannot_be_written_names_its_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    (folder / "taken.html").mkdir()
    outcome = CliRunner().invoke(main, ["report", str(folder), "-o", str(folder / "taken.html")])
    assert outcome.exit_code == 3
    assert f"{folder / 'taken.html'}: cannot be written" in outcome.output
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "taken.html"]


def test_report_needs_no_torch_and_the_command_imports_lazily(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    program = (
        "import sys\n"
        "import ctckit.cli.report\n"
        "early = {'torch', 'jinja2', 'numpy'} & set(sys.modules)\n"
        "assert not early, early\n"
        "from ctckit.cli import main\n"
        f"main(['report', {str(folder)!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'h5py', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
