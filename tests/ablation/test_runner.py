from __future__ import annotations

from pathlib import Path

import pytest

from ctckit.ablation.job import Job
from ctckit.ablation.runner import Machine, run_all, sole_user
from ctckit.config import resolve
from ctckit.errors import DataError
from ctckit_hierarchical.fixed import RECIPE


class Trainings:
    """Jobs in which a shell script stands in for the training; it runs in the folder of the test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.said = folder, list[str]()
        monkeypatch.setattr("sys.executable", str(folder / "script"))

    def job(self, name: str, minutes: float | None = None) -> Job:
        return Job(name, self.folder / name, {}, resolve(RECIPE, []), {}, minutes=minutes)

    def run(self, script: str, *jobs: Job) -> str:
        (self.folder / "script").write_text(f"#!/bin/sh\ncd '{self.folder}'\n{script}\n")
        (self.folder / "script").chmod(0o755)
        self.said.clear()
        with sole_user(self.folder) as lock:
            assert run_all(jobs, Machine(2, 1, "cpu"), lock, self.said.append)
        return "\n".join(self.said)


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return Trainings(tmp_path, monkeypatch)


def test_a_failure_is_that_of_this_attempt(trainings: Trainings) -> None:
    job = trainings.job("one")
    assert "min: it was the disk" in trainings.run("echo 'Error: it was the disk'; exit 3", job)
    assert "min: ended by SIGKILL" in trainings.run("kill -9 $$", job)
    assert (job.folder / "failure.txt").read_text().startswith("ended by SIGKILL")
    assert "min: exit code 4: nothing else; see" in trainings.run("echo nothing else; exit 4", job)


def test_a_run_that_is_begun_anew_keeps_no_rows_of_the_earlier_attempt(trainings: Trainings) -> None:
    job = trainings.job("one")
    job.folder.mkdir()
    (job.folder / "history.jsonl").write_text('{"kind": "run"}\n')
    trainings.run("exit 1", job)
    assert not list(job.folder.glob("*.jsonl"))


def test_a_checkpoint_that_cannot_be_read_fails_its_run_alone(trainings: Trainings) -> None:
    broken = trainings.job("broken", minutes=1.0)
    (broken.folder / "checkpoints").mkdir(parents=True)
    (broken.folder / "checkpoints" / "last.pt").write_text("notes")
    (broken.folder / "history.jsonl").write_text('{"kind": "run"}\n')
    script = "sleep 0.5; echo done >> trained"
    said = trainings.run(script, trainings.job("before"), broken, trainings.job("after"))
    assert (trainings.folder / "trained").read_text() == "done\n" * 2
    assert "broken: failed: " in said
    assert "last.pt: not a readable checkpoint" in (broken.folder / "failure.txt").read_text()


def test_a_budget_below_one_epoch_is_said(trainings: Trainings) -> None:
    rows = '{"kind": "run"}\\n{"kind": "end", "reason": "out of time", "epoch": 1}\\n'
    said = trainings.run(f"printf '{rows}' > one/history.jsonl", trainings.job("one", minutes=0.01))
    assert "one: out of time after" in said
    assert said.endswith("no epoch was done")


def test_one_ablation_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with sole_user(tmp_path), pytest.raises(DataError, match="still at work here"), sole_user(tmp_path):
        pass
    with sole_user(tmp_path):
        pass
