"""``ctckit compare``: the paired bootstrap against closed forms, and the verb on two runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ctckit import bootstrap
from ctckit.bootstrap import compare
from ctckit.cli import main
from ctckit.engine.checkpoint import load_checkpoint, save_checkpoint


def test_intervals_have_the_width_of_the_binomial() -> None:
    random = np.random.default_rng(0)
    errors = (random.random(2000) < 0.2).astype(int).tolist()
    found = compare([errors, errors], [1] * 2000)
    rate = found.error_rates[0]
    deviation = 100 * np.sqrt(0.2 * 0.8 / 2000)
    assert rate.value == 100 * sum(errors) / 2000
    assert rate.high - rate.low == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    # paired: equal runs differ by nothing whatever is drawn
    assert (found.differences[1].low, found.differences[1].high, found.better[1]) == (0.0, 0.0, 0.5)


def test_a_run_that_is_better_everywhere_is_surely_better() -> None:
    found = compare([[2] * 50, [1] * 50, [3] * 50], [10] * 50)
    assert found.better[1:] == (1.0, 0.0)
    assert (found.differences[1].value, found.differences[1].low, found.differences[1].high) == (-10, -10, -10)


def test_the_probability_is_that_of_the_sign() -> None:
    # one utterance better, one worse by as much: heads and tails
    assert compare([[1, 0], [0, 1]], [5, 5], resamples=20_000).better[1] == pytest.approx(0.5, abs=0.02)
    # one of three utterances is better, the others alike: drawn at least once with 1 - (2/3)^3, else equal
    found = compare([[1, 0, 0], [0, 0, 0]], [5, 5, 5], resamples=20_000)
    assert found.better[1] == pytest.approx(19 / 27 + 0.5 * 8 / 27, abs=0.01)


def test_long_utterances_weigh_more() -> None:
    found = compare([[10, 0], [0, 1]], [100, 1])
    assert found.error_rates[0].value == pytest.approx(100 * 10 / 101)


def test_blocks_do_not_change_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = np.random.default_rng(0).integers(0, 5, (2, 40)).tolist()
    whole = compare(errors, [6] * 40, resamples=500)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert compare(errors, [6] * 40, resamples=500) == whole


@pytest.mark.parametrize(("errors", "words"), [([[1, 2], [1]], [3, 3]), ([[1], [1]], [3, 3]), ([[0], [0]], [0])])
def test_what_does_not_pair_is_refused(errors: list[list[int]], words: list[int]) -> None:
    with pytest.raises(ValueError, match=r"error count|no tokens"):
        compare(errors, words)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> tuple[Path, Path]:
    """A run, and its checkpoint spoilt by a bias of 30 nats towards blank."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    options = ["--data", str(tiny.train), "--dev", str(tiny.dev), "--out", str(folder), "--threads", "1"]
    settings = ["model.hidden_size=16", "batch_size=4", "phases.*.schedule.lr=0.01", "phases.exploration.epochs=10"]
    settings += ["phases.warmup.epochs=1", "phases.warmup.schedule.epochs=1", "phases.consolidation.epochs=1"]
    for setting in [*settings, "phases.fine_tuning.epochs=1"]:
        options += ["--set", setting]
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 0, result.output
    spoilt = folder.parent / "spoilt.pt"
    state = load_checkpoint(folder / "checkpoints" / "best.pt")
    save_checkpoint(spoilt, {**state, "judged_shift": 30.0})
    return folder, spoilt


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
