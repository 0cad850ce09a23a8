"""``ctckit compare`` on two runs; the bootstrap behind it is tested by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctckit.cli import main
from ctckit.engine.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def runs(recogniser: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and its checkpoint spoilt by a bias of 30 nats towards blank."""
    spoilt = tmp_path_factory.mktemp("compare") / "spoilt.pt"
    state = load_checkpoint(recogniser / "checkpoints" / "best.pt")
    save_checkpoint(spoilt, {**state, "judged_shift": 30.0})
    return recogniser, spoilt


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_a_spoilt_run_is_worse(runs: tuple[Path, Path], tiny: Any, tmp_path: Path) -> None:
    result = call(*runs, "--data", tiny.test, "--resamples", 500, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    good, spoilt = found["runs"]
    evaluated = CliRunner().invoke(main, ["evaluate", str(runs[0]), "--data", str(tiny.test), "--json"])
    assert good["wer"]["value"] == pytest.approx(json.loads(evaluated.stdout)["wer"])
    assert spoilt["wer"]["value"] == 100.0
    assert spoilt["better"] == 0.0
    assert spoilt["difference"]["low"] > 0
    assert isinstance(good["left_plateau"], int)
    assert spoilt["left_plateau"] is None
    history = [json.loads(line) for line in (runs[0] / "history.jsonl").read_text().splitlines()]
    assert good["curves"]["val_wer"] == [row["val_wer"] for row in history if row["kind"] == "epoch"]
    assert spoilt["curves"] is None
    page = tmp_path / "compared.html"
    text = call(*runs, "--resamples", 500, "--html", page).stdout
    assert "dev.h5: 12 utterances" in text
    assert "P(better than the first) 0.000" in text
    assert "WER on dev, %" in text
    assert text.splitlines()[-1] == str(page)
    assert "2 runs side by side" in page.read_text()


def test_bad_input(runs: tuple[Path, Path], tmp_path: Path, make_quick: Callable[..., list[str]]) -> None:
    result = call(runs[0])
    assert result.exit_code == 2
    assert "two runs or more" in result.output
    assert call(runs[0], tmp_path / "none").exit_code == 5
    result = call(*[runs[0]] * 7, "--html", tmp_path / "compared.html")
    assert result.exit_code == 2
    assert "the curves of 6 runs can be told apart, not of 7" in result.output
    assert not (tmp_path / "compared.html").exists()
    assert call(*runs, "--data", tmp_path / "none.h5").exit_code == 3
