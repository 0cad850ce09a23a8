"""A model laid over the alphabet of a run, and over words that characters spell."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit.errors import DataError
from ctckit.lm import LanguageModel, estimate, read_lexicon, write_arpa
from ctckit.ops import Automaton

SAID = [("b", "a"), ("a", "b", "b"), ("c",), ("a", "c", "b"), ("b", "c", "a", "a")]


def model(order: int = 3) -> LanguageModel:
    return LanguageModel(write_arpa(estimate(SAID, order)).encode())


def walk(automaton: Automaton, labels: list[int]) -> tuple[list[float], float]:
    state, scores = automaton.initial, []
    for label in labels:
        total = 0.0
        while True:
            begin, end = automaton.starts_N1[state : state + 2].tolist()
            own = automaton.labels_A[begin:end].tolist()
            assert own == sorted(set(own))
            if label in own:
                place = begin + own.index(label)
                total, state = total + float(automaton.weights_A[place]), int(automaton.targets_A[place])
                break
            if int(automaton.failures_N[state]) < 0:
                total += automaton.unknown
                break
            total += float(automaton.failure_weights_N[state])
            state = int(automaton.failures_N[state])
        scores.append(total)
    return scores, float(automaton.finals_N[state])


@settings(max_examples=60)
@given(st.permutations(["a", "b", "c", "zoo", "cat"]), st.lists(st.integers(1, 5), max_size=6), st.integers(1, 3))
def test_classes_have_the_probabilities_of_their_words(labels: list[str], said: list[int], order: int) -> None:
    one, tokens = model(order), ("<blank>", *labels)
    automaton, unknown = one.bind(tokens)
    assert set(unknown) == {"zoo", "cat"}
    scores, end = walk(automaton, said)
    truth, truth_end = one.score([tokens[label] for label in said])
    assert scores == pytest.approx(truth, abs=1e-4)
    assert end == pytest.approx(truth_end, abs=1e-4)


def test_words_that_are_no_labels_are_left_out() -> None:
    automaton, unknown = model().bind(("<blank>", "c"))
    assert unknown == ()
    assert set(automaton.labels_A.tolist()) == {1}


def test_an_alphabet_that_has_a_mark_for_a_label_does_not_take_its_probability() -> None:
    automaton, unknown = model().bind(("<blank>", "a", "</s>", "<s>"))
    assert set(unknown) == {"</s>", "<s>"}
    assert walk(automaton, [2])[0] == pytest.approx(model().score(["zoo"])[0])


def test_words_are_spelled() -> None:
    text = write_arpa(estimate([("cat", "at"), ("at", "act"), ("cat", "tac")], 2)).encode()
    one, tokens = LanguageModel(text), ("<blank>", "a", "c", "t", " ")
    lexicon, automaton, unspelled = one.spell(tokens, 4)
    assert unspelled == ()
    spelled = {}
    stack = [(0, "")]
    while stack:
        node, text_so_far = stack.pop()
        if int(lexicon.words_N[node]) >= 0:
            spelled[text_so_far] = int(lexicon.words_N[node])
        for arc in range(*lexicon.starts_N1[node : node + 2].tolist()):
            stack.append((int(lexicon.targets_A[arc]), text_so_far + tokens[int(lexicon.labels_A[arc])]))
    assert spelled.keys() == {"cat", "at", "act", "tac"}
    scores, end = walk(automaton, [spelled["cat"], spelled["at"]])
    truth, truth_end = one.score(["cat", "at"])
    assert (*scores, end) == pytest.approx((*truth, truth_end), abs=1e-4)
    lexicon, automaton, unspelled = one.spell(tokens, 4, {"cat": "cat", "tact": "tact", "dog": "dog"})
    assert unspelled == ("dog",)
    unknown = max(lexicon.words_N.tolist())
    assert walk(automaton, [unknown])[0] == pytest.approx(one.score(["tact"])[0], abs=1e-4)
    with pytest.raises(DataError, match="spells 'cat' and 'kat' alike"):
        one.spell(tokens, 4, {"cat": "cat", "kat": "cat"})
    with pytest.raises(DataError, match="no word of the lexicon can be spelled"):
        one.spell(("<blank>", "x", " "), 2)


def test_a_lexicon_is_read(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("cat\n\nDR\tD O C T O R\ncat\n")
    assert read_lexicon(path) == {"cat": ("c", "a", "t"), "DR": tuple("DOCTOR")}
    path.write_text("DR\tD R\nDR\tD O C\n")
    with pytest.raises(DataError, match=r"words.txt, line 2: 'DR' has a second spelling"):
        read_lexicon(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no words"):
        read_lexicon(path)
    with pytest.raises(DataError, match="cannot be read as a lexicon"):
        read_lexicon(tmp_path / "none")
