"""A real outside plugin: built into a wheel, installed into a clean environment, tested and trained there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ctckit.testing import TinyCorpus

SOURCE = Path(__file__).parent / "ctckit-outside"


@pytest.fixture(scope="module")
def installed(clean_venv: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(SOURCE, folder / "source")  # a build leaves its marks
    clean_venv.run("pip wheel --wheel-dir wheels ./source", folder)
    (wheel,) = (folder / "wheels").glob("*.whl")
    assert wheel.name == "ctckit_outside-0.3.0-py3-none-any.whl"
    clean_venv.run(f"pip install {wheel}", folder)
    return clean_venv


def rows(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "history.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_its_own_tests_pass_and_the_core_does_not_know_it(installed: Any, tmp_path: Path) -> None:
    shutil.copytree(SOURCE / "tests", tmp_path / "tests")
    outcome = installed.run("pytest -q -p no:cacheprovider tests", tmp_path)
    assert " passed" in outcome.stdout
    core = Path(__file__).parents[2] / "ctckit"
    assert not [path for path in core.rglob("*.py") if "ctckit_outside" in path.read_text()]


def test_it_is_listed_shown_and_checked(installed: Any, tmp_path: Path) -> None:
    assert (
        "outside                      ctckit-outside 0.3.0  (ctckit_outside)"
        in installed.run("ctckit plugins list", tmp_path).stdout
    )
    shown = installed.run("ctckit plugins show outside", tmp_path).stdout
    assert "penalty blank_target: Steer the mean blank posterior towards ``share``" in shown
    assert "lr (float) = required  rate while held." in shown
    assert "share (float, >= 0, <= 1) = 0.7  blank posterior to steer to." in shown
    report = json.loads(installed.run("ctckit plugins check outside --json", tmp_path).stdout)
    assert report["passed"]
    assert {c["name"] for c in report["components"]} >= {"separable_convolutions", "tri_stage", "blank_target"}


def test_it_trains_a_tiny_corpus_and_is_resumed(installed: Any, tiny_corpus: TinyCorpus, tmp_path: Path) -> None:
    data = f"--data {tiny_corpus.train} --dev {tiny_corpus.dev} --set model.channels=16 --set phases.only.epochs=6"
    data += " --set phases.only.penalty.share=0.2"
    train = f"ctckit train --plugin outside {data} --threads 1"
    installed.run(f"{train} --out whole", tmp_path)
    (start,) = rows(tmp_path / "whole", "run")
    assert start["plugins"][0] == {
        "name": "outside",
        "distribution": "ctckit-outside",
        "version": "0.3.0",
        "target": "ctckit_outside",
    }
    epochs = rows(tmp_path / "whole", "epoch")
    assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1))
    assert epochs[-1]["shift"] < 0  # the controller has learnt from the steps
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    scored = installed.run(f"ctckit evaluate whole/checkpoints/last.pt --data {tiny_corpus.test} --json", tmp_path)
    assert json.loads(scored.stdout)

    installed.run(f"{train} --out parts --max-minutes 0.0001", tmp_path)
    installed.run("ctckit train --resume parts --threads 1", tmp_path)
    resumed = rows(tmp_path / "parts", "epoch")
    assert [row["shift"] for row in resumed] == [row["shift"] for row in epochs]
    assert [row["val_loss"] for row in resumed] == [row["val_loss"] for row in epochs]


def test_it_trains_the_demo_corpus_and_its_options_are_typed(installed: Any, tmp_path: Path) -> None:
    quick = "--threads 1 --set phases.only.epochs=1 --set model.channels=16 --set model.blocks=1"
    installed.run(f"ctckit train --plugin outside {quick} --out demo", tmp_path)
    (epoch,) = rows(tmp_path / "demo", "epoch")
    assert epoch["train_loss"] > 0
    for setting, message in {
        "phases.only.penalty.shrae=0.5": "penalty 'blank_target': unknown parameter 'shrae'; did you mean 'share'?",
        "phases.only.penalty.share=1.5": "penalty 'blank_target': share = 1.5: input should be less than or equal",
        "model.kernel=4": "model 'separable_convolutions': kernel is 4; it must be odd",
    }.items():
        outcome = installed.run(f"ctckit train --plugin outside --set {setting} --out no", tmp_path, succeed=False)
        assert outcome.returncode == 2
        assert message in outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_its_verb_is_a_verb_of_ctckit(installed: Any, tmp_path: Path) -> None:
    listed = installed.run("ctckit --help", tmp_path).stdout
    assert "Commands of plugins:" in listed
    assert "outside-shift" in listed
    assert installed.run("ctckit outside-shift --mass 0.9 --steps 10", tmp_path).stdout == "-0.100\n"
    outcome = installed.run("ctckit outside-shift --mass 9", tmp_path, succeed=False)
    assert outcome.returncode == 2
    assert outcome.stderr == "Error: --mass is 9; it lies between 0 and 1\n"
