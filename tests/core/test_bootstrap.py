"""The paired bootstrap against closed forms, over one seed and over several."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit import bootstrap
from ctckit.bootstrap import compare, compare_over_seeds


def test_intervals_have_the_width_of_the_binomial() -> None:
    random = np.random.default_rng(0)
    errors = (random.random(2000) < 0.2).astype(int).tolist()
    found = compare([errors, errors], [1] * 2000)
    rate = found.error_rates[0]
    deviation = 100 * np.sqrt(0.2 * 0.8 / 2000)
    assert rate.value == 100 * sum(errors) / 2000
    assert rate.high - rate.low == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    # paired: equal runs differ by nothing whatever is drawn
    assert (found.differences[1].low, found.differences[1].high, found.better[1]) == (0.0, 0.0, 0.5)


def test_a_run_that_is_better_everywhere_is_surely_better() -> None:
    found = compare([[2] * 50, [1] * 50, [3] * 50], [10] * 50)
    assert found.better[1:] == (1.0, 0.0)
    assert (found.differences[1].value, found.differences[1].low, found.differences[1].high) == (-10, -10, -10)


def test_the_probability_is_that_of_the_sign() -> None:
    # one utterance better, one worse by as much: heads and tails
    assert compare([[1, 0], [0, 1]], [5, 5], resamples=20_000).better[1] == pytest.approx(0.5, abs=0.02)
    # one of three utterances is better, the others alike: drawn at least once with 1 - (2/3)^3, else equal
    found = compare([[1, 0, 0], [0, 0, 0]], [5, 5, 5], resamples=20_000)
    assert found.better[1] == pytest.approx(19 / 27 + 0.5 * 8 / 27, abs=0.01)


def test_long_utterances_weigh_more() -> None:
    found = compare([[10, 0], [0, 1]], [100, 1])
    assert found.error_rates[0].value == pytest.approx(100 * 10 / 101)


def test_blocks_do_not_change_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = np.random.default_rng(0).integers(0, 5, (2, 40)).tolist()
    whole = compare(errors, [6] * 40, resamples=500)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert compare(errors, [6] * 40, resamples=500) == whole


@pytest.mark.parametrize(("errors", "words"), [([[1, 2], [1]], [3, 3]), ([[1], [1]], [3, 3]), ([[0], [0]], [0])])
def test_what_does_not_pair_is_refused(errors: list[list[int]], words: list[int]) -> None:
    with pytest.raises(ValueError, match=r"error count|no tokens"):
        compare(errors, words)


# --- the bootstrap over seeds ------------------------------------------------------------------------------


def test_seeds_that_disagree_leave_it_open() -> None:
    # one utterance: all luck is that of the seed; both seeds of the better kind with 1/4, of the worse with 1/4
    found = compare_over_seeds([[[10], [10]], [[5], [15]]], [100], resamples=20_000)
    assert found.better[1] == pytest.approx(0.5, abs=0.02)
    assert (found.differences[1].value, found.differences[1].low, found.differences[1].high) == (0.0, -5.0, 5.0)


def test_a_seed_more_is_no_larger_corpus() -> None:
    errors = [3, 0, 1, 0, 2, 0, 0, 5, 1, 1] * 3
    words = [10] * len(errors)
    once = compare([errors], words).error_rates[0]
    twice = compare_over_seeds([[errors, errors]], words).error_rates[0]
    assert twice == once


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 9)), min_size=8, max_size=30))
def test_the_interval_holds_the_estimate(utterances: list[tuple[int, int, int]]) -> None:
    first, second, words = (list(column) for column in zip(*utterances, strict=True))
    found = compare_over_seeds([[first, second], [second, second]], words, resamples=400)
    for one in (*found.error_rates, *found.differences):
        assert one.low - 1e-9 <= one.value <= one.high + 1e-9
    assert all(0.0 <= better <= 1.0 for better in found.better)


@pytest.mark.parametrize("errors", [[[[1], [1]], [[1]]], [[], []], [[[1, 2]], [[1]]]])
def test_what_does_not_pair_over_seeds_is_refused(errors: list[list[list[int]]]) -> None:
    with pytest.raises(ValueError, match=r"each seed|each utterance"):
        compare_over_seeds(errors, [3])
