from __future__ import annotations

import dataclasses
import math
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import epochs

from ctckit import (
    Action,
    CheckpointError,
    ClipLength,
    ConfigError,
    DataError,
    EpochResult,
    Finding,
    Monitor,
    Penalty,
    Progress,
    SaveCheckpoint,
    SetDropout,
    ShiftPenalty,
    StopPhase,
    StopTraining,
    TrainingError,
)
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.loop import fit
from ctckit.record.history import read_rows

WHY = Finding(rule="planted", severity="warning", message="because", evidence={"x": 1.5})


@dataclass
class Planted(Monitor):
    """Returns given outcomes in a given epoch."""

    epoch: int
    outcomes: tuple[Finding | Action, ...]

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        return self.outcomes if epoch.at.epoch == self.epoch else []


def rows(run: Any, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(run.history.path) if row["kind"] == kind]


def without_times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


def test_it_learns_and_leaves_the_plateau(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.exploration.epochs": 26})
    ending = fit(run, silent)
    assert ending.reason == "finished"
    epochs = rows(run, "epoch")
    assert [row["epoch"] for row in epochs] == list(range(1, 31))
    assert epochs[0]["on_plateau"]
    assert not epochs[-1]["on_plateau"]
    assert ending.best is not None
    assert ending.best.val_wer < 20
    assert {row["phase"] for row in epochs} == {"warmup", "exploration", "consolidation", "fine_tuning"}


def test_an_epoch_row_has_the_documents_names(make_run: Any, silent: Any) -> None:
    run = make_run()
    fit(run, silent)
    row = rows(run, "epoch")[0]
    document = {
        "train_loss",
        "val_loss",
        "val_wer",
        "blank_ratio",
        "unique_nonblank",
        "overfit_ratio",
        "gradient_norm",
    }
    beside = {"substitutions", "deletions", "insertions", "deletion_rate", "length_ratio", "empty_share"}
    more = {"label_coverage", "learning_rate", "shift", "phase", "seconds", "plateau_loss", "blank_reference"}
    assert document | beside | more <= set(row)


@pytest.mark.parametrize("stop_after", [3, 6, 8, 20])
def test_an_interrupted_run_goes_on_bit_for_bit(
    make_run: Any, silent: Any, tmp_path: Path, stop_after: int
) -> None:
    whole = make_run(folder=tmp_path / "whole")
    fit(whole, silent)

    class Interrupting(type(silent)):  # type: ignore[misc]
        def step(self, result: Any) -> None:
            super().step(result)
            if len(self.steps) == stop_after:
                os.kill(os.getpid(), signal.SIGINT)

    first = make_run(folder=tmp_path / "parts")
    ending = fit(first, Interrupting())
    assert ending.reason == "interrupted"
    assert ending.resumable
    torch.manual_seed(999)  # what else happened in between must not matter
    second = make_run(folder=tmp_path / "parts", resume=load_checkpoint(tmp_path / "parts/checkpoints/last.pt"))
    assert fit(second, silent).reason == "finished"
    assert without_times(rows(second, "epoch")) == without_times(rows(whole, "epoch"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_rows_after_the_checkpoint_are_dropped_on_resume(make_run: Any, silent: Any, tmp_path: Path) -> None:
    run = make_run({"phases.*.epochs": 1})
    fit(run, silent)
    run.history.append("epoch", epoch=99)
    resumed = make_run({"phases.*.epochs": 1}, resume=load_checkpoint(run.folder / "checkpoints/last.pt"))
    assert 99 not in [row["epoch"] for row in rows(resumed, "epoch")]


def test_resume_refuses_another_configuration_and_other_data(make_run: Any, silent: Any, tiny: Any) -> None:
    run = make_run({"phases.*.epochs": 1})
    fit(run, silent)
    state = load_checkpoint(run.folder / "checkpoints/last.pt")
    with pytest.raises(CheckpointError, match="another configuration"):
        make_run({"phases.*.epochs": 1, "batch_size": 4}, resume=state)
    state["identity"]["fingerprints"]["train"] = "changed"
    with pytest.raises(CheckpointError, match="corpora have changed"):
        make_run({"phases.*.epochs": 1}, resume=state)


def test_component_state_is_strict(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1})
    fit(run, silent)
    state = load_checkpoint(run.folder / "checkpoints/last.pt")
    state["components"]["phases.exploration.schedule"]["surprise"] = 1
    with pytest.raises(CheckpointError, match=r"phases\.exploration\.schedule: Plateau: state holds"):
        make_run({"phases.*.epochs": 1}, resume=state)


def test_same_seed_same_run_other_seed_other_run(make_run: Any, silent: Any, tmp_path: Path) -> None:
    losses = []
    for number, seed in enumerate((1, 1, 2)):
        run = make_run({"phases.*.epochs": 1, "seed": seed}, folder=tmp_path / str(number))
        fit(run, silent)
        losses.append([row["val_loss"] for row in rows(run, "epoch")])
    assert losses[0] == losses[1] != losses[2]


def test_updates_run_out_after_an_epoch_and_the_run_can_go_on(make_run: Any, silent: Any) -> None:
    run = make_run()
    batches = run.train.batches_in(1)
    ending = fit(run, silent, max_updates=batches + 1)
    assert (ending.reason, ending.resumable) == ("out of updates", True)
    assert (run.clock.now.epoch, run.clock.now.update, run.clock.mid_epoch) == (2, 2 * batches, False)
    resumed = make_run(resume=load_checkpoint(run.folder / "checkpoints/last.pt"))
    assert fit(resumed, silent, max_updates=2 * batches).reason == "out of updates"
    assert resumed.clock.now.update == 2 * batches
    assert fit(resumed, silent).reason == "finished"


def test_time_runs_out_between_steps_and_the_run_can_go_on(make_run: Any, silent: Any) -> None:
    run = make_run()
    ending = fit(run, silent, max_seconds=1e-9)
    assert (ending.reason, ending.resumable) == ("out of time", True)
    assert run.clock.now.update == 0
    resumed = make_run(resume=load_checkpoint(run.folder / "checkpoints/last.pt"))
    assert fit(resumed, silent).reason == "finished"


def test_an_action_changes_the_run_and_leaves_a_row_with_its_finding(make_run: Any, silent: Any) -> None:
    run = make_run()
    run.monitors = {"planted": Planted(1, (SetDropout(WHY, 0.3), ShiftPenalty(WHY, -0.5), ClipLength(WHY, 10)))}
    fit(run, silent)
    actions = rows(run, "action")
    assert [row["action"] for row in actions] == ["SetDropout", "ShiftPenalty", "ClipLength"]
    assert actions[0]["finding"]["evidence"] == {"x": 1.5}
    first, second, third, *_ = rows(run, "epoch")
    assert (first["dropout"], second["dropout"], third["dropout"]) == (0.1, 0.3, 0.15)  # until the phase ends
    assert (first["shift"], second["shift"]) == (-1.0, -1.5)
    assert (first["max_frames"], second["max_frames"], third["max_frames"]) == (None, 10, None)
    assert second["cropped"] > 0


def test_stopping_a_phase_and_stopping_the_run(make_run: Any, silent: Any) -> None:
    run = make_run()
    run.monitors = {"a": Planted(1, (StopPhase(WHY),)), "b": Planted(2, (StopTraining(WHY),))}
    ending = fit(run, silent)
    assert (ending.reason, ending.resumable) == ("stopped by a monitor", False)
    assert [row["phase"] for row in rows(run, "epoch")] == ["warmup", "exploration"]


def test_a_checkpoint_can_be_kept_by_name_once(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1})
    run.monitors = {"a": Planted(2, (SaveCheckpoint(WHY, "second"),))}
    fit(run, silent)
    assert load_checkpoint(run.folder / "checkpoints/second.pt")["clock"]["now"]["epoch"] == 2
    assert run.state.adjustments.keep == ()


def test_the_best_is_never_a_collapsed_epoch(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1, "phases.*.schedule": {"name": "constant", "lr": 0.0}})
    with torch.no_grad():
        run.model.blank_bias().fill_(50.0)
    ending = fit(run, silent)
    assert all(row["collapsed"] for row in rows(run, "epoch"))
    assert ending.best is None
    assert not (run.folder / "checkpoints/best.pt").exists()
    assert all(not kept for _, kept in silent.epochs)


