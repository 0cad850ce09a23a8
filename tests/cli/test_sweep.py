"""``ctckit sweep``: a bias is found, and a stored shift is applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctckit.cli import main
from ctckit.engine.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def biased(recogniser: Path, tmp_path: Path) -> Path:
    path = tmp_path / "biased.pt"
    state = load_checkpoint(recogniser / "checkpoints" / "best.pt")
    save_checkpoint(path, {**state, "judged_shift": state["judged_shift"] + 6.0})
    return path


def call(verb: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [verb, *map(str, arguments)])


def test_a_blank_bias_is_found_stored_and_gone(biased: Path, tiny: Any) -> None:
    def wer() -> float:
        return float(json.loads(call("evaluate", biased, "--data", tiny.dev, "--json").stdout)["wer"])

    before = wer()
    options = (biased, "--dev", tiny.dev, "--range", -8, 2, "--json")
    found = json.loads(call("sweep", *options).stdout)
    scores = {row["shift"]: row["wer"] for row in found["shifts"]}
    assert scores[0.0] == pytest.approx(before)
    assert found["best"] < -1.0
    assert scores[found["best"]] < before
    assert (found["stored"], wer()) == (False, before)
    stored = json.loads(call("sweep", *options, "--store").stdout)
    assert stored["stored"] is True
    assert wer() == pytest.approx(scores[found["best"]])
    assert not list(biased.parent.glob(".*tmp"))
    again = json.loads(call("sweep", *options).stdout)
    assert again["best"] == 0.0


def test_text_has_both_and_says_where_it_went(biased: Path, tiny: Any) -> None:
    text = call("sweep", biased, "--dev", tiny.dev, "--range", -8, 2, "--store").stdout
    assert "without shift +0.00" in text
    assert "best    shift -" in text
    assert f"stored in {biased}" in text


def test_nothing_is_stored_where_nothing_is_gained(biased: Path, tiny: Any) -> None:
    before = biased.read_bytes()
    result = call("sweep", biased, "--dev", tiny.dev, "--range", 0, 1, "--store")
    assert "no shift makes fewer errors" in result.stdout
    assert biased.read_bytes() == before


def test_bad_input(biased: Path, tmp_path: Path, make_quick: Callable[..., list[str]]) -> None:
    assert call("sweep", tmp_path / "none").exit_code == 5
    result = call("sweep", biased, "--range", 1, -1)
    assert result.exit_code == 2
    assert "the first is the least" in result.output
    assert call("sweep", biased, "--dev", tmp_path / "none.h5").exit_code == 3
