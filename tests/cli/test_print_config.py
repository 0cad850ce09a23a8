"""``ctckit train --print-config`` prints what ``--config`` takes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ctckit.cli import main


def printed(*options: str) -> Result:
    result = CliRunner().invoke(main, ["train", "--print-config", *options])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("recipe", ["hierarchical_fixed", "hierarchical_adaptive", "hierarchical_multistage"])
@pytest.mark.parametrize("data", [(), ("--data=absent.h5", "--dev=b c.h5", "--seed=7")], ids=["embedded", "own"])
def test_what_is_printed_is_taken_back(recipe: str, data: tuple[str, ...], tmp_path: Path) -> None:
    first = printed(f"--plugin={recipe}", *data, "--set=batch_size=3", "--set=phases.*.penalty=none")
    (tmp_path / "run.toml").write_text(first.stdout)
    again = printed(f"--plugin={recipe}", "--config=run.toml")
    assert again.stdout == first.stdout
    assert "no data given" not in again.stderr  # the file says what the data is
    assert first.stdout.startswith(f"# ctckit train --plugin={recipe} ")
    # nothing is made: neither a run nor the embedded corpus
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_going_back_to_the_recipes_component_is_taken_back_too(tmp_path: Path) -> None:
    there = ("--set=phases.*.penalty=label_prior", "--plugin=hierarchical_fixed", "--plugin=cures")
    back = ("--set=phases.*.penalty=constant", "--set=phases.*.penalty.value=-1.0")
    first = printed(*there, *back)
    assert "domain" not in first.stdout  # which the recipe sets for its own
    (tmp_path / "run.toml").write_text(first.stdout)
    assert printed(*there[1:], "--config=run.toml").stdout == first.stdout


def test_resuming_goes_without() -> None:
    result = CliRunner().invoke(main, ["train", "--resume=run", "--print-config"])
    assert result.exit_code == 2
    assert "--resume goes on with the run's own settings" in result.stderr
