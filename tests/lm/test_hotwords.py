"""Phrases that are favoured, against a naive count of where they stand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit.errors import ConfigError
from ctckit.lm import hotwords
from ctckit.ops import Automaton

TOKENS = ("<blank>", "a", "b", "c", "d")
PHRASES = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple),
    st.sampled_from([0.5, 1.0, 2.0, -1.0]),
    min_size=1,
    max_size=5,
)


def walk(automaton: Automaton, labels: list[int]) -> float:
    state, total = automaton.initial, 0.0
    for label in labels:
        while True:
            begin, end = automaton.starts_N1[state : state + 2].tolist()
            arcs = dict(zip(automaton.labels_A[begin:end].tolist(), range(begin, end), strict=True))
            if label in arcs:
                total += float(automaton.weights_A[arcs[label]])
                state = int(automaton.targets_A[arcs[label]])
                break
            if int(automaton.failures_N[state]) < 0:
                total += automaton.unknown
                break
            total += float(automaton.failure_weights_N[state])
            state = int(automaton.failures_N[state])
    return total + float(automaton.finals_N[state])


@settings(max_examples=200)
@given(PHRASES, st.lists(st.sampled_from("abcd"), max_size=12))
def test_every_place_of_a_phrase_counts_and_nothing_else(
    phrases: dict[tuple[str, ...], float], said: list[str]
) -> None:
    automaton = hotwords(phrases, TOKENS)
    expected = sum(
        boost * len(phrase)
        for phrase, boost in phrases.items()
        for place in range(len(said))
        if tuple(said[place : place + len(phrase)]) == phrase
    )
    assert walk(automaton, [TOKENS.index(token) for token in said]) == pytest.approx(expected, abs=1e-5)


def test_what_is_on_its_way_is_favoured_in_advance() -> None:
    automaton = hotwords({("a", "b", "c"): 2.0}, TOKENS)
    first = int(automaton.targets_A[0])
    assert float(automaton.weights_A[0]) == 2.0
    assert float(automaton.finals_N[first]) == -2.0


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigError, match="hotword 'a zoo' holds 'zoo', which the alphabet lacks"):
        hotwords({("a", "zoo"): 1.0}, TOKENS)
    with pytest.raises(ConfigError, match="hotword '' is empty"):
        hotwords({(): 1.0}, TOKENS)
    with pytest.raises(ConfigError, match="not a number"):
        hotwords({("a",): float("nan")}, TOKENS)
    with pytest.raises(ConfigError, match="which the alphabet lacks"):
        hotwords({("<blank>",): 1.0}, TOKENS)
