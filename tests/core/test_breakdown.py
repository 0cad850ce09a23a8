from __future__ import annotations

import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit.breakdown import Errors, Utterance, broken_down
from ctckit.edits import edit_counts

sides = st.lists(st.sampled_from(["ant", "ante", "bee", "be"]), max_size=5).map(tuple)
utterances = st.lists(st.builds(Utterance, st.text(max_size=2), sides, sides, st.sampled_from(["", "anna", "ben"])))


@given(utterances)
def test_every_list_adds_up_to_the_same_errors(given: list[Utterance]) -> None:
    found = broken_down(given, "word")
    counts = [edit_counts(one.reference, one.hypothesis) for one in given]
    assert found.words == Errors(*map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0), found.words.of)
    assert found.words.of == sum(len(one.reference) for one in given)
    kinds = (found.substitutions.total(), found.deletions.total(), found.insertions.total())
    assert kinds == (found.words.substitutions, found.words.deletions, found.words.insertions)
    assert all(wanted != got for wanted, got in found.substitutions)
    assert sum((errors for _, errors in found.clips), Errors()) == found.words
    shares = [errors.total / max(errors.of, 1) for _, errors in found.clips]
    assert shares == sorted(shares, reverse=True)
    named = [errors for one, errors in found.clips if one.speaker]
    assert sum(found.speakers.values(), Errors()) == sum(named, Errors())
    assert "" not in found.speakers


@given(utterances)
def test_words_and_characters_are_jiwers_whichever_the_tokens_are(given: list[Utterance]) -> None:
    given = [one for one in given if one.reference]
    found = broken_down(given, "word")
    spelt = [
        Utterance(one.clip_id, tuple(" ".join(one.reference)), tuple(" ".join(one.hypothesis))) for one in given
    ]
    again = broken_down(spelt, "character")
    assert (again.words, again.characters) == (found.words, found.characters)
    assert found.tokens == found.words
    assert again.tokens == found.characters
    if given:
        texts = [
            [" ".join(side) for side in sides]
            for sides in zip(*((u.reference, u.hypothesis) for u in given), strict=True)
        ]
        assert found.words.rate == pytest.approx(100 * jiwer.wer(*texts))
        assert found.characters.rate == pytest.approx(100 * jiwer.cer(*texts))


def test_silence_counts_insertions_and_has_no_rate() -> None:
    found = broken_down([Utterance("c", (), ("a", "b"), "anna")], "word")
    assert found.words == Errors(insertions=2)
    assert math.isnan(found.words.rate)
    assert found.characters == Errors(insertions=3)
    assert found.insertions == {"a": 1, "b": 1}
    assert [one.clip_id for one, _ in found.worst(1)] == ["c"]


def test_a_row_is_cut_to_its_details_and_worst_clips_have_errors() -> None:
    given = [
        Utterance("right", ("a",), ("a",)),
        Utterance("half", ("a", "b"), ("a", "x")),
        Utterance("wrong", ("a", "b"), ("y", "x")),
    ]
    row = broken_down(given, "word").row(1)
    assert row["substituted"] == [["b", "x", 2]]
    assert [clip["clip"] for clip in row["worst"]] == ["wrong"]
    assert [one.clip_id for one, _ in broken_down(given, "word").worst(9)] == ["wrong", "half"]
    assert row["words"] == {"rate": 60.0, "substitutions": 3, "deletions": 0, "insertions": 0, "of": 5}
