"""How the suite itself runs: what is skipped, what starts first, and processes that are forks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import suite
from warm import Warm

from ctckit.ops import build


@pytest.fixture
def csrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "kernel.h").write_text("int one;")
    monkeypatch.setattr(build, "sources_folder", lambda: folder)
    monkeypatch.setenv("CTCKIT_CACHE", str(tmp_path / "cache"))
    return folder


def test_the_key_is_that_of_csrc_and_of_what_is_given(csrc: Path, tmp_path: Path) -> None:
    first = suite.key("flags")
    assert suite.key("flags") == first
    assert suite.key("other flags") != first
    (csrc / "kernel.h").write_text("int two;")
    second = suite.key("flags")
    assert second != first
    (csrc / "kernel.h").rename(csrc / "renamed.h")
    assert suite.key("flags") not in (first, second)


class Config:
    def __init__(self, seed: int | None = None) -> None:
        self.options = {"--hypothesis-profile": "fixed", "--hypothesis-seed": seed}

    def getoption(self, name: str) -> Any:
        return self.options[name]


def item(name: str, *, csrc: bool) -> Any:
    return SimpleNamespace(nodeid=name, get_closest_marker=lambda _: object() if csrc else None)


def skipped(config: Config, names: list[str], *, full: bool = False) -> list[str]:
    """Which of these tests, all marked csrc, a session would skip."""
    plugin = suite.PassedBefore(full=full)
    items = [item(name, csrc=True) for name in names]
    plugin.pytest_collection_modifyitems(config, items)
    found = []
    for one in items:
        try:
            plugin.pytest_runtest_setup(one)
        except pytest.skip.Exception:
            found.append(one.nodeid)
    return found


def test_what_passed_is_skipped_until_csrc_or_the_examples_change(csrc: Path) -> None:
    config: Any = Config()
    assert skipped(config, ["a", "b"]) == []
    session = suite.PassedBefore(full=False)
    for name, outcome, keywords in (("a", True, ["csrc"]), ("b", False, ["csrc"]), ("c", True, [])):
        session.pytest_runtest_logreport(
            SimpleNamespace(nodeid=name, when="call", passed=outcome, keywords=keywords)
        )
    session.pytest_sessionfinish(SimpleNamespace(config=config))
    assert skipped(config, ["a", "b", "c"]) == ["a"]
    assert skipped(config, ["a"], full=True) == []
    assert skipped(Config(seed=7), ["a"]) == []
    (csrc / "kernel.h").write_text("int two;")
    assert skipped(config, ["a"]) == []


def test_slow_files_come_first_and_each_stays_in_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "SECONDS", tmp_path / "seconds.json")
    suite.SECONDS.write_text(json.dumps({"slow.py": 9, "a/slower.py": 30}))
    names = ["new.py::1", "slow.py::2", "slow.py::1", "a/slower.py::1", "new.py::2"]
    items: Any = [SimpleNamespace(nodeid=name, path=suite.TESTS / name.partition("::")[0]) for name in names]
    suite.SlowestFirst(store=False).pytest_collection_modifyitems(items)
    order = [one.nodeid for one in items]
    assert order == ["a/slower.py::1", "slow.py::2", "slow.py::1", "new.py::1", "new.py::2"]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    process = Warm(dict(os.environ))
    yield process
    process.close()


PROGRAM = """
import sys
from pathlib import Path
print(sys.argv[1:], Path.cwd(), __name__, 'torch' in sys.modules)
sys.modules['left.behind'] = sys
if sys.argv[1:] == ['raise']:
    raise KeyError('why')
raise SystemExit(len(sys.argv) - 1)
"""


def test_a_fork_is_a_process_of_its_own(warm: Warm, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = warm.run(script, ["one", "two"], tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == f"['one', 'two'] {tmp_path} __main__ True\n"
    failed = warm.run(script, ["raise"], tmp_path)
    assert failed.returncode == 1
    assert "KeyError: 'why'" in failed.stderr
    script.write_text("import sys; print('left.behind' in sys.modules)")
    assert warm.run(script, [], tmp_path).stdout == "False\n"
