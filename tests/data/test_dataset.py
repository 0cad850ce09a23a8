"""The two layouts read, and every way in which a file can be wrong."""

import pickle

import h5py
import numpy as np
import pytest

from ctckit.data import CorpusWriter, open_corpus
from ctckit.errors import DataError


def test_one_group_a_clip(grouped):
    path = grouped(
        {
            "day1/clip2": (np.arange(6, dtype=np.uint8).reshape(3, 2), {"transcript": " NO  YES ", "speaker": "x"}),
            "day1/clip1": (np.full((2, 2), 0.5, np.float16), {"transcript": b"YES"}),
        }
    )
    corpus = open_corpus(path)
    assert corpus.ids == ("day1/clip1", "day1/clip2")
    assert corpus.transcript(1) == ("NO", "YES")
    assert corpus.alphabet() is None
    # Whole numbers keep their value: scaled to zero they would train nothing.
    assert corpus.features(1).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert open_corpus(path, unit="character").transcript(1) == tuple("NO YES")
    assert corpus.attribute("speaker", 1) == "x"
    assert corpus.speakers() == {corpus.ids[1]: "x"}
    with pytest.raises(DataError, match="clip 'day1/clip1' has no attribute 'speaker'"):
        corpus.attribute("speaker", 0)
    with pytest.raises(DataError, match="clips have no attribute 'signer'; they have: speaker"):
        corpus.attribute("signer", 0)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "f8", "u1", "i4", "?"])
def test_every_stored_type_keeps_its_values(grouped, dtype):
    values = np.array([[0, 1, 1, 0]] if dtype == "?" else [[0, 1, 3, 100]])
    features = open_corpus(grouped({"a": (values.astype(dtype), {"transcript": "x"})})).features(0)
    assert features.dtype == np.float32
    assert features.dtype.isnative
    assert features.tolist() == values.tolist()


def test_all_halves_are_converted_exactly(grouped):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 8)
    features = open_corpus(grouped({"a": (halves, {"transcript": "x"})})).features(0)
    np.testing.assert_array_equal(features.view(np.uint32), halves.astype(np.float32).view(np.uint32))


def test_other_keys_and_transcripts_as_datasets(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        group = file.create_group("clip")
        group["fbank"] = np.ones((3, 2))
        group["words"] = ["HELLO", "THERE"]
    corpus = open_corpus(tmp_path / "c.h5", features_key="fbank", transcript_key="words")
    assert corpus.transcript(0) == ("HELLO", "THERE")


def test_units_convert(packed):
    words = open_corpus(packed)
    characters = open_corpus(packed, unit="character")
    assert characters.alphabet() is None
    assert "".join(characters.transcript(4)) == " ".join(words.transcript(4))


@pytest.mark.parametrize("layout", ["packed", "grouped"])
def test_a_corpus_travels_to_other_processes(layout, packed, grouped):
    path = packed if layout == "packed" else grouped({"a": (np.ones((3, 2)), {"transcript": "x"})})
    corpus = open_corpus(path)
    here = corpus.features(0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(corpus)).features(0), here)
    assert pickle.loads(pickle.dumps(corpus)).fingerprint() == corpus.fingerprint()


def test_fingerprint_notices_changes(tmp_path):
    def write(value=1.0, token="x", name="a"):
        with CorpusWriter(tmp_path / "c.h5", 1, overwrite=True) as writer:
            writer.add(name, np.full((3, 1), value), [token])
        return open_corpus(tmp_path / "c.h5").fingerprint()

    prints = [write(), write(value=2.0), write(token="y"), write(name="b")]
    assert len(set(prints)) == 4
    assert write() == prints[0]


# What can be wrong with a file that is read


def test_missing_file_suggests_a_neighbour(packed):
    with pytest.raises(DataError, match=r"pakced.h5: no such file \(did you mean 'packed.h5'\?\)"):
        open_corpus(packed.with_name("pakced.h5"))


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(DataError, match="is a folder, expected an HDF5 file"):
        open_corpus(tmp_path)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_file(packed, tmp_path, share):
    path = tmp_path / "short.h5"
    content = packed.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"short.h5: truncated HDF5 file .* copy or create it again") as caught:
        open_corpus(path)
    assert "\n" not in str(caught.value)


def test_a_group_whose_name_is_no_utf8(tmp_path):
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        for name in (b"a", b"b\xff"):
            group = h5py.Group(h5py.h5g.create(file.id, name))
            group.create_dataset("features", data=np.zeros((3, 2), np.float32))
            group.attrs["transcript"] = "x"
    with pytest.raises(DataError, match=r"c\.h5: the name b'b\\xff' in '/' is not UTF-8; rename it"):
        open_corpus(path)


def test_not_hdf5(tmp_path):
    path = tmp_path / "c.h5"
    path.write_text("hello")
    with pytest.raises(DataError, match="not an HDF5 file \\(5 bytes\\)"):
        open_corpus(path)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({}, "the file is empty, it holds no clips"),
        ({"a": (None, {"transcript": "x"})}, "clip 'a': no dataset 'features'; there is: transcript"),
        (
            {"a": (np.ones((3, 2)), {"text": "x"})},
            "clip 'a': no attribute or dataset 'transcript'; there is: features, t",
        ),
        ({"a": (np.ones((3, 2)), {"transcript": "  "})}, "clip 'a': empty transcript"),
        (
            {"a": (np.ones((3, 2)), {"transcript": np.array([1, 2])})},
            "clip 'a': transcript is int64, expected text",
        ),
        ({"a": (np.ones(3), {"transcript": "x"})}, r"must be numbers of shape \[T, F\], found float64 \[3\]"),
        ({"a": (np.ones((0, 2)), {"transcript": "x"})}, r"clip 'a': features are empty, shape \[0, 2\]"),
        (
            {"a": (np.ones((3, 2)), {"transcript": "x"}), "b": (np.ones((3, 4)), {"transcript": "x"})},
            "clip 'b': features are 4 wide, but those of 'a' are 2",
        ),
    ],
)
def test_faults_of_groups(grouped, clips, message):
    with pytest.raises(DataError, match=message) as caught:
        open_corpus(grouped(clips))
    assert "grouped.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (1e300, "infinite")])
def test_features_that_are_not_finite(grouped, value, word):
    features = np.ones((4, 3))
    features[2, 1] = value
    corpus = open_corpus(
        grouped({"good": (np.ones((4, 3)), {"transcript": "x"}), "rot": (features, {"transcript": "x"})})
    )
    corpus.features(0)
    with pytest.raises(DataError, match=f"grouped.h5: clip 'rot': {word} feature at frame 2, column 1"):
        corpus.features(1)


def test_a_file_that_changes_after_opening(grouped):
    path = grouped({"a": (np.ones((4, 3)), {"transcript": "x"})})
    corpus = open_corpus(path)
    grouped({"a": (np.ones((5, 3)), {"transcript": "x"})})
    with pytest.raises(DataError, match=r"clip 'a': features have shape \[5, 3\], expected \[4, 3\]"):
        corpus.features(0)
    corpus.close()
    path.write_bytes(b"")
    with pytest.raises(DataError, match="not an HDF5 file"):
        corpus.features(0)
