"""Corpora that are imported, split, embedded and simulated."""

import json

import numpy as np
import pytest

from ctckit.data import (
    SyntheticSpec,
    build_demo,
    describe,
    import_folder,
    import_hdf5,
    open_corpus,
    simulate,
    simulate_from_labels,
    split_corpus,
)
from ctckit.data.statistics import out_of_vocabulary
from ctckit.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "features" / "sub").mkdir(parents=True)
    for number, name in enumerate(["a", "b", "sub/c"]):
        np.save(tmp_path / "features" / f"{name}.npy", np.full((3 + number, 2), number, np.float32))
    return tmp_path / "features"


def table(folder, text, suffix=".csv", encoding="utf-8"):
    path = folder.parent / f"table{suffix}"
    path.write_text(text, encoding=encoding)
    return path


GOOD = {
    ".csv": "id,transcript,speaker\nsub/c,YES NO,x\na.npy,NO,y\n\nb,YES,\n",
    ".tsv": "id\ttranscript\tspeaker\nsub/c\tYES NO\tx\na\tNO\ty\nb\tYES\t\n",
    ".jsonl": "\n".join(
        json.dumps(row)
        for row in [
            {"id": "sub/c", "transcript": ["YES", "NO"], "speaker": "x"},
            {"id": "a", "transcript": "NO", "speaker": "y"},
            {"id": "b", "transcript": "YES"},
        ]
    ),
}


@pytest.mark.parametrize("suffix", GOOD)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_import_of_a_folder(folder, suffix, encoding):
    output = folder.parent / "out.h5"
    assert import_folder(folder, table(folder, GOOD[suffix], suffix, encoding), output) == 3
    corpus = open_corpus(output)
    assert corpus.ids == ("sub/c", "a", "b")
    assert corpus.frame_counts.tolist() == [5, 3, 4]
    assert corpus.stored_type == np.float32
    assert (corpus.features(0) == 2).all()
    assert corpus.transcript(0) == ("YES", "NO")
    assert [corpus.attributes(i)["speaker"] for i in range(3)] == ["x", "y", ""]


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("id,transcript\na,X\nb,X\n", ".csv", r"sub/c.npy: no row in .*table.csv; add one"),
        (
            "id,transcript\na,X\nb,X\nsub/c,X\nd,X\ne,X\n",
            ".csv",
            r"line 5: clip 'd' has no file .*d.npy \(and 1 more\)",
        ),
        ("id,transcript\na,X\nb,\nsub/c,X\n", ".csv", "line 3: clip 'b': empty transcript"),
        ("id,transcript\na,X\na,Y\nb,X\nsub/c,X\n", ".csv", "line 3: clip 'a' stands on line 2 already"),
        ("name,transcript\na,X\n", ".csv", "line 2: no column 'id'; there is: name, transcript"),
        ("id,text\na,X\n", ".csv", "line 2: no column 'transcript'; there is: id, text"),
        ("id,transcript\na,X,Y\n", ".csv", "line 2: 3 fields, but the header has 2"),
        ("id,id,transcript\na,b,X\n", ".csv", "line 1: a column name occurs twice"),
        ('id,transcript\na,"X\n', ".csv", "check the quotes"),
        ("id,transcript\n", ".csv", "holds no rows"),
        ("", ".csv", "holds no rows"),
        ("id,transcript\n ,X\n", ".csv", "line 2: the id is empty"),
        ("{\n", ".jsonl", "line 1: not JSON"),
        ("[1]\n", ".jsonl", "line 1: expected an object"),
        ("", ".xlsx", "unknown kind of table '.xlsx'; use .csv, .tsv or .jsonl"),
    ],
)
def test_tables_that_do_not_fit(folder, text, suffix, message):
    with pytest.raises(DataError, match=message) as caught:
        import_folder(folder, table(folder, text, suffix), folder.parent / "out.h5")
    assert "\n" not in str(caught.value)
    assert sorted(entry.name for entry in folder.parent.iterdir()) == ["features", f"table{suffix}"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 4), np.float32), r"a.npy: features are 4 wide, but those of c.npy are 2"),
        (np.ones(3), r"a.npy: is float64 \[3\]; expected numbers \[T, F\]"),
        (np.ones((0, 2)), r"a.npy: is float64 \[0, 2\]"),
        (np.full((3, 2), np.nan), r"clip 'a': NaN feature at frame 0"),
        (np.array([[{}]], dtype=object), r"a.npy: is no readable numpy array"),
        (b"rubbish", r"a.npy: is no readable numpy array"),
        (b"", r"a.npy: is no readable numpy array"),
    ],
)
def test_arrays_that_do_not_fit(folder, array, message):
    if isinstance(array, bytes):
        (folder / "a.npy").write_bytes(array)
    else:
        np.save(folder / "a.npy", array)
    with pytest.raises(DataError, match=message):
        import_folder(folder, table(folder, GOOD[".csv"]), folder.parent / "out.h5")
    assert not (folder.parent / "out.h5").exists()


