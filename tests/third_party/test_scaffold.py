"""What ``ctckit plugins new`` writes installs, passes its own tests, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctckit.testing import TinyCorpus

KINDS = {
    "penalty": "fading",
    "schedule": "falling",
    "regularizer": "unsure",
    "monitor": "watching",
    "model": "recurring",
}


@pytest.fixture(scope="module")
def written(clean_venv: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin of each kind, all of them installed."""
    folder = tmp_path_factory.mktemp("written")
    for kind, name in KINDS.items():
        wrote = clean_venv.run(f"ctckit plugins new {name} --kind {kind}", folder).stdout
        assert wrote.splitlines()[-1] == f'next: cd ctckit-{name} && pip install -e ".[test]" && pytest'
    clean_venv.run("pip install " + " ".join(f'-e "./ctckit-{name}[test]"' for name in KINDS.values()), folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_it_installs_and_passes_its_own_tests_at_once(clean_venv: Any, written: Path, kind: str) -> None:
    name = KINDS[kind]
    folder = written / f"ctckit-{name}"
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert sorted(str(path) for path in files if not path.parts[0].endswith(".egg-info")) == [
        "README.md",
        f"ctckit_{name}.py",
        "pyproject.toml",
        "tests/test_contract.py",
    ]
    assert all((folder / path).read_text().isascii() for path in files)
    assert " passed" in clean_venv.run("pytest -q -W error -p no:cacheprovider", folder).stdout
    assert f"{kind} {name}: " in clean_venv.run(f"ctckit plugins check {name}", folder).stdout


def test_its_readme_trains_with_it(clean_venv: Any, tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    wrote = clean_venv.run("ctckit plugins new easy-going", tmp_path).stdout
    # the line that it ends with, as it stands
    clean_venv.run(wrote.splitlines()[-1].removeprefix("next: "), tmp_path)
    readme = (tmp_path / "ctckit-easy-going" / "README.md").read_text()
    (command,) = [line for line in readme.splitlines() if line.startswith("ctckit train")]
    assert command == "ctckit train --plugin easy_going --set 'phases.*.penalty=easy_going'"
    quick = (
        f"--data {tiny_corpus.train} --dev {tiny_corpus.dev} --set model.hidden_size=8 --set 'phases.*.epochs=1'"
    )
    clean_venv.run(f"{command} {quick} --threads 1 --out run", tmp_path)
    assert '"name":"easy_going"' in (tmp_path / "run" / "history.jsonl").read_text().replace('": "', '":"')
