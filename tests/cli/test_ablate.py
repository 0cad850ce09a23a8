"""``ctckit ablate`` on tiny corpora: trainings are processes of their own, so there are as few as possible."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctckit.ablation.job import Job, spent_seconds
from ctckit.ablation.runner import Machine, training_options
from ctckit.cli import main
from ctckit.config import Config
from ctckit.record.history import read_rows

PLAN = """
seeds = [3]
updates = 134
set = ["model.hidden_size=16", "batch_size=4", "phases.*.schedule.lr=0.01"]
[settings.phases]
"*".epochs = 1
exploration.epochs = 10
[variants.none]
set = ["phases.*.penalty=none"]
[variants.path]
set = ['phases.*.penalty={name="constant", value=-0.5, domain="path"}']
[variants.diverging]
set = ["phases.*.schedule={name='constant', lr=1e12}"]
"""


def call(plan: Path, out: Path, tiny: Any, *options: str) -> Result:
    corpora = [f"--data={tiny.train}", f"--dev={tiny.dev}", f"--test={tiny.test}", "--jobs=2", "--threads=1"]
    return CliRunner().invoke(main, ["ablate", str(plan), f"--out={out}", *corpora, *options])


def changed(plan: Path, old: str, new: str) -> Path:
    text = plan.read_text()
    assert old in text
    path = plan.with_name("changed.toml")
    path.write_text(text.replace(old, new))
    return path


@dataclass(frozen=True)
class Done:
    plan: Path
    out: Path
    result: Result


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Done:
    folder = tmp_path_factory.mktemp("ablation")
    plan = folder / "plan.toml"
    plan.write_text(PLAN)
    return Done(plan, folder / "out", call(plan, folder / "out", tiny, "--json"))


def test_the_table_has_what_the_histories_have(done: Done) -> None:
    table = json.loads(done.result.stdout)
    assert [row["variant"] for row in table["variants"]] == ["none", "path", "diverging"]
    for row in table["variants"][:2]:
        (run,) = row["runs"]
        history = read_rows(done.out / f"{row['variant']}-seed3" / "history.jsonl")
        epochs = [one for one in history if one["kind"] == "epoch"]
        (test,) = [one for one in history if one["kind"] == "test"]
        assert run["wer"] == pytest.approx(test["wer"])
        assert row["wer"]["value"] == pytest.approx(test["wer"])
        assert row["wer"]["low"] <= test["wer"] <= row["wer"]["high"]
        assert run["blank_ratio"] == pytest.approx(test["blank_ratio"])
        assert run["deletion_rate"] == pytest.approx(test["deletion_rate"])
        # 12 steps an epoch, so that the budget ends after the twelfth of 13
        assert run["updates"] == epochs[-1]["update"] == 12 * 12
        assert run["reason"] == "out of updates"
        assert run["seconds"] == pytest.approx(sum(one["seconds"] for one in epochs))
        left = [one for one in epochs if not one["on_plateau"]]
        assert run["left_plateau"] == (left[0]["epoch"] if left else None)
        assert history[0]["seed"] == 3
        assert history[0]["config"]["seed"] == 3
    first, second = (row["runs"][0]["wer"] for row in table["variants"][:2])
    assert table["variants"][1]["difference"]["value"] == pytest.approx(second - first)
    assert json.loads((done.out / "ablation.json").read_text()) == table
    assert "| path |" in (done.out / "ablation.md").read_text()


def test_a_failure_is_a_row_and_keeps_nobody_from_running(done: Done) -> None:
    assert done.result.exit_code == 6
    assert "1 of 3 runs failed, the first is diverging with seed 3" in done.result.stderr
    (run,) = json.loads(done.result.stdout)["variants"][2]["runs"]
    assert run["status"] == "failed"
    assert "diverged" in run["reason"]
    assert "\n" not in run["reason"]


def test_a_run_that_has_ended_is_kept(done: Done, tiny: Any) -> None:
    histories = [done.out / f"{name}-seed3" / "history.jsonl" for name in ("none", "path")]
    before = [path.stat().st_mtime_ns for path in histories]
    scores = (done.out / "path-seed3" / "test.jsonl").stat().st_mtime_ns
    result = call(done.plan, done.out, tiny, "--only=none", "--only=path")
    assert "none-seed3: has ended, kept" in result.stderr
    assert [path.stat().st_mtime_ns for path in histories] == before
    assert (done.out / "path-seed3" / "test.jsonl").stat().st_mtime_ns == scores
    assert "WER %" in result.stdout


def test_other_settings_under_the_same_name_are_refused(done: Done, tiny: Any) -> None:
    for old, new, told in (
        (
            "value=-0.5",
            "value=-0.75",
            "path-seed3: was trained with phases.warmup.penalty.value = -0.5, the plan says",
        ),
        ("hidden_size=16", "hidden_size=24", "model.hidden_size = 16, the plan says 24; delete the folder"),
        ("updates = 134", "", "none-seed3: was trained with updates = 134, the plan says null"),
    ):
        result = call(changed(done.plan, old, new), done.out, tiny)
        assert result.exit_code == 2
        assert told in result.stderr
    swapped = CliRunner().invoke(
        main, ["ablate", str(done.plan), f"--out={done.out}", f"--data={tiny.dev}", f"--dev={tiny.dev}"]
    )
    assert swapped.exit_code == 2
    assert "none-seed3: was trained with data" in swapped.stderr


def test_the_table_alone_trains_nothing_and_needs_no_corpus(done: Done, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done.out, out)
    # an earlier table is made anew from the stored runs
    (out / "ablation.json").write_text("{}")
    scores = out / "path-seed3" / "test.jsonl"
    first, *rows = scores.read_text().splitlines()
    spoilt = [json.dumps({**json.loads(row), "insertions": json.loads(row)["tokens"]}) for row in rows]
    scores.write_text("\n".join([first, *spoilt]) + "\n")
    result = CliRunner().invoke(main, ["ablate", str(done.plan), f"--out={out}", "--table-only", "--json"])
    row = json.loads(result.stdout)["variants"][1]
    assert row["runs"][0]["insertion_rate"] == 100.0
    assert json.loads((out / "ablation.json").read_text())["variants"][1] == row
    # another checkpoint than the one that was scored: decoded again
    os.utime(out / "path-seed3" / "checkpoints" / "best.pt", ns=(1, 1))
    result = CliRunner().invoke(main, ["ablate", str(done.plan), f"--out={out}", "--table-only", "--json"])
    assert json.loads(result.stdout)["variants"][1]["runs"][0]["insertion_rate"] < 100.0


def test_runs_on_different_corpora_are_not_mixed(done: Done, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done.out, out)
    history = out / "path-seed3" / "history.jsonl"
    text = history.read_text()
    data = read_rows(history)[0]["data"]
    for key, old, new, told in (
        ("train", data["train"], "0" * 64, "trained with different train corpora"),
        ("seed", '"seed": 3', '"seed": 4', "was trained with seed 4, its name says 3"),
    ):
        history.write_text(text.replace(old, new))
        result = CliRunner().invoke(main, ["ablate", str(done.plan), f"--out={out}", "--table-only"])
        assert result.exit_code == 3, key
        assert told in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("value=-0.5", "valeu=-0.5", 2, "variant 'path': penalty 'constant'"),
        ('constant", value', 'constnt", value', 2, "variant 'path':"),
        (
            "[variants.path]",
            "[variants.path]\nplugins=['heirarchical_fixed']",
            4,
            "did you mean 'hierarchical_fixed'?",
        ),
        ("[variants.path]", "[variants.path]\nrecipe='none'", 2, "variant 'path':"),
        ("[variants.path]", "[variants.path]\nsettings.data.unti='word'", 2, "did you mean 'unit'?"),
        ("[variants.path]", "[variants.path]\nsettings.data.deltas=7", 2, "variant 'path':"),
    ],
)
def test_all_variants_are_checked_before_the_first_is_trained(
    done: Done, tiny: Any, tmp_path: Path, old: str, new: str, code: int, told: str
) -> None:
    result = call(changed(done.plan, old, new), tmp_path / "out", tiny)
    assert told in result.stderr
    assert result.exit_code == code
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_bad_options_are_told(done: Done, tiny: Any, tmp_path: Path) -> None:
    result = call(done.plan, tmp_path / "out", tiny, "--only=pth")
    assert result.exit_code == 2
    assert "has no such variant; did you mean 'path'?" in result.stderr
    missing = CliRunner().invoke(main, ["ablate", str(done.plan), f"--out={tmp_path / 'out'}", "--data=none.h5"])
    assert missing.exit_code == 2
    assert "data.dev (--dev) is not set" in missing.stderr
    nothing = call(done.plan, tmp_path / "out", tiny, "--table-only")
    assert nothing.exit_code == 2
    assert "no such folder" in nothing.stderr
    foreign = tmp_path / "foreign"
    (foreign / "none-seed3").mkdir(parents=True)
    (foreign / "none-seed3" / "history.jsonl").write_text("{}\n")
    result = call(done.plan, foreign, tiny)
    assert result.exit_code == 2
    assert "holds a run that is not of an ablation" in result.stderr


def test_a_seed_in_short_is_refused(done: Done, tiny: Any, tmp_path: Path) -> None:
    result = call(done.plan, tmp_path / "out", tiny, "--set=seed=7")
    assert result.exit_code == 2
    assert "--set seed=7: seed is set by the ablation; write seeds = [...]" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("budget", "reason", "told"),
    [
        ("updates = 144", "out of updates", None),
        ("updates = 100", "out of updates", "none (seed 3) took 144 updates, the plan gives 100"),
        ("updates = 500", "out of updates", "none (seed 3) took 144 updates, the plan gives 500"),
        ("updates = 500", "finished", None),
        ("", "finished", None),
        ("", "out of updates", "none (seed 3) ended out of updates, which is not the plan's budget"),
        ("updates = 134", "out of time", "none (seed 3) ended out of time, which is not the plan's budget"),
        ("minutes = 0.001", "out of time", "minutes, the plan gives 0.001"),
        ("minutes = 1000", "out of time", "minutes, the plan gives 1000"),
        ("minutes = 1000", "stopped by a monitor", None),
    ],
)
def test_a_run_that_had_another_budget_is_noted(
    done: Done, tmp_path: Path, budget: str, reason: str, told: str | None
) -> None:
    shutil.copytree(done.out, tmp_path / "out")
    history = tmp_path / "out" / "none-seed3" / "history.jsonl"
    history.write_text(history.read_text().replace('"out of updates"', f'"{reason}"'))
    plan = changed(done.plan, "updates = 134", budget)
    result = CliRunner().invoke(main, ["ablate", str(plan), f"--out={tmp_path / 'out'}", "--table-only", "--json"])
    notes = [note for note in json.loads(result.stdout)["notes"] if note.startswith("none (seed 3)")]
    assert len(notes) == (told is not None)
    assert all(told in note for note in notes if told)


def seconds(history: Path) -> float:
    """Of training, as far as its epochs are finished."""
    lines = history.read_text().splitlines() if history.is_file() else []
    return sum(json.loads(line).get("seconds", 0.0) for line in lines if line.endswith("}"))


def test_what_was_interrupted_goes_on_and_its_time_counts(tmp_path: Path, tiny: Any) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'seeds = [1]\nminutes = 0.1\nset = ["model.hidden_size=8", "phases.*.epochs=5000"]\n'
        "[variants.one]\n[variants.two]\n"
    )
    history = tmp_path / "out" / "one-seed1" / "history.jsonl"

    def interrupt() -> None:
        deadline = time.monotonic() + 240.0
        while time.monotonic() < deadline:
            if seconds(history) > 0.3:  # of six: an epoch may be held up by a busy machine
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.05)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    first = call(plan, tmp_path / "out", tiny, "--jobs=1")
    watcher.join()
    assert first.exit_code == 130, first.output
    assert "one-seed1: interrupted" in first.stderr
    assert "no run has ended yet" in first.stdout
    assert not (tmp_path / "out" / "two-seed1").exists()
    before = seconds(history)
    assert 0.3 < before <= spent_seconds(history.parent) < 6.0
    job = Job("one", history.parent, {}, Config.model_construct(), {}, minutes=0.1)
    options = dict(option.split("=") for option in training_options(job, Machine(1, 1, "cpu")))
    assert options["--resume"] == str(history.parent)
    assert float(options["--max-minutes"]) == pytest.approx(0.1 - spent_seconds(history.parent) / 60.0, abs=1e-6)
    stopped = read_rows(history)[-1]
    assert (stopped["kind"], stopped["reason"]) == ("end", "interrupted")
    second = call(plan, tmp_path / "out", tiny, "--only=one", "--json")
    assert second.exit_code == 0, second.output
    (run,) = json.loads(second.stdout)["variants"][0]["runs"]
    rows = read_rows(history)
    assert [row["kind"] for row in rows if row["kind"] in ("run", "resume")] == ["run", "resume"]
    assert (run["status"], run["reason"]) == ("ended", "out of time")
    epochs = [row["epoch"] for row in rows if row["kind"] == "epoch"]
    assert epochs == list(range(1, len(epochs) + 1))
    assert before < run["seconds"] == seconds(history)
    assert json.loads(second.stdout)["notes"][0] == "not trained yet: two"
