"""``ctckit calibrate``: measured, stored, applied, shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pages import tree_of

import ctckit
from ctckit.record.history import read_history
from ctckit.types import LogOdds


@pytest.fixture
def run(recogniser: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recogniser, tmp_path / "run"))


def decoded(cli: Any, run: Path, data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli("decode", run, "--data", data).stdout.splitlines()]


def test_it_is_stored_applied_and_shown(cli: Any, run: Path, tiny: Any, tmp_path: Path) -> None:
    before = decoded(cli, run, tiny.test)
    found = json.loads(cli("calibrate", run, "--check", tiny.test, "--store", "--json").stdout)
    assert [(Path(one["corpus"]).name, one["fitted"]) for one in found["measured"]] == [
        ("dev.h5", True),
        ("test.h5", False),
    ]
    fitted = found["measured"][0]["token"]
    assert fitted["calibrated"]["log_loss"] <= fitted["raw"]["log_loss"] + 1e-3
    after = decoded(cli, run, tiny.test)
    token, clip = (LogOdds(found[part]["temperature"], found[part]["offset"]) for part in ("token", "clip"))
    for old, new in zip(before, after, strict=True):
        assert [one["token"] for one in old["tokens"]] == [one["token"] for one in new["tokens"]]
        for one, other in zip(old["tokens"], new["tokens"], strict=True):
            assert other["confidence"] == pytest.approx(token(one["confidence"]), abs=2e-2)
            assert other["score"] == one["score"]
        assert new["confidence"] == pytest.approx(clip(old["confidence"]), abs=2e-2)
    assert [one.fitted for one in read_history(run).calibrations] == [True, False]
    page = tmp_path / "report.html"
    assert cli("report", run, "-o", page).returncode == 0
    assert "What confidences are worth" in page.read_text(encoding="utf-8")
    tree_of(page.read_text(encoding="utf-8"))
    again = json.loads(cli("calibrate", run, "--check", tiny.test, "--json").stdout)
    assert again["token"] == found["token"], "what was stored must not be calibrated once more"


def test_without_store_nothing_changes(cli: Any, run: Path) -> None:
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = cli("calibrate", run)
    assert done.returncode == 0, done.stderr
    assert "calibration error" in done.stdout
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_an_export_carries_it_and_cannot_be_calibrated(cli: Any, run: Path, tiny: Any, tmp_path: Path) -> None:
    assert cli("calibrate", run, "--store").returncode == 0
    out = tmp_path / "model.safetensors"
    done = cli("export", run, "--out", out, "--data", tiny.dev)
    assert done.returncode == 0, done.stderr
    assert ctckit.load(out, "cpu").trained.calibration == ctckit.load(run, "cpu").trained.calibration
    refused = cli("calibrate", out, "--dev", tiny.dev, "--store")
    assert refused.returncode == 2
    assert "is an export" in refused.stderr


def test_a_clip_s_log_probability_is_the_loss_of_what_was_decoded(recogniser: Path, tiny: Any) -> None:
    import torch

    from ctckit.data import open_corpus
    from ctckit.recogniser import Clip

    loaded = ctckit.load(recogniser, "cpu")
    corpus = open_corpus(tiny.test)
    (one,) = loaded(corpus.features(0))
    logits_TBC, lengths_B = loaded.logits(loaded.prepared(Clip("0", corpus.features(0))))
    logits_TBC = logits_TBC.clone()
    logits_TBC[..., 0] += loaded.trained.shift
    labels = torch.tensor([[loaded.tokens.index(token) for token in one.tokens]])
    loss = torch.nn.functional.ctc_loss(
        logits_TBC.log_softmax(-1), labels, lengths_B, torch.tensor([labels.shape[1]]), reduction="sum"
    )
    assert one.log_probability == pytest.approx(-float(loss), abs=1e-4)
