"""Corpora that are imported from folders and from files with a group for each clip."""

import json

import numpy as np
import pytest

from ctckit.data import (
    import_folder,
    import_hdf5,
    open_corpus,
)
from ctckit.errors import DataError


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
    assert import_folder(folder, table(folder, GOOD[suffix], suffix, encoding), output).clips == 3
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
        ("id,transcript\na,X\nb,X\n", ".csv", r"sub/c.npy: no row in .*table.csv \(1 are without one\); add one"),
        (
            "id,transcript\na,X\nb,X\nsub/c,X\nd,X\ne,X\n",
            ".csv",
            r"line 5: clip 'd' has no file .*d.npy \(2 of 5 rows have no features\)",
        ),
        ("id,transcript\na,X\nb,\nsub/c,X\n", ".csv", "line 3: clip 'b': empty transcript"),
        ("id,transcript\na,X\na,Y\nb,X\nsub/c,X\n", ".csv", "line 3: clip 'a' stands on line 2 already"),
        ("file_id,transcript\na,X\n", ".csv", "line 1: no column 'id'; there is: file_id, transcript"),
        ("id,text,orth\na,X,Y\n", ".csv", "line 1: no column 'transcript'; there is: id, text, orth"),
        ("id,transcript\na,X,Y\n", ".csv", "line 2: 3 fields, but the header has 2"),
        ("id,id,transcript\na,b,X\n", ".csv", "line 1: a column name occurs twice"),
        ('id,transcript\na,"X\n', ".csv", "check the quotes"),
        ("id,transcript\n", ".csv", "holds no rows"),
        ("", ".csv", "holds no rows"),
        ("id,transcript\n ,X\n", ".csv", "line 2: the id is empty"),
        ("{\n", ".jsonl", "line 1: not JSON"),
        ("[1]\n", ".jsonl", "line 1: expected an object"),
        ("PK\x03", ".xlsx", "is an archive or an Excel workbook; save the table as CSV"),
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
