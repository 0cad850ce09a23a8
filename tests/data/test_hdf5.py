"""Values that HDF5 would make up, that lie elsewhere, or that are damaged: each is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ctckit.data import CorpusWriter, open_corpus
from ctckit.errors import ClipError, DataError

FRAMES = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def grouped(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for name in ("bad", "good"):
            file.create_group(name)["features"] = FRAMES if name == "good" else FRAMES + 1
            file[name].attrs["transcript"] = "a b"
    return path


def virtual(group: Any, source: str) -> None:
    layout = h5py.VirtualLayout((40, 4), "f4")
    layout[:] = h5py.VirtualSource(source, "/good/features", (40, 4))
    group.create_virtual_dataset("features", layout)


def half_written(group: Any) -> None:
    group.create_dataset("features", shape=(40, 4), dtype="f4", chunks=(10, 4))[:20] = 1


def raw(group: Any) -> None:
    group.create_dataset("features", shape=(40, 4), dtype="u1", external=[("/etc/hostname", 0, 160)])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda group: group.create_dataset("features", shape=(40, 4), dtype="f4"), "was never written"),
        (half_written, "was not written to its end, 2 of 4 chunks are missing"),
        (lambda group: virtual(group, "gone.h5"), r"is virtual, its values lie elsewhere \(gone.h5\)"),
        (raw, r"has its values in another file \(/etc/hostname\)"),
        (lambda group: group.create_dataset("features", data=h5py.Empty("f4")), "found an empty dataspace"),
        (lambda group: group.__setitem__("features", np.dtype("f4")), "found a named type"),
        (
            lambda group: group.create_dataset("features", (40, 4), h5py.enum_dtype({"a": 0, "b": 1}, "i4")),
            "must be numbers",
        ),
    ],
)
def test_features_that_are_not_there(tmp_path: Path, make: Any, said: str) -> None:
    path = grouped(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["bad/features"]
        make(file["bad"])
    with pytest.raises(ClipError, match=f"clip 'bad': 'features' .*{said}") as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)
    assert caught.value.clip_id == "bad"
    refused: list[DataError] = []
    assert open_corpus(path, refused=refused).ids == ("good",)
    assert len(refused) == 1


@pytest.mark.parametrize("written", [True, False])
def test_a_transcript_never_written_is_no_transcript(tmp_path: Path, written: bool) -> None:
    path = grouped(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["bad"].attrs["transcript"]
        item = file["bad"].create_dataset("transcript", shape=(2,), dtype="S3")
        if written:
            item[:] = [b"x", b"y"]
    if written:
        assert open_corpus(path).transcript(0) == ("x", "y")
    else:
        with pytest.raises(ClipError, match="clip 'bad': 'transcript' was never written"):
            open_corpus(path)


def test_a_truncated_chunk_names_the_clip(tmp_path: Path) -> None:
    path = grouped(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["bad/features"]
        item = file["bad"].create_dataset("features", shape=(40, 4), dtype="f4", chunks=(40, 4), compression="gzip")
        item.id.write_direct_chunk((0, 0), b"\x78\x9c\x00")
    corpus = open_corpus(path)
    with pytest.raises(ClipError, match=r"clip 'bad': cannot be read .*damaged"):
        corpus.features(0)
    corpus.features(1)


def test_all_faults_of_a_clip_are_said(tmp_path: Path) -> None:
    path = grouped(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["bad/features"]
        file["bad/features"] = np.ones(3)
        file["bad"].attrs["transcript"] = " "
        file["bad"].attrs["speaker"] = np.bytes_(b"\xff\xfe")
    refused: list[Any] = []
    open_corpus(path, refused=refused)
    (error,) = refused
    assert len(error.reasons) == 3
    assert all(what in str(error) for what in ("shape [T, F]", "empty transcript", "'speaker' is not UTF-8"))


def test_attributes_are_text_or_numbers(tmp_path: Path) -> None:
    path = grouped(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["bad"].attrs.update(
            {"a": 3, "b": b"x", "c": np.nan, "d": h5py.Empty("f4"), "e": np.array(["p", "q"], "S")}
        )
        file["bad"].attrs["ref"] = file["good"].ref
    corpus = open_corpus(path)
    assert corpus.attributes(0) == {"a": "3", "b": "x", "c": "", "d": "", "e": "p q"}
    assert corpus.contents.besides == {"attribute 'ref'": 1}


def packed(path: Path) -> Path:
    with CorpusWriter(path, 4, dtype="float32") as writer:
        for number in range(4):
            writer.add(f"clip{number}", FRAMES, ["a", "b"])
    return path


PARTS = ("features", "offsets", "ids", "alphabet", "targets", "target_offsets")


@pytest.mark.parametrize("part", [*PARTS, "attributes/speaker"])
@pytest.mark.parametrize(
    "make",
    [
        lambda file, name: file.__setitem__(name, h5py.Empty("f4")),
        lambda file, name: file.__setitem__(name, h5py.ExternalLink("gone.h5", "/x")),
        lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
        lambda file, name: file.create_group(name),
        lambda file, name: file.__setitem__(name, np.dtype("f4")),
        lambda file, name: file.__setitem__(name, 3.5),
        lambda file, name: file.__setitem__(name, np.zeros(4, [("a", "f4")])),
        lambda file, name: file.create_dataset(name, shape=(10**12,), dtype="i8", chunks=(1024,)),
    ],
)
def test_parts_of_a_packed_file_that_are_none(tmp_path: Path, part: str, make: Any) -> None:
    path = packed(tmp_path / "p.h5")
    with h5py.File(path, "a") as file:
        if part in file:
            del file[part]
        make(file, part)
    with pytest.raises(DataError, match=part.split("/")[-1]) as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packed_rows_never_written_name_the_clip(tmp_path: Path) -> None:
    path = packed(tmp_path / "p.h5")
    with h5py.File(path, "a") as file:
        del file["features"]
        file.create_dataset("features", shape=(160, 4), dtype="f4", chunks=(40, 4))[:80] = 1
    with pytest.raises(DataError, match=r"2 of 4 chunks are missing.*from clip 'clip2' on"):
        open_corpus(path)


def test_what_a_packed_file_holds_besides(tmp_path: Path) -> None:
    path = packed(tmp_path / "p.h5")
    assert open_corpus(path).contents.besides == {}
    with h5py.File(path, "a") as file:
        file.create_group("extra")["x"] = 1
        file.attrs["odd"] = 1
    contents = open_corpus(path).contents
    assert (contents.datasets, contents.used_datasets) == (7, 6)
    assert contents.besides == {"extra": 1, "attribute 'odd'": 1}


def test_a_damaged_alphabet_and_features_without_columns_name_the_file(tmp_path: Path) -> None:
    path = packed(tmp_path / "p.h5")
    with h5py.File(path, "a") as file:
        file["alphabet"][2] = "a"
    with pytest.raises(DataError, match=r"p\.h5: label 'a' occurs twice"):
        open_corpus(path)
    with h5py.File(path, "a") as file:
        del file["features"]
        file["features"] = np.ones((160, 0), np.float32)
    with pytest.raises(DataError, match=r"features are float32 \[160, 0\]"):
        open_corpus(path)
