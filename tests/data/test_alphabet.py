import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit.data import Alphabet
from ctckit.errors import DataError
from ctckit.types import BLANK

labels = st.lists(st.text(min_size=1).filter(lambda text: text != "<blank>"), min_size=1, unique=True)


@given(labels, st.data())
def test_encode_and_decode_are_inverse_and_never_use_the_blank(tokens, data):
    alphabet = Alphabet(tokens)
    chosen = tuple(data.draw(st.lists(st.sampled_from(tokens))))
    classes = alphabet.encode(chosen, "here")
    assert classes.dtype == np.int64
    assert BLANK not in classes
    assert alphabet.decode(classes) == chosen
    assert len(alphabet) == len(tokens) + 1
    assert pickle.loads(pickle.dumps(alphabet)) == alphabet == Alphabet(alphabet.tokens[1:])


def test_labels_are_sorted_whatever_the_order_of_clips():
    assert Alphabet.from_transcripts([("b", "a"), ("c",)]).tokens == ("<blank>", "a", "b", "c")
    assert Alphabet.from_transcripts([("c",), ("a", "b")]) == Alphabet(["a", "b", "c"]) != Alphabet(["b", "a", "c"])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "at least one label"),
        (["a", ""], "label 2 of the alphabet is ''"),
        (["a", "b", "a"], "'a' occurs twice in the alphabet \\(classes 1, 3\\)"),
        (["<blank>"], "'<blank>' is reserved for class 0"),
    ],
)
def test_labels_that_cannot_be(tokens, message):
    with pytest.raises(DataError, match=message):
        Alphabet(tokens)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("yes", "dev.h5: clip 'x': token 'yes' is not in the alphabet, 'YES' is: upper and lower case differ"),
        ("FRIDAX", "token 'FRIDAX' is not among the 2 labels .* \\(did you mean 'FRIDAY'\\?\\)"),
        ("<blank>", "token '<blank>' is the blank"),
    ],
)
def test_unknown_token_names_place_and_near_miss(token, message):
    with pytest.raises(DataError, match=message):
        Alphabet(["YES", "FRIDAY"]).encode(["YES", token], "dev.h5: clip 'x'")


@pytest.mark.parametrize(
    ("number", "message"), [(0, "class 0 is the blank"), (3, "outside 1 .. 2"), (-1, "outside")]
)
def test_decode_refuses_what_is_no_label(number, message):
    with pytest.raises(DataError, match=message):
        Alphabet(["a", "b"]).decode([1, number])
