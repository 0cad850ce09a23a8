from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit import CheckpointError, Progress
from ctckit.engine.clock import Clock


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_epochs_and_batches_are_counted_through_all_phases(phases: dict[str, int], batches: int) -> None:
    clock = Clock(phases)
    seen = []
    while (phase := clock.next_phase()) is not None:
        clock.start_epoch(phase, batches)
        for _ in range(batches):
            assert clock.mid_epoch
            clock.finish_batch(10)
        assert not clock.mid_epoch
        seen.append((clock.now.epoch, clock.now.phase, clock.now.phase_epoch))
    expected = [(name, i) for name, count in phases.items() for i in range(1, count + 1)]
    assert seen == [(n, name, i) for n, (name, i) in enumerate(expected, 1)]
    assert clock.now.update == len(expected) * batches
    assert clock.now.frames == 10 * clock.now.update
    assert clock.now.epochs == len(expected)


def test_skipping_the_rest_of_a_phase_enters_the_next() -> None:
    clock = Clock({"a": 5, "b": 2})
    clock.start_epoch("a", 1)
    clock.finish_batch(1)
    assert clock.next_phase(skip_rest=True) == "b"
    assert clock.now.epochs == 7
    assert clock.start_epoch("b", 1).phase_epoch == 1
    assert clock.now.epoch == 2
    assert clock.now.epochs == 3  # what "a" was spared is not owed
    clock.finish_batch(1)
    assert clock.next_phase(skip_rest=True) is None


def test_progress_cannot_be_written() -> None:
    clock = Clock({"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        clock.now.epoch = 3  # type: ignore[misc]


def test_state_survives_and_refuses_another_plan() -> None:
    clock = Clock({"a": 2})
    clock.start_epoch("a", 4)
    clock.finish_batch(7)
    twin = Clock({"a": 2})
    twin.load_state_dict(clock.state_dict())
    assert twin.now == clock.now
    with pytest.raises(CheckpointError, match="phases"):
        Clock({"a": 3}).load_state_dict(clock.state_dict())


def test_phase_fraction_runs_from_zero_to_one() -> None:
    start = Progress(epoch=1, phase="a", phase_epoch=1, phase_epochs=2, epochs=2, batch=0, batches=4)
    end = dataclasses.replace(start, phase_epoch=2, batch=4)
    assert start.phase_fraction == 0.0
    assert end.phase_fraction == 1.0
