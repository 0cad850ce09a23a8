import numpy as np
import pytest

from ctckit.data import (
    CorpusWriter,
    open_corpus,
    split_corpus,
)
from ctckit.errors import DataError

# Splits


def test_split_by_count(packed, tmp_path):
    corpus = open_corpus(packed)
    result = split_corpus(corpus, "speaker", tmp_path / "a.h5", tmp_path / "b.h5", count=1, seed=1)
    train, dev = open_corpus(tmp_path / "a.h5"), open_corpus(tmp_path / "b.h5")
    assert sorted([*train.ids, *dev.ids]) == sorted(corpus.ids)
    assert (len(train), len(dev)) == (result.train_clips, result.dev_clips)
    sides = [{c.attribute("speaker", i) for i in range(len(c))} for c in (train, dev)]
    assert sides == [set(result.train_groups), set(result.dev_groups)]
    assert not sides[0] & sides[1]
    assert train.alphabet() == dev.alphabet() == corpus.alphabet()
    index = dev.ids.index("clip01") if "clip01" in dev.ids else 0
    np.testing.assert_array_equal(dev.features(index), corpus.features(corpus.ids.index(dev.ids[index])))
    again = split_corpus(corpus, "speaker", tmp_path / "a.h5", tmp_path / "b.h5", count=1, seed=1, overwrite=True)
    assert again == result
    drawn = {
        split_corpus(
            corpus, "speaker", tmp_path / "a.h5", tmp_path / "b.h5", count=1, seed=s, overwrite=True
        ).dev_groups
        for s in range(8)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "signer", "count": 1}, "clips have no attribute 'signer'; they have: speaker"),
        ({"count": 3}, "taking 3 of 3 values of 'speaker' leaves one side empty"),
        ({"values": ["s1", "s9"]}, "no clip has speaker 's9'; there is: s0, s1, s2"),
        ({"values": []}, "taking 0 of 3"),
        ({}, "either a count of groups"),
        ({"count": 1, "values": ["s1"]}, "either a count of groups"),
        ({"count": 1, "dev_out": "a.h5"}, "is named for train and for dev"),
        ({"count": 1, "dev_out": "no/b.h5"}, "the folder .* does not exist"),
    ],
)
def test_splits_that_cannot_be(packed, tmp_path, arguments, message):
    options = {"by": "speaker", "dev_out": "b.h5", **arguments}
    with pytest.raises(DataError, match=message):
        split_corpus(
            open_corpus(packed), options.pop("by"), tmp_path / "a.h5", tmp_path / options.pop("dev_out"), **options
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["ANNA", "anna\u200b", "\uff41nna", " anna"])
def test_a_speaker_spelt_in_two_ways_is_not_split(tmp_path, other):
    with CorpusWriter(tmp_path / "c.h5", 1) as writer:
        for number, speaker in enumerate(["anna", other, "ben"]):
            writer.add(str(number), np.ones((3, 1)), ["x"], {"speaker": speaker})
    with pytest.raises(DataError, match="speaker is spelt in several ways"):
        split_corpus(open_corpus(tmp_path / "c.h5"), "speaker", tmp_path / "a.h5", tmp_path / "b.h5", count=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.h5"]


def test_an4_split(an4, tmp_path):
    corpus = open_corpus(an4 / "an4_train.h5")
    result = split_corpus(corpus, "speaker", tmp_path / "a.h5", tmp_path / "b.h5", count=8)
    assert len(result.dev_groups) == 8
    assert result.dev_clips + result.train_clips == 948
    assert len(open_corpus(tmp_path / "a.h5").alphabet()) == 100
