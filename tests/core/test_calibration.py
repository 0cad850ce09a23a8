"""Confidences beside what came of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit.calibration import Outcomes, fit, measured, outcomes, reliability
from ctckit.types import Calibration, Hypothesis, LogOdds, log_odds


def drawn(temperature: float, offset: float, count: int = 4000, seed: int = 0) -> Outcomes:
    """Confidences whose truth is ``sigmoid(log_odds / temperature + offset)``."""
    random = np.random.default_rng(seed)
    confidences = 1.0 / (1.0 + np.exp(-3.0 * random.standard_normal(count)))
    truth = np.array([LogOdds(temperature, offset)(one) for one in confidences])
    return Outcomes(confidences, random.random(count) < truth)


@pytest.mark.parametrize(("temperature", "offset"), [(1.0, 0.0), (3.0, 0.5), (0.5, -1.0)])
def test_the_fit_finds_what_the_truth_is(temperature: float, offset: float) -> None:
    found = fit(drawn(temperature, offset))
    assert found.temperature == pytest.approx(temperature, rel=0.15)
    assert found.offset == pytest.approx(offset, abs=0.15)


def test_confidences_that_are_too_sure_become_reliable() -> None:
    seen = drawn(4.0, 0.0)
    both = measured(seen, fit(seen))
    assert both.raw.error > 0.1
    assert both.calibrated.error < 0.03
    assert both.calibrated.log_loss < both.raw.log_loss


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40),
)
def test_any_outcomes_give_a_calibration_that_keeps_order_and_lies_between_0_and_1(
    pairs: list[tuple[float, bool]],
) -> None:
    seen = Outcomes(np.array([one for one, _ in pairs]), np.array([right for _, right in pairs]))
    found = fit(seen)
    assert 0.0 < found.temperature < math.inf
    assert math.isfinite(found.offset)
    values = [found(one) for one in sorted(seen.confidences)]
    assert all(0.0 <= one <= 1.0 for one in values)
    assert all(low <= high for low, high in itertools.pairwise(values))
    bins = reliability(seen).bins
    assert sum(one.count for one in bins) == len(pairs)
    assert sum(one.right * one.count for one in bins) == pytest.approx(int(seen.right.sum()))


def test_the_fit_is_the_maximum_of_the_likelihood() -> None:
    seen = drawn(2.0, 0.3, count=300)
    right, count = int(seen.right.sum()), len(seen.right)
    targets = np.where(seen.right, (right + 1) / (right + 2), 1 / (count - right + 2))

    def loss(one: LogOdds) -> float:
        p = np.array([one(confidence) for confidence in seen.confidences])
        return float(-(targets * np.log(p) + (1 - targets) * np.log1p(-p)).mean())

    best = fit(seen)
    for dt in (0.98, 1.02):
        assert loss(best) < loss(LogOdds(best.temperature * dt, best.offset))
    for do in (-0.02, 0.02):
        assert loss(best) < loss(LogOdds(best.temperature, best.offset + do))


def test_confidence_that_says_nothing_becomes_the_share_that_is_right() -> None:
    found = fit(Outcomes(np.array([0.9, 0.9, 0.1, 0.1]), np.array([False, False, True, True])))
    assert found(0.9) == pytest.approx(0.5, abs=0.01)
    assert found(0.1) == pytest.approx(0.5, abs=0.01)


def test_equal_confidences_share_a_bin() -> None:
    seen = Outcomes(np.array([0.5] * 30 + [0.9] * 10), np.array([True, False] * 20))
    bins = reliability(seen).bins
    assert [(round(one.confidence, 3), one.count) for one in bins] == [(0.5, 30), (0.9, 10)]


def test_a_token_is_right_where_the_alignment_pairs_it_with_its_like() -> None:
    one = Hypothesis(
        "c", ("a", "b", "c"), ("a", "x", "c"), (0, 1, 2), (1, 2, 3), (-0.1, -0.2, -0.3), 1, 0, 0, None, -0.5
    )
    token, clip = outcomes([one])
    assert token.right.tolist() == [True, False, True]
    assert token.confidences == pytest.approx([math.exp(-0.1), math.exp(-0.2), math.exp(-0.3)])
    assert (clip.confidences.tolist(), clip.right.tolist()) == ([math.exp(-0.5)], [False])


def test_a_hypothesis_applies_its_calibration() -> None:
    calibration = Calibration(LogOdds(2.0, 0.0), LogOdds(1.0, 1.0))
    one = Hypothesis("c", (), ("a",), (0,), (1,), (math.log(0.8),), 0, 0, 0, None, math.log(0.5), calibration)
    assert one.confidences == pytest.approx((2 / 3,))  # odds 4, of which the root is 2
    assert one.confidence == pytest.approx(1 / (1 + math.exp(-1)))
    assert log_odds(0.0) == pytest.approx(-log_odds(1.0))