def test_narrow_types_are_stored_narrow(folder):
    for name in ("a", "b", "sub/c"):
        np.save(folder / f"{name}.npy", np.full((4, 2), 255, np.uint8))
    import_folder(folder, table(folder, GOOD[".csv"]), folder.parent / "out.h5")
    corpus = open_corpus(folder.parent / "out.h5")
    assert corpus.stored_type == np.float16
    assert (corpus.features(0) == 255).all()


def test_import_of_groups_keeps_everything(grouped, tmp_path):
    rng = np.random.default_rng(0)
    path = grouped(
        {f"d/{i}": (rng.normal(size=(i + 2, 3)), {"transcript": f"W{i} X", "speaker": "s"}) for i in range(5)}
    )
    source = open_corpus(path)
    assert import_hdf5(source, tmp_path / "out.h5") == 5
    copy = open_corpus(tmp_path / "out.h5")
    assert copy.ids == source.ids
    for index in range(5):
        np.testing.assert_array_equal(copy.features(index), source.features(index))
        assert copy.transcript(index) == source.transcript(index)
        assert copy.attributes(index) == source.attributes(index)
    with pytest.raises(DataError, match="is the file being read"):
        import_hdf5(source, path, overwrite=True)


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


def test_an4_split(an4, tmp_path):
    corpus = open_corpus(an4 / "an4_train.h5")
    result = split_corpus(corpus, "speaker", tmp_path / "a.h5", tmp_path / "b.h5", count=8)
    assert len(result.dev_groups) == 8
    assert result.dev_clips + result.train_clips == 948
    assert len(open_corpus(tmp_path / "a.h5").alphabet()) == 100


# Statistics


def test_figures_of_a_corpus(grouped):
    path = grouped(
        {
            "a": (np.ones((15, 2)), {"transcript": "X X Y", "speaker": "s"}),
            "b": (np.ones((40, 2)), {"transcript": "X", "speaker": "t"}),
        }
    )
    figures = describe(open_corpus(path), subsampling=4)
    assert (figures.clips, figures.frames, figures.tokens, figures.labels, figures.labels_once) == (2, 55, 4, 2, 1)
    assert figures.frames_per_token == 3.25
    assert figures.blank_reference == pytest.approx(100 * (1 - 4 / 13))
    # Three output frames for X X Y, which needs four: three labels and a blank between the two X.
    (clip,) = figures.infeasible
    assert (clip.clip_id, clip.output_frames, clip.labels, clip.repeats) == ("a", 3, 3, 1)
    assert figures.most_frequent == (("X", 3), ("Y", 1))
    assert figures.attributes == {"speaker": 2}
    assert json.loads(json.dumps(figures.to_dict()))["clips"] == 2


def test_an4_out_of_vocabulary(an4):
    gap = out_of_vocabulary(open_corpus(an4 / "an4_train.h5"), open_corpus(an4 / "an4_test.h5"))
    assert {label for label, _ in gap.labels} == {"THIRTEEN", "NOVEMBER"}
    assert gap.tokens == len(gap.clips) == 2


# Demo


def test_demo_corpus(tmp_path):
    pytest.importorskip("sklearn")
    paths = build_demo(tmp_path / "x" / "demo")
    parts = [open_corpus(path) for path in (paths.train, paths.dev, paths.test)]
    assert [len(part) for part in parts] == [2000, 200, 300]
    for part in parts:
        assert part.feature_size == 8
        assert len(part.alphabet()) == 11
        assert {len(part.transcript(i)) for i in range(len(part))} == set(range(3, 9))
        assert describe(part).infeasible == ()
        assert part.features(0).max() <= 1
    again = build_demo(tmp_path / "again")
    assert open_corpus(again.dev).fingerprint() == parts[1].fingerprint()