def test_the_best_is_kept_with_the_shift_it_was_judged_under(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.exploration.epochs": 8})

    @dataclass
    class Always(Monitor):
        def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
            return [ShiftPenalty(WHY, -0.25)]

    run.monitors = {"always": Always()}
    ending = fit(run, silent)
    assert ending.best is not None
    judged = {row["epoch"]: row["shift"] for row in rows(run, "epoch")}
    state = load_checkpoint(run.folder / "checkpoints/best.pt")
    assert state["judged_shift"] == judged[ending.best.epoch]


def test_logits_that_are_no_numbers_stop_the_run_and_name_the_clips(make_run: Any, silent: Any) -> None:
    run = make_run()
    with torch.no_grad():
        run.model.projection.weight.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"main head: the logits of clip train-\d+, .* are not numbers"
    ) as error:
        fit(run, silent)
    assert "train-0" in str(error.value)
    notes = "\n".join(error.value.__notes__)
    assert "while model (ctckit_hierarchical.model.HierarchicalBiLSTM) was at work, epoch 1 (warmup)" in notes
    assert "interrupted.pt" in notes


def test_a_gradient_that_is_no_number_names_its_parameter_and_changes_no_weight(make_run: Any, silent: Any) -> None:
    run = make_run()
    run.model.projection.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    with pytest.raises(
        TrainingError, match=r"the gradient of projection\.weight is not finite in the batch of clips"
    ):
        fit(run, silent)
    for name, value in run.model.named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_shared_penalty_prepares_the_model_once(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1, "phases.*.penalty": {"name": "bias_init", "bias": -2.0}})
    prepared = []
    penalty = run.phases["warmup"].penalty
    penalty.prepare = prepared.append
    fit(run, silent)
    assert len(prepared) == 1


