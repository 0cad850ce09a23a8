import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit.data import Alphabet, encode_targets, open_corpus
from ctckit.errors import DataError


def test_targets_name_file_clip_and_token(grouped):
    path = grouped(
        {
            "a": (np.ones((4, 2)), {"transcript": "YES NO"}),
            "b": (np.ones((4, 2)), {"transcript": "YES PERHAPS"}),
        }
    )
    corpus = open_corpus(path)
    with pytest.raises(DataError, match=r"grouped.h5: clip 'b': token 'PERHAPS'") as caught:
        encode_targets(corpus, Alphabet(["YES", "NO"]))
    assert "\n" not in str(caught.value)
    targets = encode_targets(corpus, Alphabet(["YES", "NO"]), leave_out_unknown=True)
    assert targets.unknown == ((1, "PERHAPS"),)
    assert [targets[i].tolist() for i in range(2)] == [[1, 2], [1]]


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=6), min_size=1, max_size=6))
def test_repeats_are_counted_within_clips_only(transcripts):
    from ctckit.data import Targets

    alphabet = Alphabet("ab")
    encoded = [alphabet.encode(t, "") for t in transcripts]
    targets = Targets(np.concatenate(encoded), np.cumsum([0, *map(len, encoded)]))
    assert targets.repeats.tolist() == [sum(x == y for x, y in itertools.pairwise(t)) for t in transcripts]
    assert targets.needed_frames.tolist() == [len(t) + r for t, r in zip(transcripts, targets.repeats, strict=True)]