def test_demo_images_are_disjoint(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    import ctckit.data.demo as demo

    # Every image carries its own number, so that lines tell which images they hold.
    numbered = np.repeat(np.arange(1, 1798), 64).reshape(-1, 8, 8).astype(np.float32)
    monkeypatch.setattr(demo, "_digits", lambda: (numbered, np.arange(1797) % 10))
    paths = build_demo(tmp_path)
    used = []
    for path in (paths.train, paths.dev, paths.test):
        part = open_corpus(path)
        used.append({int(v) for i in range(len(part)) for v in np.unique(part.features(i))} - {0})
    assert not used[0] & used[1]
    assert not used[0] & used[2]
    assert not used[1] & used[2]
    assert len(used[0]) > 1200


def test_demo_without_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"pip install 'ctckit\[demo\]'"):
        build_demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


# Simulation

SMALL = {"clips": 12, "feature_size": 6, "classes": 5, "frames": (20, 30), "labels": (1, 4), "signers": 2}


def test_simulated_size_and_mark(tmp_path):
    done = []
    simulate(tmp_path / "s.h5", SyntheticSpec(**SMALL), progress=lambda *at: done.append(at))
    corpus = open_corpus(tmp_path / "s.h5")
    assert done[-1] == (12, 12)
    assert corpus.simulated
    assert "simulated" in corpus.notes["source"]
    assert (len(corpus), corpus.feature_size, len(corpus.alphabet())) == (12, 6, 5)
    assert corpus.stored_type == np.float16
    assert set(corpus.frame_counts) <= set(range(20, 31))
    assert describe(corpus).infeasible == ()
    # The mark outlives a split.
    split_corpus(corpus, "signer", tmp_path / "a.h5", tmp_path / "b.h5", count=1)
    assert open_corpus(tmp_path / "b.h5").simulated


def test_simulation_depends_on_seed_and_part_alone(tmp_path):
    def content(**changes):
        simulate(tmp_path / "s.h5", SyntheticSpec(**SMALL, **changes), overwrite=True)
        corpus = open_corpus(tmp_path / "s.h5")
        return b"".join(corpus.features(i).tobytes() for i in range(len(corpus)))

    assert content() == content()
    assert len({content(), content(seed=1), content(part="dev")}) == 3


def test_labels_can_be_told_apart_and_look_alike_in_all_parts(tmp_path):
    means = []
    for part in ("train", "dev"):
        spec = SyntheticSpec(20, 32, 3, (60, 60), (1, 1), noise=0.1, part=part, signers=1)
        simulate(tmp_path / f"{part}.h5", spec)
        corpus = open_corpus(tmp_path / f"{part}.h5")
        means.append(
            {
                label: np.mean(
                    [corpus.features(i).mean(0) for i in range(20) if corpus.transcript(i) == (label,)], 0
                )
                for label in ("G0001", "G0002")
            }
        )
    train, dev = means
    assert np.linalg.norm(train["G0001"] - dev["G0001"]) < 0.5 * np.linalg.norm(train["G0001"] - dev["G0002"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": 0}, "clips is 0"),
        ({"classes": 1}, "classes is 1"),
        ({"frames": (9, 5)}, "frames is 9 to 5"),
        ({"frames": (5, 9)}, "4 labels take at least 12 frames"),
        ({"seed": -1}, "seed are at least 0"),
    ],
)
def test_sizes_that_cannot_be_simulated(changes, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticSpec(**{**SMALL, **changes})


def test_real_labels_with_simulated_features(phoenix, tmp_path):
    import h5py

    source = phoenix / "dev.h5"
    simulate_from_labels(tmp_path / "p.h5", source, feature_size=8, max_clips=30)
    corpus = open_corpus(tmp_path / "p.h5")
    with h5py.File(source) as file:
        assert corpus.frame_counts.tolist() == np.diff(file["offsets"][:31]).tolist()
        assert " ".join(corpus.transcript(7)) == file["glosses"][7].decode()
    assert corpus.simulated
    assert corpus.attribute("signer", 0).startswith("Signer")


def test_label_files_that_do_not_fit(packed, tmp_path):
    with pytest.raises(DataError, match="no dataset 'glosses'; there is: alphabet"):
        simulate_from_labels(tmp_path / "p.h5", packed)
    with pytest.raises(DataError, match="no such file"):
        simulate_from_labels(tmp_path / "p.h5", tmp_path / "none.h5")