def test_a_phase_without_dropout_or_stage_is_the_same_after_a_resume(
    make_run: Any, silent: Any, tmp_path: Path
) -> None:
    settings = {
        "phases.*.dropout": "none",
        "phases.*.stage": "none",
        "phases.warmup.dropout": 0.5,
        "phases.warmup.stage": 1,
    }
    whole = make_run(settings, folder=tmp_path / "whole")
    fit(whole, silent)
    assert (whole.model.dropout.p, whole.model.stage) == (0.1, 1)

    class Interrupting(type(silent)):  # type: ignore[misc]
        def step(self, result: Any) -> None:
            super().step(result)
            if len(self.steps) == 15:
                os.kill(os.getpid(), signal.SIGINT)

    fit(make_run(settings, folder=tmp_path / "parts"), Interrupting())
    state = load_checkpoint(tmp_path / "parts/checkpoints/last.pt")
    second = make_run(settings, folder=tmp_path / "parts", resume=state)
    fit(second, silent)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_the_best_checkpoint_is_a_state_to_resume_from(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.exploration.epochs": 26})
    ending = fit(run, silent)
    assert ending.best is not None
    best, last = (load_checkpoint(run.folder / f"checkpoints/{name}.pt") for name in ("best", "last"))
    if best["clock"] == last["clock"]:
        assert best["components"] == last["components"]
    schedule = best["components"][f"phases.{best['clock']['now']['phase']}.schedule"]
    assert schedule["best_loss"] <= ending.best.val_loss  # it has seen the epoch that it is kept for


def test_a_checkpoint_interrupted_mid_epoch_holds_the_shift_in_force(make_run: Any, silent: Any) -> None:
    run = make_run()

    class Interrupting(type(silent)):  # type: ignore[misc]
        def step(self, result: Any) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    fit(run, Interrupting())
    assert load_checkpoint(run.folder / "checkpoints/last.pt")["judged_shift"] == -1.0


def test_a_failing_component_is_named_with_epoch_and_step(make_run: Any, silent: Any) -> None:
    class Failing(Penalty):
        def shift(self, at: Progress) -> float:
            if at.update == 3:
                raise ZeroDivisionError("planted")
            return 0.0

    run = make_run()
    phase = run.phases["warmup"]
    run.phases = {**run.phases, "warmup": dataclasses.replace(phase, penalty=Failing())}
    with pytest.raises(ZeroDivisionError) as error:
        fit(run, silent)
    note = error.value.__notes__[0]
    assert "while penalty (" in note
    assert "Failing) was at work, epoch 1 (warmup), batch 4 of 6, update 3" in note
    assert load_checkpoint(run.folder / "checkpoints/interrupted.pt")["clock"]["now"]["update"] == 3


def test_phases_configured_alike_share_their_component(make_run: Any) -> None:
    run = make_run({"phases.*.schedule": {"name": "constant", "lr": 0.01}})
    assert len({id(phase.schedule) for phase in run.phases.values()}) == 1
    apart = make_run()
    assert len({id(phase.schedule) for phase in apart.phases.values()}) == 4


def test_a_train_only_shift_that_does_not_end_at_zero_is_refused(make_run: Any) -> None:
    keep = {"phases.fine_tuning.penalty.value": -3.0, "evaluation.logit_shift": "none"}
    with pytest.raises(ConfigError, match=r"20\.1 times more blank-dominant"):
        make_run(keep)
    make_run({"evaluation.logit_shift": "none"})  # the recipe ends at zero
    make_run({**keep, "phases.fine_tuning.penalty.domain": "path"})  # a path shift has no counterpart anyway
    assert make_run({**keep, "evaluation.accept_blank_dominance": True})


def test_a_logit_shift_holds_in_evaluation_and_a_path_shift_does_not(make_run: Any) -> None:
    for domain, expected in (("logit", -1.0), ("path", 0.0)):
        run = make_run({"phases.warmup.penalty.domain": domain})
        run.clock.start_epoch("warmup", 1)
        assert run.shift() == -1.0
        assert run.evaluation_shift() == expected


def test_infeasible_clips_are_named_or_dropped(make_run: Any) -> None:
    with pytest.raises(DataError) as error:
        make_run({"model.subsampling": 4, "data.infeasible": "error", "batch_size": 8}, data=too_short())
    assert "has no CTC path: T=1 output frames (of 4), U=3 labels, 1 repeats" in str(error.value)
    assert "--set data.infeasible=drop" in str(error.value)
    run = make_run({"model.subsampling": 4, "data.infeasible": "drop"}, data=too_short())
    assert sum(len(batch.clip_ids) for batch in run.train.epoch(0)) == 1


_short: dict[str, Any] = {}


def too_short() -> Any:
    return _short["corpora"]


@pytest.fixture(autouse=True)
def _short_corpora(tmp_path: Path) -> None:
    import numpy as np

    from ctckit.data import CorpusWriter

    path = tmp_path / "short.h5"
    with CorpusWriter(path, 3, dtype="float32") as writer:
        writer.add("fine", np.ones((40, 3), np.float32), ["a", "b", "b"])
        writer.add("short", np.ones((4, 3), np.float32), ["a", "b", "b"])
    _short["corpora"] = type("Corpora", (), {"train": path, "dev": path})


def test_every_epoch_row_has_the_figures(make_run: Any, silent: Any) -> None:
    run = make_run(
        {"phases.*.epochs": 1, "phases.warmup.penalty.name": "bias_init", "phases.warmup.penalty.bias": -4.0}
    )
    fit(run, silent)
    rows = [row for row in read_rows(run.history.path) if row["kind"] == "epoch"]
    for row in rows:
        assert 0.0 < row["entropy"] <= math.log(len(run.tokens))
        assert row["train_infeasible"] == 0
        assert {"coverage_rare", "coverage_medium", "coverage_frequent"} <= set(row)
        assert set(row["module_gradients"]) == {"convolutions", "frame_lstm", "sequence_lstm", "projection"}
        assert all(norm > 0.0 for norm in row["module_gradients"].values())
        assert max(row["module_gradients"].values()) <= row["gradient_norm"]
        assert row["module_weights"]["projection"] > 1.0
        assert row["blank_bias_start"] == -4.0
        assert row["blank_bias_drift"] == pytest.approx(row["blank_bias"] + 4.0)
    assert rows[-1]["blank_bias"] == pytest.approx(run.blank_bias())
    assert rows[0]["blank_bias_drift"] != 0.0


ALL_CURES = {
    "phases.*.epochs": 2,
    "phases.warmup.penalty": {"name": "label_prior", "end": 0.3},
    "phases.exploration.penalty": {"name": "blank_mass_controller", "target": 0.5},
    "phases.*.regularizers": [
        {"name": "head_distillation"},
        {"name": "smoothness"},
        {"name": "consistency"},
        {"name": "path_entropy"},
    ],
    "phases.*.time_mask_prob": 0.1,
    "phases.*.curriculum": 0.5,
}


def test_all_cures_train_together_and_resume_bit_for_bit(make_run: Any, silent: Any, tmp_path: Path) -> None:
    whole = make_run(ALL_CURES, folder=tmp_path / "whole", plugins=("hierarchical_fixed", "cures"))
    assert fit(whole, silent).reason == "finished"

    class Stops(type(silent)):
        def step(self, result: Any) -> None:
            if result.at.update == 17:
                os.kill(os.getpid(), signal.SIGINT)

    first = make_run(ALL_CURES, folder=tmp_path / "parts", plugins=("hierarchical_fixed", "cures"))
    assert fit(first, Stops()).reason == "interrupted"
    state = load_checkpoint(tmp_path / "parts/checkpoints/last.pt")
    second = make_run(ALL_CURES, folder=tmp_path / "parts", resume=state, plugins=("hierarchical_fixed", "cures"))
    assert fit(second, silent).reason == "finished"
    assert epochs(second) == epochs(whole)
    terms = {"head_distillation_term", "smoothness_term", "consistency_term", "path_entropy_term"}
    assert all(terms <= set(row) for row in epochs(whole))
    assert epochs(whole)[1]["shift"] < 0.0  # there is a prior from the second epoch on


def test_a_curriculum_begins_with_its_share_and_ends_with_all(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.warmup.epochs": 3, "phases.warmup.curriculum": 0.5})
    fit(run, silent)
    found = [row["clips"] for row in epochs(run)]
    everything = found[2]
    assert found[:3] == [-(-everything // 2), -(-everything * 3 // 4), everything]
    assert set(found[3:]) == {everything}  # no curriculum in the other phases


def test_a_regularizer_named_twice_is_refused(make_run: Any) -> None:
    twice = [{"name": "smoothness"}, {"name": "smoothness", "weight": 1.0}]
    with pytest.raises(ConfigError, match=r"phases\.warmup\.regularizers: 'smoothness' is named twice"):
        make_run({"phases.warmup.regularizers": twice}, plugins=("hierarchical_fixed", "cures"))
