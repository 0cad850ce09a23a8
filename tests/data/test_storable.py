"""What the writer takes is read back equal; what it would not be is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit.data import CorpusWriter, open_corpus
from ctckit.data.storable import path_fault, text_fault, token_fault
from ctckit.errors import DataError

ANY = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["", ".", "a/../b", "a//b", "\0", "\ud800", "a b", "\u3000"]
)


@settings(deadline=None, max_examples=150)
@given(ANY, st.lists(ANY, max_size=3), ANY, ANY, st.sampled_from(["word", "character"]))
def test_either_refused_or_read_back_equal(
    tmp_path_factory: Any, clip_id: str, tokens: list[str], name: str, value: str, unit: Any
) -> None:
    path = tmp_path_factory.mktemp("any") / "c.h5"
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    try:
        with CorpusWriter(path, 2, unit=unit, notes={"n": value}) as writer:
            writer.add(clip_id, features, tokens, {name: value})
    except DataError:
        assert not list(path.parent.iterdir())
        return
    corpus = open_corpus(path)
    assert corpus.ids == (clip_id,)
    assert corpus.transcript(0) == tuple(tokens)
    assert corpus.attributes(0) == {name: value}
    assert corpus.notes == {"n": value}
    np.testing.assert_array_equal(corpus.features(0), features)


@pytest.mark.parametrize("text", ["a", "day1/clip 2", "\u00e4", "a.b", "..a"])
def test_paths_that_are_kept(text: str) -> None:
    assert not text_fault(text)
    assert not path_fault(text)


@pytest.mark.parametrize("text", ["", "/a", "a/", "a//b", ".", "a/..", "./a"])
def test_paths_that_lead_elsewhere(text: str) -> None:
    assert path_fault(text)


@pytest.mark.parametrize(
    ("token", "unit", "fault"),
    [
        ("a b", "word", "white space"),
        ("a\u3000b", "word", "white space"),
        (" ", "word", "white space"),
        ("ab", "character", "more than one character"),
        ("\n", "character", "white space other than the plain space"),
        ("", "word", "is empty"),
        ("a\0", "word", "NUL"),
        ("\udc80", "word", "surrogate"),
        (3, "word", "is int"),
        (" ", "character", ""),
        ("a-b", "word", ""),
    ],
)
def test_tokens(token: object, unit: str, fault: str) -> None:
    assert fault in token_fault(token, unit)
    assert bool(fault) == bool(token_fault(token, unit))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_size": 0}, "0 wide"),
        ({"unit": "letter"}, "unknown unit"),
        ({"dtype": "int8"}, "stored as float16 or float32"),
        ({"notes": {"a": "x\0y"}}, "note 'a'.*NUL"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CorpusWriter(tmp_path / "c.h5", options.pop("feature_size", 2), **options)
    assert not list(tmp_path.iterdir())


def test_the_least_integer_does_not_slip_through(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not fit float16"), CorpusWriter(tmp_path / "c.h5", 1) as writer:
        writer.add("a", np.full((2, 1), np.iinfo(np.int64).min), ["x"])
