"""What is written is read, or nothing is left of it."""

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
