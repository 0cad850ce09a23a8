from __future__ import annotations

import json

import pytest
from courses import Make, random_run

from ctckit.doctor.course import Course, diagnose
from ctckit.doctor.flags import red_flags
from ctckit.doctor.past import Past
from ctckit.doctor.states import State, state_of
from ctckit.record.epoch import Epoch


def test_the_course_of_a_good_run(silent: Make, spiky: Make) -> None:
    run = [silent(epoch) for epoch in (1, 2, 3)]
    run += [silent(4, train_eval_loss=3.8, deletion_rate=95.0), silent(5, train_eval_loss=1.9, deletion_rate=60.0)]
    run += [spiky(6), spiky(7)]
    found = diagnose(run)
    assert [(part.state, part.first, part.last) for part in found.course] == [
        (State.PLATEAU, 1, 3),
        (State.ESCAPING, 4, 5),
        (State.HEALTHY, 6, 7),
    ]
    assert (found.since, found.epochs, found.stalled) == (6, 2, False)


def test_the_plateau_is_usual_for_three_epochs_and_an_error_after_ten(silent: Make) -> None:
    run = [silent(epoch) for epoch in range(1, 12)]
    severities = [diagnose(run[:end]).severity for end in range(1, 12)]
    assert severities == ["info"] * 3 + ["warning"] * 7 + ["error"]
    # an epoch of few updates is less than an epoch
    slow = [silent(epoch, update=10.0 * epoch) for epoch in range(1, 120)]
    assert [diagnose(slow[:end]).severity for end in (11, 31, 100, 119)] == ["info", "warning", "warning", "error"]


def test_without_a_plateau_the_state_is_inferred_and_says_so(silent: Make, spiky: Make) -> None:
    found = diagnose([silent(plateau_loss=None)])
    assert found.state is State.PLATEAU
    assert "inferred" in found.why
    assert diagnose([silent(plateau_loss=None, train_eval_loss=0.3, overfit_ratio=14.0)]).state is State.OVERFIT
    assert diagnose([spiky(plateau_loss=None, val_wer=85.0, deletion_rate=None)]).state is State.ESCAPING
    assert diagnose([spiky(plateau_loss=None)]).state is State.HEALTHY


def test_epochs_that_say_nothing_are_left_out() -> None:
    mute = [Epoch(epoch=1, train_loss=12.9), Epoch(epoch=2, train_loss=5.2)]
    with pytest.raises(ValueError, match="no epoch records"):
        diagnose(mute)
    found = diagnose([*mute, Epoch(epoch=3, val_wer=20.0)])
    assert [(part.first, part.last) for part in found.course] == [(3, 3)]
    with pytest.raises(ValueError, match="at least one"):
        diagnose([])


@pytest.mark.parametrize("seed", range(6))
def test_a_course_taken_up_again_at_any_epoch_says_what_the_whole_run_says(seed: int) -> None:
    run = random_run(seed)
    course = Course()
    seen = set()
    for end, one in enumerate(run, 1):
        course = Course.from_state_dict(json.loads(json.dumps(course.state_dict())))
        course.add(one)
        told = any(state_of(Past.of(run[:earlier])) for earlier in range(1, end + 1))
        whole = diagnose(run[:end], 80) if told else None
        assert whole == (course.diagnose(80) if told else None)
        assert red_flags(course.past) == red_flags(run[:end])
        seen |= {whole.state} if whole else set()
    assert len(seen) > 1  # the runs do go through states


def test_a_course_stays_small(spiky: Make) -> None:
    course = Course()
    for epoch in range(1, 400):
        course.add(spiky(epoch))
        if epoch == 20:
            early = len(json.dumps(course.state_dict()))
    assert len(json.dumps(course.state_dict())) < 1.1 * early
