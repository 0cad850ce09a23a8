"""From what is asked of a beam search to the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctckit.errors import ConfigError, DataError
from ctckit.guidance import Wanted, guide
from ctckit.lm import LanguageModel, estimate, write_arpa
from ctckit.search import Search, Tuned

WORDS = ("<blank>", "cat", "at", "act")
LETTERS = ("<blank>", " ", "a", "c", "t")


@pytest.fixture
def lm() -> LanguageModel:
    return LanguageModel(write_arpa(estimate([("cat", "at"), ("act",)], 2)).encode())


def test_nothing_asked_is_nothing(lm: LanguageModel) -> None:
    assert not Wanted().anything
    assert Wanted(beam=4).anything
    assert Wanted(lm=lm).anything
    assert Wanted(hotwords={"cat": 1.0}).anything


def test_a_model_of_tokens_and_one_of_words(lm: LanguageModel) -> None:
    over_tokens = guide(Wanted(lm=lm), WORDS, "word", None)
    assert over_tokens.search.lexicon is None
    assert over_tokens.search.language is not None
    assert over_tokens.fingerprint == lm.fingerprint
    spelled = guide(Wanted(lm=lm), LETTERS, "character", None).search
    assert spelled.lexicon is not None
    assert spelled.lexicon.separator == 1
    letters = LanguageModel(write_arpa(estimate([tuple("cat"), tuple("at")], 2)).encode())
    assert guide(Wanted(lm=letters), LETTERS, "character", None).search.lexicon is None


def test_what_was_tuned_serves_with_its_own_model_alone(lm: LanguageModel) -> None:
    tuned = Tuned(24, 30, 0.3, 1.0, -0.5, lm.fingerprint)
    search = guide(Wanted(lm=lm), WORDS, "word", tuned).search
    assert (search.width, search.classes, search.weight, search.bonus, search.shift) == (24, 30, 0.3, 1.0, -0.5)
    asked = guide(Wanted(lm=lm, beam=8, weight=0.7, bonus=0.0, shift=0.0, best=5), WORDS, "word", tuned).search
    assert (asked.width, asked.weight, asked.bonus, asked.shift, asked.best) == (8, 0.7, 0.0, 0.0, 5)
    other = guide(Wanted(lm=lm), WORDS, "word", Tuned(24, 30, 0.3, 1.0, -0.5, "another"))
    assert other.search.weight == Search().weight
    assert "tuned with another language model" in other.notes[-1]
    without = guide(Wanted(beam=8), WORDS, "word", tuned)
    assert (without.search.bonus, without.notes) == (Search().bonus, ())


def test_what_a_model_lacks_is_said(lm: LanguageModel, tmp_path: Path) -> None:
    assert guide(Wanted(lm=lm), (*WORDS, "dog"), "word", None).notes == (
        "1 ('dog') of the alphabet are unknown to the language model",
    )
    words = tmp_path / "words.txt"
    words.write_text("cat\ndog\n")
    (note,) = guide(Wanted(lm=lm, lexicon=words), LETTERS, "character", None).notes
    assert note == "1 ('dog') of the lexicon cannot be spelled with the run's characters"


def test_what_does_not_go_together_is_refused(lm: LanguageModel, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("cat\n")
    with pytest.raises(ConfigError, match="--lexicon needs a language model"):
        guide(Wanted(lexicon=words), LETTERS, "character", None)
    with pytest.raises(ConfigError, match="is for runs over characters"):
        guide(Wanted(lm=lm, lexicon=words), WORDS, "word", None)
    with pytest.raises(ConfigError, match="the alphabet has no space"):
        guide(Wanted(lm=lm), ("<blank>", "a", "c", "t"), "character", None)
    with pytest.raises(ConfigError, match="which the alphabet lacks"):
        guide(Wanted(hotwords={"dog": 1.0}), WORDS, "word", None)
    with pytest.raises(DataError, match="cannot be read as a language model"):
        guide(Wanted(lm=tmp_path / "none.arpa"), WORDS, "word", None)
