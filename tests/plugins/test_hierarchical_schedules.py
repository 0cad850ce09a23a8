from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctckit import CheckpointError, Progress, Schedule
from ctckit_hierarchical.schedules import (
    Constant,
    Cosine,
    Linear,
    Plateau,
    Warmup,
    WarmupCosine,
    WarmupPlateau,
)


def at(epoch: int, epochs: int = 10, batch: int = 0, batches: int = 4) -> Progress:
    return Progress(epoch, "a", epoch, epochs, epochs, batch=batch, batches=batches)


def test_warmup_is_the_documents() -> None:
    warmup = Warmup(lr=1e-3, start_lr=1e-6, epochs=5)
    # get_warmup_lr of docs/founding-document.md 4.1
    expected = [1e-6 + (1e-3 - 1e-6) * (epoch / 5) for epoch in range(1, 6)] + [1e-3]
    assert [warmup.learning_rate(at(epoch)) for epoch in range(1, 7)] == pytest.approx(expected)


def test_plateau_follows_torch_once_off_the_unigram_plateau(make_epoch: Any) -> None:
    losses = [3.0, 2.5, 2.6, 2.7, 2.55, 2.4, 2.4, 2.4, 2.41, 2.5, 2.39999, 2.2, 2.3, 2.3, 2.3, 2.3]
    ours = Plateau(lr=0.1, factor=0.5, patience=2, min_lr=0.02)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, min_lr=0.02)
    rates = set()
    for epoch, loss in enumerate(losses, 1):
        ours.observe(make_epoch(epoch, loss=loss, train_loss=1.0))
        theirs.step(loss)
        assert ours.learning_rate(at(epoch)) == pytest.approx(optimizer.param_groups[0]["lr"])
        rates.add(ours.learning_rate(at(epoch)))
    assert len(rates) >= 3


def test_plateau_is_held_while_on_the_unigram_plateau(make_epoch: Any) -> None:
    held, free = Plateau(lr=0.1, patience=1), Plateau(lr=0.1, patience=1, hold_on_plateau=False)
    for epoch in range(1, 9):
        stuck = make_epoch(epoch, loss=4.0, train_loss=3.9, plateau_loss=4.0)
        held.observe(stuck)
        free.observe(stuck)
    assert held.learning_rate(at(9)) == 0.1
    assert free.learning_rate(at(9)) < 0.1


def test_warmup_plateau_counts_nothing_while_warming_up(make_epoch: Any) -> None:
    schedule = WarmupPlateau(lr=0.1, patience=0, warmup_epochs=3, start_lr=0.0)
    assert schedule.learning_rate(at(1)) == pytest.approx(0.1 / 3)
    for epoch in (1, 2):
        schedule.observe(make_epoch(epoch, loss=1.0 + epoch))
    assert schedule.learning_rate(at(3)) == 0.1
    for epoch in (3, 4, 5):
        schedule.observe(make_epoch(epoch, loss=2.0))
    assert schedule.learning_rate(at(6)) == pytest.approx(0.1 * 0.5**2)


def test_linear_and_cosine_reach_their_ends() -> None:
    for schedule in (Linear(1.0, 0.1), Cosine(1.0, 0.1)):
        assert schedule.learning_rate(at(1)) == 1.0
        assert schedule.learning_rate(at(10, batch=4)) == pytest.approx(0.1)
    assert Linear(1.0, 0.0).learning_rate(at(6)) == pytest.approx(0.5)
    assert Cosine(1.0, 0.0).learning_rate(at(6)) == pytest.approx(0.5)
    warm = WarmupCosine(lr=1.0, start_lr=0.0, warmup_epochs=2, end_lr=0.1)
    assert warm.learning_rate(at(1)) == 0.5
    assert warm.learning_rate(at(3)) == pytest.approx(1.0)
    assert warm.learning_rate(at(10, batch=4)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "schedule",
    [Constant(0.1), Warmup(), Plateau(), WarmupPlateau(), Linear(0.1), Cosine(0.1), WarmupCosine()],
    ids=lambda schedule: type(schedule).__name__,
)
@given(epoch=st.integers(1, 60), epochs=st.integers(1, 60), batch=st.integers(0, 4))
def test_rates_are_finite_not_negative_and_pure(schedule: Schedule, epoch: int, epochs: int, batch: int) -> None:
    time = at(min(epoch, epochs), epochs, batch)
    rate = schedule.learning_rate(time)
    assert math.isfinite(rate)
    assert rate >= 0
    assert schedule.learning_rate(time) == rate


def test_state_is_named_and_strict(make_epoch: Any) -> None:
    used, fresh = Plateau(lr=0.1, patience=0), Plateau(lr=0.1, patience=0)
    for epoch in range(1, 5):
        used.observe(make_epoch(epoch, loss=2.0))
    fresh.load_state_dict(used.state_dict())
    for epoch in range(5, 9):
        for schedule in (used, fresh):
            schedule.observe(make_epoch(epoch, loss=1.9))
    assert used.state_dict() == fresh.state_dict()
    with pytest.raises(CheckpointError, match="Plateau"):
        fresh.load_state_dict({"scale": 1.0})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-1.0), "lr is -1.0"),
        (lambda: Warmup(epochs=0), "epochs is 0"),
        (lambda: Plateau(factor=1.0), "factor is 1.0"),
        (lambda: Plateau(patience=-1), "patience is -1"),
        (lambda: Linear(math.inf), "lr is inf"),
    ],
)
def test_impossible_parameters_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
