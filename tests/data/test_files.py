"""The two layouts, read and written, and every way in which a file can be wrong."""

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctckit.data import Alphabet, CorpusWriter, encode_targets, open_corpus
from ctckit.errors import DataError

clips = st.lists(
    st.tuples(
        arrays(np.float16, st.tuples(st.integers(1, 9), st.just(3)), elements=st.floats(-100, 100, width=16)),
        st.lists(
            st.sampled_from(["a", "b", "\u00e4 \u00f6", "[x]", "c"]).map(lambda s: s.replace(" ", "_")), min_size=1
        ),
        st.sampled_from(["s1", "s2", ""]),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(clips)
def test_what_is_written_is_read(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("pack") / "corpus.h5"
    with CorpusWriter(path, 3, notes={"source": "test"}) as writer:
        for number, (features, tokens, speaker) in enumerate(written):
            writer.add(f"id/{number}", features, tokens, {"speaker": speaker})
    corpus = open_corpus(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["corpus.h5"]
    assert len(corpus) == len(written)
    assert corpus.notes == {"source": "test"}
    assert corpus.stored_type == np.float16
    assert corpus.frame_counts.tolist() == [len(features) for features, _, _ in written]
    assert corpus.alphabet() == Alphabet.from_transcripts(tokens for _, tokens, _ in written)
    targets = encode_targets(corpus, corpus.alphabet())
    for number, (features, tokens, speaker) in enumerate(written):
        assert corpus.ids[number] == f"id/{number}"
        assert corpus.features(number).dtype == np.float32
        np.testing.assert_array_equal(corpus.features(number), features.astype(np.float32))
        assert corpus.transcript(number) == tuple(tokens)
        assert corpus.alphabet().decode(targets[number]) == tuple(tokens)
        assert corpus.attributes(number) == {"speaker": speaker}
        if speaker:
            assert corpus.attribute("speaker", number) == speaker
    corpus.close()


def test_many_chunks_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr("ctckit.data.writer._CHUNK_BYTES", 10 * 2 * 4)
    rng = np.random.default_rng(0)
    arrays_ = [rng.normal(size=(n, 2)).astype(np.float32) for n in (3, 27, 10, 1, 9, 10, 44)]
    with CorpusWriter(tmp_path / "c.h5", 2, dtype="float32") as writer:
        for number, features in enumerate(arrays_):
            writer.add(str(number), features, ["x"])
    corpus = open_corpus(tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["features"].chunks == (10, 2)
        assert len(file["features"]) == sum(map(len, arrays_))
    for number, features in enumerate(arrays_):
        np.testing.assert_array_equal(corpus.features(number), features)


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


def test_unknown_layout_says_what_was_found(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["data"] = np.ones((5, 4), np.float32)
    with pytest.raises(DataError, match=r"unknown layout: datasets at the top level \(data float32 \[5, 4\]\)"):
        open_corpus(tmp_path / "c.h5")


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.attrs.__setitem__("version", 2), "corpus format 2, but this ctckit reads format 1; upgrade"),
        (lambda f: f.attrs.__setitem__("unit", "phone"), "unknown unit 'phone'"),
        (lambda f: f.pop("offsets"), "'offsets' is missing"),
        (
            lambda f: f["targets"].__setitem__(0, 0),
            "clip 'clip00': target 0 is the blank, which no target may hold",
        ),
        (lambda f: f["targets"].__setitem__(-1, 9), "clip 'clip36': target 9 is not in 1 .. 4"),
        (lambda f: f["offsets"].__setitem__(-1, 1), "'offsets' does not fit its data"),
        (lambda f: f["offsets"].__setitem__(1, 9999), "'offsets' does not rise"),
        (lambda f: f["offsets"].__setitem__(2, f["offsets"][1]), "clip 'clip01': no frames"),
        (lambda f: f["target_offsets"].__setitem__(1, 0), "clip 'clip00': no transcript"),
        (lambda f: f["ids"].__setitem__(1, "clip00"), "some clip ids occur twice"),
        (lambda f: f["alphabet"].__setitem__(0, "one"), "the alphabet must begin with '<blank>', class 0"),
    ],
)
def test_damaged_corpus_files(packed, tmp_path, change, message):
    path = tmp_path / "c.h5"
    path.write_bytes(packed.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message) as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)


# What can be wrong while writing: nothing may stay behind


def _write(path: Path, features=None, tokens=("x",), clip="b", **options):
    with CorpusWriter(path, 2, **options) as writer:
        writer.add("a", np.ones((3, 2)), ["x"])
        writer.add(clip, np.ones((3, 2)) if features is None else features, tokens)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.full((3, 2), np.nan)}, "clip 'b': NaN feature at frame 0, column 0"),
        (
            {"features": np.full((3, 2), 1e5)},
            "value 100000.0 at frame 0, column 0 does not fit float16; use float32",
        ),
        ({"features": np.ones((3, 5))}, r"features have shape \[3, 5\], expected \[T, 2\]"),
        ({"features": np.ones((0, 2))}, "at least one frame"),
        ({"features": np.full((1, 2), "x")}, "expected numbers"),
        ({"tokens": ()}, "clip 'b': empty transcript"),
        ({"tokens": ("y",), "alphabet": Alphabet(["x"])}, "clip 'b': token 'y' is not among the 1 labels"),
        ({"tokens": ("<blank>",)}, "'<blank>' is reserved"),
        ({"clip": "a"}, "clip 'a': given twice"),
        ({"clip": ""}, "the id is empty"),
    ],
)
def test_a_clip_that_cannot_be_written_leaves_nothing(tmp_path, arguments, message):
    with pytest.raises(DataError, match=message):
        _write(tmp_path / "c.h5", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, stop):
    _write(tmp_path / "c.h5")
    before = (tmp_path / "c.h5").read_bytes()

    def interrupted():
        with CorpusWriter(tmp_path / "c.h5", 2, overwrite=True) as writer:
            writer.add("a", np.ones((9, 2)), ["x"])
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.h5"]
    assert (tmp_path / "c.h5").read_bytes() == before


def test_where_a_file_cannot_go(tmp_path):
    _write(tmp_path / "c.h5")
    with pytest.raises(DataError, match=r"c.h5: exists already; choose another name or overwrite it"):
        _write(tmp_path / "c.h5")
    with pytest.raises(DataError, match=r"the folder .* does not exist"):
        _write(tmp_path / "no" / "c.h5")
    with pytest.raises(DataError, match="is a folder"):
        _write(tmp_path)
    with pytest.raises(DataError, match="no clips to write"), CorpusWriter(tmp_path / "d.h5", 2):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.h5"]


def test_read_only_folder():
    # /proc refuses new files even to root, whom permissions do not stop.
    folder = Path("/proc/self")
    if not folder.is_dir():
        pytest.skip("no /proc on this system")
    with pytest.raises(DataError, match=r"/proc/self/c.h5: cannot be written .* choose another folder"):
        _write(folder / "c.h5")


@pytest.mark.parametrize("limit", [0, 700, 300_000, 4_200_000, 80_001_000, 80_004_000])
def test_full_disk(tmp_path, limit):
    code = f"""
import resource, numpy as np
from ctckit.data import CorpusWriter
from ctckit.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with CorpusWriter({str(tmp_path / "c.h5")!r}, 1000, dtype="float32") as writer:
        for clip in range(40):
            writer.add(str(clip), np.ones((500, 1000)), ["x"])
except DataError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{tmp_path / 'c.h5'}: writing failed (")
    assert done.stdout.count("\n") == 1
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
