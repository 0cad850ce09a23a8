"""``ctckit sweep``: one pass agrees with decoding under each shift, and a stored shift is applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from ctckit import BLANK, Batch, Emissions, ops
from ctckit.cli import main
from ctckit.decode import edit_counts
from ctckit.engine.checkpoint import load_checkpoint, save_checkpoint
from ctckit.shifts import Shifted, best_shift, sweep_shifts

TOKENS = ("<blank>", "a", "b", "c")
SHIFTS = [-2.0, -0.5, 0.0, 1.0]


def batch(logits_TBC: torch.Tensor, lengths: list[int]) -> tuple[Batch, Emissions]:
    count = logits_TBC.shape[1]
    lengths_B = torch.tensor(lengths)
    ids = tuple(f"clip{n}" for n in range(count))
    empty = torch.full((count, 1), -1), torch.zeros(count, dtype=torch.int64)
    return Batch(ids, torch.zeros(count, len(logits_TBC), 1), lengths_B, *empty), Emissions(logits_TBC, lengths_B)


def test_one_pass_is_decoding_under_each_shift() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(30, 5, 4)
    lengths = [30, 11, 25, 1, 19]
    one = batch(logits, lengths)
    references = dict.fromkeys(one[0].clip_ids, ("a", "b", "c", "a"))
    for found, shift in zip(sweep_shifts([one], SHIFTS, TOKENS, references), SHIFTS, strict=True):
        paths = ops.greedy(logits, one[1].lengths_B, shift)
        sums = [0, 0, 0]
        for row, count, clip in zip(paths.tokens_BS, paths.counts_B, one[0].clip_ids, strict=True):
            edits = edit_counts(references[clip], [TOKENS[label] for label in row[:count]])
            sums = [a + b for a, b in zip(sums, edits, strict=True)]
        assert [found.substitutions, found.deletions, found.insertions] == sums
        assert found.reference_tokens == 20
        shifted = logits.clone()
        shifted[:, :, BLANK] += shift
        blank = sum(int((shifted[:n, b].argmax(-1) == BLANK).sum()) for b, n in enumerate(lengths))
        assert found.blank_ratio == pytest.approx(100 * blank / sum(lengths))


def test_of_equal_shifts_the_smallest_is_best() -> None:
    def scored(shift: float, errors: int) -> Shifted:
        return Shifted(shift, errors, 0, 0, 10, 90.0)

    assert best_shift([scored(-1, 3), scored(-0.5, 2), scored(0, 2), scored(1, 2)]).shift == 0
    assert best_shift([scored(-1, 1), scored(0, 2)]).shift == -1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A run that recognises something, whose best checkpoint is then biased towards blank by 6 nats."""
    folder = tmp_path_factory.mktemp("sweep") / "run"
    options = ["--data", str(tiny.train), "--dev", str(tiny.dev), "--out", str(folder), "--threads", "1"]
    settings = ["model.hidden_size=16", "batch_size=4", "phases.*.schedule.lr=0.01", "phases.exploration.epochs=10"]
    settings += ["phases.warmup.epochs=1", "phases.warmup.schedule.epochs=1", "phases.consolidation.epochs=1"]
    for setting in [*settings, "phases.fine_tuning.epochs=1"]:
        options += ["--set", setting]
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 0, result.output
    assert (folder / "checkpoints" / "best.pt").is_file(), result.output
    return folder


@pytest.fixture
def biased(trained: Path, tmp_path: Path) -> Path:
    path = tmp_path / "biased.pt"
    state = load_checkpoint(trained / "checkpoints" / "best.pt")
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
