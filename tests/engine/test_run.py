"""What a run writes down is consistent with its checkpoint; the share of clips that a phase begins with."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit import (
    Action,
    DataError,
    EpochResult,
    Finding,
    Monitor,
    Sample,
    ShiftPenalty,
)
from ctckit.cli.diagnose import finding_lines
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.loop import fit
from ctckit.engine.run import ActivePhase
from ctckit.record.history import KeptSample, read_history
from ctckit_hierarchical.fixed import RECIPE
from ctckit_hierarchical.schedules import Constant

QUICK = {"phases.*.epochs": 1}


@dataclass
class Talking(Monitor):
    """Says something after every epoch, and acts in the second."""

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        said = Finding("said", "info", f"epoch {epoch.at.epoch}", {"loss": epoch.train_loss}, "listen", "a test")
        return [said, ShiftPenalty(said, by=-0.5)] if epoch.at.epoch == 2 else [said]


def talking(run: Any) -> Any:
    run.monitors = {"talking": Talking()}
    return run


def begin(run: Any) -> None:
    """Write the first row, as the command line does."""
    run.history.append("run")


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in finding_lines(read_history(folder))]


def test_each_finding_is_a_row_with_the_action_taken_on_it(make_run: Any, silent: Any) -> None:
    run = talking(make_run(QUICK))
    begin(run)
    run.note("audit", Finding("early", "warning", "before the first step"))
    fit(run, silent)
    rows = read(run.folder)
    assert [(row["epoch"], row["monitor"], row["rule"]) for row in rows] == [
        (0, "audit", "early"),
        *((epoch, "talking", "said") for epoch in (1, 2, 2, 3, 4)),
    ]
    assert [row["action"] for row in rows] == [None, None, None, {"action": "ShiftPenalty", "by": -0.5}, None, None]
    assert rows[1]["evidence"]["loss"] > 0
    assert (rows[1]["severity"], rows[1]["message"]) == ("info", "epoch 1")
    assert (rows[1]["advice"], rows[1]["source"]) == ("listen", "a test")


def test_findings_after_the_checkpoint_are_dropped_on_resume(make_run: Any, silent: Any) -> None:
    run = talking(make_run(QUICK))
    begin(run)
    fit(run, silent)
    before = read(run.folder)
    state = load_checkpoint(run.folder / "checkpoints/last.pt")
    run.note("late", Finding("late", "info", "after the checkpoint"))
    assert len(read(run.folder)) == len(before) + 1
    run.restore(state)
    assert read(run.folder) == before


def test_a_run_in_two_pieces_has_the_findings_of_one(make_run: Any, silent: Any, tmp_path: Path) -> None:
    whole = make_run(folder=tmp_path / "whole")
    begin(whole)
    fit(whole, silent)

    class Interrupting(type(silent)):  # type: ignore[misc]
        def epoch(self, result: Any, best: bool) -> None:
            super().epoch(result, best)
            if result.epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    parts = make_run(folder=tmp_path / "parts")
    begin(parts)
    fit(parts, Interrupting())
    second = make_run(folder=tmp_path / "parts", resume=load_checkpoint(tmp_path / "parts/checkpoints/last.pt"))
    fit(second, silent)
    assert read(tmp_path / "whole")
    assert read(tmp_path / "parts") == read(tmp_path / "whole")


def test_a_history_that_was_cut_is_refused(make_run: Any, silent: Any) -> None:
    run = make_run(QUICK)
    fit(run, silent)
    run.history.path.write_text("")
    with pytest.raises(DataError, match=r"history\.jsonl: has 0 bytes, the checkpoint expects"):
        make_run(QUICK, resume=load_checkpoint(run.folder / "checkpoints/last.pt"))


def test_a_sample_is_a_row_of_its_own_kind(make_run: Any, silent: Any) -> None:
    @dataclass
    class Keeping(Monitor):
        def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
            return [Sample("clip-1", ("A", "B"), ("A",))]

    run = make_run(QUICK)
    begin(run)
    run.monitors = {"keeping": Keeping()}
    fit(run, silent)
    kept = read_history(run.folder)
    assert kept.samples[0] == KeptSample(1, Sample("clip-1", ("A", "B"), ("A",)))
    assert len(kept.samples) == len(kept.epochs) == len(silent.samples)
    assert not kept.events


@given(st.integers(1, 60), st.floats(0.001, 1.0))
def test_the_share_grows_to_all_and_never_beyond(epochs: int, first: float) -> None:
    settings = RECIPE.phases["warmup"].model_copy(update={"epochs": epochs, "curriculum": first})
    phase = ActivePhase(settings, Constant(1e-3), None, {})
    shares = [phase.clip_share(epoch) for epoch in range(1, epochs + 1)]
    assert shares[0] == first
    assert shares == sorted(shares)
    assert epochs == 1 or shares[-1] == pytest.approx(1.0)
    assert max(shares) <= 1.0
