"""A run's state goes into a checkpoint and comes back whole, from checkpoints of earlier versions too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from write_format_2 import write_corpora

from ctckit import CheckpointError
from ctckit.assemble import assemble
from ctckit.config import from_json
from ctckit.engine.apply import Adjustments
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.loop import fit
from ctckit.engine.run import Run
from ctckit.engine.state import Best, EpochTotals, RunState
from ctckit.plugin_host import load_plugins
from ctckit.record.history import read_rows

STORED = Path(__file__).parent / "format_2"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a state with its path, tensors as bytes."""
    if isinstance(value, torch.Tensor):
        yield path, (value.dtype, tuple(value.shape), value.numpy().tobytes())
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{number}")
    else:
        yield path, value


@pytest.fixture
def stored_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Run]:
    """Resumes the run that was stored with the code of an earlier version, in a folder of its own."""
    monkeypatch.chdir(tmp_path)  # its corpora have relative paths
    write_corpora(tmp_path)

    def resume(state: dict[str, Any]) -> Run:
        folder = tmp_path / "run"
        folder.mkdir()
        shutil.copy(STORED / "history.jsonl", folder)
        registry, sources = load_plugins(state["identity"]["plugins"])
        config = from_json(state["config"])
        return assemble(config, registry, sources, folder, torch.device("cpu"), resume=state).run

    return resume


def with_and_without(findings_size: bool) -> dict[str, Any]:
    state = load_checkpoint(STORED / "last.checkpoint")
    assert state["findings_size"] > 0
    if not findings_size:
        del state["findings_size"]
    return state


@pytest.mark.parametrize("findings_size", [True, False])
def test_a_stored_checkpoint_is_restored_to_the_last_bit(stored_run: Any, findings_size: bool) -> None:
    state = with_and_without(findings_size)
    at = state["clock"]["now"]
    assert 0 < at["batch"] < at["batches"]  # within an epoch, so that there are sums
    assert state["adjustments"]["max_frames"] == 9
    assert state["components"]["phases.exploration.penalty"]["value"] < 0.0
    run = stored_run(state)
    assert read_rows(run.history.path)[-1]["kind"] != "end"  # what came after the checkpoint is dropped
    again = dict(leaves(load_checkpoint(run.save("again"))))
    wanted = {path: value for path, value in leaves(state) if path != ".findings_size"}
    assert {path: again.get(path) for path in wanted} == wanted
    # components may have learnt to remember more since, and the configuration a setting
    more = {path for path in set(again) - set(wanted) if not path.startswith(".components.")}
    assert more == {".config.data.frame_rate", ".config.init_from"}
    assert again[".config.data.frame_rate"] is again[".config.init_from"] is None


@pytest.mark.parametrize("findings_size", [True, False])
def test_a_stored_run_goes_on_as_the_earlier_version_would_have(
    stored_run: Any, silent: Any, findings_size: bool
) -> None:
    run = stored_run(with_and_without(findings_size))
    assert fit(run, silent).reason == "finished"
    got, wanted = (
        [row for row in read_rows(path) if row["kind"] == "epoch"]
        for path in (run.history.path, STORED / "whole.jsonl")
    )
    assert len(got) == len(wanted) == 8
    for ours, theirs in zip(got, wanted, strict=True):
        for name in ("epoch", "phase", "update", "frames", "clips", "cropped", "learning_rate", "max_frames"):
            assert ours[name] == theirs[name]
        for name in ("train_loss", "val_loss", "shift", "gradient_norm", "path_entropy_term", "blank_bias_drift"):
            # equal bit for bit on the machine that wrote it; kernels of another instruction set add up otherwise
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-5)


def test_the_state_comes_back_from_its_dict() -> None:
    totals = EpochTotals(steps=3, loss=1.5, auxiliary={"frame_head": 2.5}, module_gradients={"front": 0.25})
    state = RunState(Adjustments(0.5, -1.0, keep=("early",)), totals, Best(2, 30.0, 1.25), -0.5, 0.125)
    values = state.state_dict()
    twin = RunState()
    twin.load_state_dict({**values, "another part's": 1})
    assert twin == state
    twin.totals.auxiliary["frame_head"] = 0.0
    assert state.totals.auxiliary == {"frame_head": 2.5}  # nothing is held in common
    empty = RunState()
    twin.load_state_dict(empty.state_dict())
    assert twin == empty


@pytest.mark.parametrize("change", ["absent", "unknown"])
@pytest.mark.parametrize("record", ["adjustments", "totals", "best"])
def test_a_name_that_is_missing_or_unknown_is_refused(record: str, change: str) -> None:
    values = RunState(best=Best(1, 2.0, 3.0)).state_dict()
    if change == "absent":
        values[record].popitem()
    else:
        values[record]["new"] = 1
    with pytest.raises(CheckpointError, match=f"the checkpoint's {record} hold"):
        RunState().load_state_dict(values)


def test_a_checkpoint_that_lacks_a_part_says_which(stored_run: Any) -> None:
    state = load_checkpoint(STORED / "last.checkpoint")
    del state["totals"], state["rng"]
    with pytest.raises(CheckpointError, match="not a checkpoint of a run: it lacks rng, totals"):
        stored_run(state)
