"""Every state has a planted case that shows it and a healthy case that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from courses import Make

from ctckit.doctor.course import diagnose
from ctckit.doctor.past import Past
from ctckit.doctor.states import State, read_blanks
from ctckit.record.epoch import Epoch


def state(*observations: Epoch) -> tuple[State, str]:
    found = diagnose(observations)
    return found.state, found.reason


def test_a_run_with_97_per_cent_blanks_is_healthy(spiky: Make) -> None:
    found = diagnose([spiky(epoch) for epoch in range(1, 30)])
    assert (found.state, found.severity, found.since, found.epochs) == (State.HEALTHY, "info", 1, 29)
    assert "97.2 % of frames are blank where one-frame spikes have 97.7 %" in found.why


@pytest.mark.parametrize(("loss", "expected"), [(4.2, "PLATEAU"), (4.08, "PLATEAU"), (4.07, "ESCAPING")])
def test_the_plateau_ends_three_per_cent_below_it(silent: Make, loss: float, expected: str) -> None:
    assert diagnose([silent(train_eval_loss=loss)]).state == expected


def test_the_plateau_is_told_by_the_loss_and_not_by_the_blanks(silent: Make) -> None:
    few_blanks = silent(blank_ratio=20.0, deletion_rate=70.0, val_wer=97.0, unique_nonblank=3.0)
    assert state(few_blanks) == (State.PLATEAU, "on_plateau")


def test_an_untrained_network_is_not_over_penalised(silent: Make) -> None:
    noise = {
        "train_eval_loss": 9.0,
        "blank_ratio": 0.0,
        "insertion_rate": 98.0,
        "deletion_rate": 3.0,
        "shift": -1.0,
    }
    assert state(silent(1, **noise)) == (State.STARTING, "above_plateau")
    assert state(silent(10, **noise)) == (State.STARTING, "above_plateau")
    assert diagnose([silent(11, **noise)]).state is State.OVER_PENALISED
    assert diagnose([silent(11, **noise, update=110.0)]).state is State.STARTING  # ten updates an epoch
    assert diagnose([silent(11, **{**noise, "shift": 0.0})]).state is State.STARTING
    assert diagnose([silent(4, train_eval_loss=3.0), silent(5, **noise)]).state is State.OVER_PENALISED


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("negative_loss", {"train_eval_loss": -3.0}),
    ("zeroed_loss", {"train_eval_loss": 0.0, "val_wer": 100.0}),
    ("infeasible", {"infeasible": 50.0}),
    ("no_gradient", {"gradient_norm": 0.0}),
    ("decoder_contradicts_loss", {"train_eval_loss": 0.1, "train_wer": 100.0}),
    ("not_finite", {"train_loss": None, "not_finite": ("train_loss",)}),
    ("scoring", {"val_wer": None, "not_finite": ("val_wer",)}),
]


@pytest.mark.parametrize(("reason", "changes"), BROKEN, ids=[reason for reason, _ in BROKEN])
def test_each_fault_of_the_set_up_is_broken(spiky: Make, reason: str, changes: dict[str, Any]) -> None:
    found = diagnose([spiky(), spiky(21, **changes)])
    assert (found.state, found.reason, found.severity, found.since) == (State.BROKEN, reason, "error", 21)


@pytest.mark.parametrize(
    "changes",
    [{"train_eval_loss": 0.0, "val_wer": 5.0}, {"infeasible": 49.0}, {"train_eval_loss": 0.5, "train_wer": 95.0}],
)
def test_what_comes_near_a_fault_is_not_broken(spiky: Make, changes: dict[str, Any]) -> None:
    assert diagnose([spiky(), spiky(21, **changes)]).state is not State.BROKEN


def test_a_loss_that_stays_far_above_the_plateau_is_broken(silent: Make) -> None:
    stuck = [silent(epoch, train_eval_loss=40.0) for epoch in range(1, 6)]
    assert state(*stuck) == (State.BROKEN, "nothing_learnt")
    assert state(*stuck[:4]) == (State.STARTING, "above_plateau")
    falling = [silent(epoch, train_eval_loss=100.0 / epoch) for epoch in range(1, 6)]
    assert diagnose(falling).state is State.STARTING


def test_a_net_far_above_the_plateau_is_untrained_and_ignores_nothing_yet(silent: Make) -> None:
    found = diagnose([silent(1, train_eval_loss=45.6, plateau_loss=3.9, blank_ratio=0.0, deletion_rate=3.0)])
    assert (found.state, found.severity) == (State.STARTING, "info")
    assert "training loss 45.60 is 11.7 times the unigram plateau" in found.why
    # no longer falling, yet not far above: that is where every run starts, and this one stays
    stuck = diagnose([silent(epoch, train_eval_loss=5.0) for epoch in range(1, 12)])
    assert (stuck.state, stuck.reason) == (State.PLATEAU, "stuck_above")


def test_a_slowly_falling_loss_of_few_updates_an_epoch_is_not_broken(silent: Make) -> None:
    # three updates an epoch: 12.64 in epoch 1, 12.2 in 5, 8.39 in 15, 5.99 in 25, 4.45 in 50
    known = {1: 12.64, 5: 12.2, 15: 8.39, 25: 5.99, 50: 4.45}
    marks = sorted(known)
    run = []
    for epoch in range(1, 51):
        after = next(mark for mark in marks if mark >= epoch)
        before = max((mark for mark in marks if mark <= epoch), default=after)
        share = (epoch - before) / max(after - before, 1)
        loss = known[before] + share * (known[after] - known[before])
        run.append(silent(epoch, train_eval_loss=loss, plateau_loss=2.6, update=3.0 * epoch, blank_ratio=40.0))
    assert {part.state for part in diagnose(run).course} == {State.STARTING}
    # the same without updates recorded falls by more than chance in five epochs
    plain = [silent(n, train_eval_loss=one.train_eval_loss, plateau_loss=2.6) for n, one in enumerate(run[:16], 1)]
    assert State.BROKEN not in {part.state for part in diagnose(plain).course}
    # and one that stands still is found out after as many updates as tell
    still = [silent(n, train_eval_loss=12.0, plateau_loss=2.6, update=3.0 * n) for n in range(1, 120)]
    assert diagnose(still[:40]).state is State.STARTING
    assert diagnose(still).state is State.BROKEN


def test_a_penalty_that_drives_the_blanks_out(spiky: Make) -> None:
    inserting = {"insertion_rate": 45.0, "deletion_rate": 4.0, "val_wer": 60.0, "blank_ratio": 60.0, "shift": -1.0}
    assert state(spiky(**inserting)) == (State.OVER_PENALISED, "insertions")
    assert state(spiky(shift=-1.0, blank_ratio=4.0)) == (State.OVER_PENALISED, "no_blanks")
    for harmless in ({"insertion_rate": 19.0}, {"deletion_rate": 30.0}, {"blank_ratio": 96.0}):
        assert diagnose([spiky(**{**inserting, **harmless})]).state is not State.OVER_PENALISED
    assert diagnose([spiky(shift=0.0, blank_ratio=4.0)]).state is State.HEALTHY


OMITTING = {
    "deletion_rate": 40.0,
    "insertion_rate": 0.5,
    "val_wer": 45.0,
    "length_ratio": 0.6,
    "blank_ratio": 98.7,
    "raw_blank_ratio": 98.7,
    "train_eval_loss": 1.0,
    "overfit_ratio": 1.1,
}


def test_labels_that_are_known_and_not_emitted(spiky: Make) -> None:
    run = [spiky(epoch, **OMITTING) for epoch in range(20, 25)]
    found = diagnose(run)
    assert (found.state, found.severity, found.since) == (State.BLANK_BIASED, "warning", 23)
    shifted = [spiky(epoch, **OMITTING, shift=-3.0) for epoch in range(20, 25)]
    assert "in training alone" in diagnose(shifted).why


def test_labels_that_are_missing_or_wrong_are_not_known(spiky: Make) -> None:
    # figures of a real run (AN4 words, no auxiliary head): a shift took it from 73 to 71 % word errors, no further
    real = {"deletion_rate": 48.0, "insertion_rate": 2.0, "val_wer": 73.0, "length_ratio": 0.54}
    run = [spiky(epoch, **{**OMITTING, **real}) for epoch in range(20, 25)]
    assert state(*run) == (State.ESCAPING, "many_errors")


def test_deletions_that_a_shift_would_mend_are_found_whatever_the_blank_share(spiky: Make) -> None:
    figures = {**OMITTING, "deletion_rate": 38.3, "insertion_rate": 0.2, "val_wer": 39.0, "length_ratio": 0.62}
    run = [spiky(epoch, **{**figures, "blank_ratio": 97.5}) for epoch in range(20, 25)]
    assert diagnose(run).state is State.BLANK_BIASED


def test_a_run_that_learns_to_emit_is_not_blank_biased(spiky: Make) -> None:
    run = [spiky(epoch, **{**OMITTING, "train_eval_loss": 2.0 * 0.9 ** (epoch - 20)}) for epoch in range(20, 28)]
    assert State.BLANK_BIASED not in {part.state for part in diagnose(run).course}


@pytest.mark.parametrize("changes", [{"insertion_rate": 20.0}, {"length_ratio": 0.9}, {"train_eval_loss": 3.0}])
def test_what_comes_near_a_bias_is_none(spiky: Make, changes: dict[str, Any]) -> None:
    run = [spiky(epoch, **{**OMITTING, **changes}) for epoch in range(20, 25)]
    assert diagnose(run).state is not State.BLANK_BIASED


def test_a_gap_to_dev_with_many_errors_is_overfit(spiky: Make) -> None:
    assert state(spiky(overfit_ratio=12.0, val_wer=80.0)) == (State.OVERFIT, "gap")
    assert diagnose([spiky(overfit_ratio=40.0, val_wer=9.0)]).state is State.HEALTHY


def test_a_dev_loss_that_rises_is_overfit_unless_words_get_better(spiky: Make) -> None:
    rising = [spiky(epoch, val_loss=1.0 + 0.1 * (epoch - 20), overfit_ratio=4.0) for epoch in range(20, 26)]
    assert state(*rising) == (State.OVERFIT, "dev_loss_rises")
    young = [spiky(20, val_loss=1.0), *(spiky(epoch, val_loss=2.0, overfit_ratio=4.0) for epoch in (21, 22))]
    assert diagnose(young).state is State.HEALTHY
    assert diagnose([*young, spiky(23, val_loss=2.0, overfit_ratio=4.0)]).state is State.OVERFIT
    better = [
        spiky(epoch, val_loss=1.0 + 0.1 * (epoch - 20), overfit_ratio=4.0, val_wer=30.0 - (epoch - 20))
        for epoch in range(20, 26)
    ]
    assert diagnose(better).state is State.HEALTHY


def test_many_errors_and_a_gap_are_overfit_below_a_ratio_of_ten(spiky: Make) -> None:
    gap = {"train_eval_loss": 0.76, "val_loss": 3.37, "val_wer": 78.0, "overfit_ratio": None}
    for plateau in (4.2, None):
        found = diagnose([spiky(plateau_loss=plateau, **gap)])
        assert (found.state, found.reason, found.severity) == (State.OVERFIT, "gap", "warning")
    assert diagnose([spiky(**{**gap, "train_eval_loss": 1.3})]).state is not State.OVERFIT  # 2.6 times


def test_a_dev_loss_that_rises_at_many_errors_is_overfit_below_a_ratio_of_three() -> None:
    run = [
        Epoch(n + 1, train_loss=4.0 * 0.95**n, val_loss=loss, val_wer=wer)
        for n, (loss, wer) in enumerate(
            zip(
                [5.2, 5.1, 5.0, 4.9, 4.89, 4.98, 5.07, 5.16, 5.25, 5.34, 5.43, 5.52, 5.61],
                [92.0, 87, 90, 84, 88, 90, 93, 91, 94, 92, 95, 93, 96],
                strict=True,
            )
        )
    ]
    found = diagnose(run)
    assert (found.state, found.reason, found.severity) == (State.OVERFIT, "dev_loss_rises", "warning")


def test_a_good_run_is_not_overfit_however_small_its_training_loss(spiky: Make) -> None:
    # the digits: 1.2 % word errors at a dev loss of 0.07, 24 times the training loss
    good = {"train_eval_loss": 0.003, "val_loss": 0.07, "val_wer": 1.2, "overfit_ratio": 23.8, "plateau_loss": 2.6}
    run = [spiky(n, **good) for n in range(1, 5)] + [spiky(n, **{**good, "val_loss": 0.1}) for n in range(5, 12)]
    assert {part.state for part in diagnose(run).course} == {State.HEALTHY}
    worse = [*run, *(spiky(n, **{**good, "val_loss": 0.4, "val_wer": 6.0}) for n in range(12, 18))]
    assert diagnose(worse).state is State.OVERFIT


def test_a_run_on_its_way_may_stall(silent: Make) -> None:
    way = {"deletion_rate": 70.0, "val_wer": 85.0}
    stuck = [silent(epoch, train_eval_loss=3.0, **way) for epoch in range(4, 15)]
    found = diagnose(stuck)
    assert (found.state, found.stalled, found.severity) == (State.ESCAPING, True, "warning")
    moving = [silent(epoch, train_eval_loss=3.0 * 0.97**epoch, **way) for epoch in range(4, 15)]
    found = diagnose(moving)
    assert (found.state, found.stalled, found.severity) == (State.ESCAPING, False, "info")
    assert Past.of(stuck[:5]).falls()
    # five updates an epoch are too few to be asked
    slow = [silent(epoch, train_eval_loss=3.0, update=5.0 * epoch, **way) for epoch in range(4, 15)]
    assert not diagnose(slow).stalled


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((1.0, 1.0, 0.0, 95.0), "swallowing"),
        ((None, 1.0, 0.0, 5.0), "unknown"),
        ((0.4, 1.0, 0.0, 5.0), "too_many"),
        ((1.0, 0.4, 0.0, 5.0), "too_many"),
        ((1.0, 1.3, 30.0, 5.0), "too_few"),
        ((1.0, 1.0, 0.0, 5.0), "spikes"),
        ((2.1, 1.0, 0.0, 5.0), "held"),
    ],
)
def test_reading_a_blank_share(figures: tuple[Any, ...], expected: str) -> None:
    frames, length, insertions, deletions = figures
    shares = {} if frames is None else {"blank_ratio": 100.0 - 2.0 * frames, "blank_reference": 98.0}
    epoch = Epoch(1, length_ratio=length, insertion_rate=insertions, deletion_rate=deletions, **shares)
    assert read_blanks(epoch) == expected


def test_the_rules_need_no_torch() -> None:
    import subprocess
    import sys

    program = "import sys, ctckit.doctor.states, ctckit.doctor.flags; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)


def test_a_run_that_lost_what_it_knew_has_diverged(spiky: Make) -> None:
    learnt = [spiky(n, train_eval_loss=0.2, val_wer=12.0) for n in range(1, 9)]
    worse = {"train_eval_loss": 0.9, "val_wer": 40.0}
    found = diagnose([*learnt, spiky(9, **worse)])
    assert (found.state, found.reason, found.severity) == (State.DIVERGED, "lost", "warning")
    assert "12.0 % at best and are 40.0 %" in found.why
    assert diagnose([*learnt, spiky(9, **worse), spiky(10, **worse)]).severity == "error"
    # more errors alone are another matter, and so is a loss that rises while as many words are right
    assert diagnose([*learnt, spiky(9, train_eval_loss=0.2, val_wer=40.0)]).state is not State.DIVERGED
    assert diagnose([*learnt, spiky(9, train_eval_loss=0.9, val_wer=15.0)]).state is not State.DIVERGED


def test_a_loss_that_rises_above_the_plateau_is_no_start(silent: Make) -> None:
    plateau = silent(1).plateau_loss
    assert plateau is not None
    rising = [silent(n, train_eval_loss=plateau * 2.0**n) for n in range(1, 5)]
    assert diagnose(rising[:1]).state is State.STARTING
    assert diagnose(rising).reason == "loss_rises"
    falling = [silent(n, train_eval_loss=plateau * 9.0 * 0.8**n) for n in range(1, 5)]
    assert diagnose(falling).state is State.STARTING


def test_back_on_the_plateau_is_no_beginning(silent: Make) -> None:
    plateau = silent(1).plateau_loss
    assert plateau is not None
    back = diagnose([silent(1, train_eval_loss=0.5 * plateau), silent(2)])
    assert (back.state, back.severity) == (State.PLATEAU, "warning")
    assert diagnose([silent(1)]).severity == "info"
