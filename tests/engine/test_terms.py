"""Regularizers, class shifts and the curriculum in a run."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ctckit import Batch, ConfigError, Emissions, Penalty, PluginError, Progress, Regularizer
from ctckit.components import build_components
from ctckit.config import nest, resolve
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.dry_run import dry_run
from ctckit.engine.loop import fit
from ctckit.engine.run import ActivePhase
from ctckit.plugin_host import load_plugins
from ctckit.record.history import read_rows
from ctckit_hierarchical.fixed import RECIPE
from ctckit_hierarchical.schedules import Constant

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


def epochs(run: Any) -> list[dict[str, Any]]:
    rows = [row for row in read_rows(run.history.path) if row["kind"] == "epoch"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def swap(run: Any, **parts: Any) -> None:
    """Put planted components into the first phase."""
    name, phase = next(iter(run.phases.items()))
    given = {"penalty": phase.penalty, "regularizers": phase.regularizers, **parts}
    run.phases = {**run.phases, name: ActivePhase(phase.settings, phase.schedule, **given)}


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


class Watching(Regularizer):
    """Remembers the batches that it was given."""

    views: ClassVar[int] = 2

    def __init__(self) -> None:
        self.seen: list[Batch] = []

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        self.seen.append(batch)
        return emissions.logits_TBC.new_zeros(())


@given(st.integers(1, 60), st.floats(0.001, 1.0))
def test_the_share_grows_to_all_and_never_beyond(epochs: int, first: float) -> None:
    settings = RECIPE.phases["warmup"].model_copy(update={"epochs": epochs, "curriculum": first})
    phase = ActivePhase(settings, Constant(1e-3), None, {})
    shares = [phase.clip_share(epoch) for epoch in range(1, epochs + 1)]
    assert shares[0] == first
    assert shares == sorted(shares)
    assert epochs == 1 or shares[-1] == pytest.approx(1.0)
    assert max(shares) <= 1.0


def test_a_dry_run_takes_the_steps_of_the_run(make_run: Any, tiny: Any) -> None:
    run = make_run({"batch_size": 1, "phases.warmup.time_mask_prob": 0.3})
    watching = Watching()
    swap(run, regularizers={"watching": watching})
    dry_run(run, run.train)
    assert [len(batch.clip_ids) for batch in watching.seen] == [2, 2, 2]
    assert all(batch.clip_ids[0] == batch.clip_ids[1] for batch in watching.seen)


class ThreeViews(Watching):
    views: ClassVar[int] = 3


class NoView(Watching):
    views: ClassVar[int] = 0


@pytest.mark.parametrize("classes", [(Watching, ThreeViews), (NoView,)], ids=["two and three", "none"])
def test_views_that_do_not_go_together_are_refused(make_run: Any, classes: tuple[type[Watching], ...]) -> None:
    registry, _ = load_plugins(["hierarchical_fixed"])
    for cls in classes:
        registry.regularizer(cls.__name__, cls)
    names = [{"name": cls.__name__} for cls in classes]
    config = resolve(RECIPE, [("test", nest({"phases.warmup.regularizers": names}))])
    with pytest.raises(ConfigError, match=r"phases\.warmup\.regularizers: they want different numbers of views"):
        build_components(config, registry)


def test_two_views_are_the_same_clips_masked_each_in_its_own_way(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1, "phases.warmup.time_mask_prob": 0.3})
    watching = Watching()
    swap(run, regularizers={"watching": watching})
    fit(run, silent)
    frames = [row["frames"] for row in epochs(run)]
    assert frames[1] == 2 * frames[0]  # counted once, although seen twice
    for batch in watching.seen:
        clips = len(batch.clip_ids) // 2
        assert batch.clip_ids[:clips] == batch.clip_ids[clips:]
        assert batch.targets_BS[:clips].equal(batch.targets_BS[clips:])
        assert batch.lengths_B[:clips].equal(batch.lengths_B[clips:])
    assert not all(
        b.features_BTF[: len(b.clip_ids) // 2].equal(b.features_BTF[len(b.clip_ids) // 2 :]) for b in watching.seen
    )


@dataclass
class Failing(Regularizer):
    value: float = field(default=float("nan"))

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        if self.value:
            return torch.tensor(self.value)
        raise ZeroDivisionError("planted")


def test_a_failing_regularizer_is_named_and_nobody_else(make_run: Any, silent: Any) -> None:
    run = make_run()
    swap(run, regularizers={"failing": Failing(0.0)})
    with pytest.raises(ZeroDivisionError) as error:
        fit(run, silent)
    notes = [note for note in error.value.__notes__ if note.startswith("while ")]
    assert len(notes) == 1
    assert notes[0].startswith("while regularizer 'failing' (")
    assert notes[0].endswith("was at work, epoch 1 (warmup), batch 1 of 6, update 0")


def test_a_term_that_is_no_number_names_itself_and_the_clips(make_run: Any, silent: Any) -> None:
    run = make_run()
    swap(run, regularizers={"failing": Failing()})
    with pytest.raises(Exception, match=r"the term 'failing' of the loss is nan in the batch of clips \w"):
        fit(run, silent)


@dataclass
class Shifting(Penalty):
    classes: int = 3
    domain = "path"

    def shift(self, at: Progress) -> float:
        return 0.0

    def class_shifts(self, at: Progress) -> Tensor:
        return torch.zeros(self.classes)


def test_class_shifts_of_another_alphabet_are_refused(make_run: Any, silent: Any) -> None:
    run = make_run()
    swap(run, penalty=Shifting())
    with pytest.raises(PluginError, match=r"class_shifts returned a path shift of shape \(3,\)"):
        fit(run, silent)


def test_a_regularizer_named_twice_is_refused(make_run: Any) -> None:
    twice = [{"name": "smoothness"}, {"name": "smoothness", "weight": 1.0}]
    with pytest.raises(ConfigError, match=r"phases\.warmup\.regularizers: 'smoothness' is named twice"):
        make_run({"phases.warmup.regularizers": twice}, plugins=("hierarchical_fixed", "cures"))
