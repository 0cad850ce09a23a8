"""What people have on disk: values that are no text, clips below clips, splits in one file, all kinds of tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ctckit.data import import_folder, open_corpus
from ctckit.data.alphabet import near_misses, written_alike
from ctckit.errors import DataError

FRAMES = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def write(path: Path, *clips: tuple[str, Any], features: Any = FRAMES) -> Path:
    with h5py.File(path, "w") as file:
        for name, transcript in clips:
            group = file.create_group(name)
            group["features"] = features
            if transcript is not None:
                group.attrs["transcript"] = transcript
    return path


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "empty transcript"),
        (np.float32("nan"), "empty transcript"),
        (h5py.Empty("S1"), "empty transcript"),
        (h5py.Empty("f4"), "empty transcript"),
        ("  \t\u00a0 ", "empty transcript"),
        (True, "is bool"),
        (3, "the number 3"),
        (2.5, "the number 2.5"),
        (np.array([1, 2]), "expected text"),
        (np.array([True]), "expected text"),
        (b"caf\xe9", "not UTF-8"),
    ],
)
def test_what_is_no_text_never_becomes_a_label(tmp_path: Path, value: Any, said: str) -> None:
    path = write(tmp_path / "a.h5", ("good", "a b"), ("bad", value))
    refused: list[DataError] = []
    corpus = open_corpus(path, refused=refused)
    assert corpus.ids == ("good",)
    assert said in str(refused[0])
    assert "'bad'" in str(refused[0])
    with pytest.raises(DataError, match="'bad'"):
        open_corpus(path)


def test_a_reference_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", ("good", "a b"))
    with h5py.File(path, "a") as file:
        group = file.create_group("bad")
        group["features"] = FRAMES
        group.attrs["transcript"] = file["good"].ref
    with pytest.raises(DataError, match=r"'bad'.*Reference, expected text"):
        open_corpus(path)


def test_the_word_nan_and_arrays_of_words_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", ("a", "nan None"), ("b", np.array([b"x", b"y"])), ("c", np.array(["p"], "O")))
    corpus = open_corpus(path)
    assert [corpus.transcript(index) for index in range(3)] == [("nan", "None"), ("x", "y"), ("p",)]


@pytest.mark.parametrize(
    "names",
    [("rec", "rec/part"), ("a", "a/b", "a/b/c"), ("x", "x/deep/er", "y/z"), ("1", "1/1", "1/2", "10")],
)
def test_an_id_may_be_the_beginning_of_another(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = write(tmp_path / "a.h5", *((name, "a b") for name in names))
    corpus = open_corpus(path)
    assert sorted(corpus.ids) == sorted(names)
    assert all(len(corpus.features(index)) == 30 for index in range(len(corpus)))


def test_a_group_without_features_below_a_clip_is_its_own_affair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", ("a", "x"))
    with h5py.File(path, "a") as file:
        file["a"].create_group("camera").attrs["fps"] = 25
    assert open_corpus(path).ids == ("a",)


@pytest.mark.parametrize("splits", [("train", "dev"), ("Train", "Test"), ("train", "val", "test")])
def test_splits_in_one_file_are_no_corpus(tmp_path: Path, splits: tuple[str, ...]) -> None:
    path = write(tmp_path / "a.h5", *((f"{split}/c{number}", "a b") for split in splits for number in range(2)))
    with pytest.raises(DataError, match="side by side") as caught:
        open_corpus(path)
    assert all(split in str(caught.value) for split in splits)
    assert open_corpus(write(tmp_path / "b.h5", ("train", "a"), ("dev", "b"))).ids == ("dev", "train")  # clips


def test_transposed_and_flat_features_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(3):
            file.create_group(f"c{number}")["features"] = np.ones((13, 100 + number))
            file[f"c{number}"].attrs["transcript"] = "a"
    with pytest.raises(DataError, match="all have 13 rows, so they look transposed"):
        open_corpus(path)
    with pytest.raises(DataError, match=r"store a signal as \[T, 1\]"):
        open_corpus(write(tmp_path / "b.h5", ("c", "a"), features=np.ones(50)))
    # rows that differ look like clips of several extractors
    with h5py.File(path, "a") as file:
        del file["c0"]
        file.create_group("c0")["features"] = np.ones((7, 90))
        file["c0"].attrs["transcript"] = "a"
    with pytest.raises(DataError, match=r"the same width$"):
        open_corpus(path)


def test_a_filter_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("c")
        group.create_dataset("features", data=FRAMES, compression="gzip")
        group.attrs["transcript"] = "a"
    assert open_corpus(path).ids == ("c",)
    content = bytearray(path.read_bytes())
    at = content.find(b"deflate\0")
    content[at - 8 : at - 6] = (32020).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"compressed with filter 32020.*install"):
        open_corpus(path)


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Imports clips a, b and so on with a table, and gives their transcripts, speakers behind them."""

    def import_(content: str, name: str = "t.csv", **options: Any) -> tuple[str, ...]:
        folder = tmp_path / "features"
        folder.mkdir(exist_ok=True)
        for clip in options.pop("clips", ["a", "b"]):
            np.save(folder / f"{clip}.npy", FRAMES)
        (tmp_path / name).write_text(content, encoding="utf-8")
        import_folder(folder, tmp_path / name, tmp_path / "out.h5", overwrite=True, **options)
        corpus = open_corpus(tmp_path / "out.h5")
        return tuple(" ".join(corpus.transcript(index)) for index in range(len(corpus)))

    return import_


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
@pytest.mark.parametrize("column", ["transcript", "annotation", "orth", "text", "gloss"])
def test_separators_and_usual_columns_are_told(table: Any, separator: str, column: str) -> None:
    rows = [
        ["id", "folder", "signer", column],
        ["a", "1/*.png", "S1", "RED BOX"],
        ["b", "2/*.png", "S2", "GO"],
    ]
    assert table("".join(separator.join(row) + "\n" for row in rows)) == ("RED BOX", "GO")


@pytest.mark.parametrize("separator", ["\t", "|"])
@pytest.mark.parametrize("text", ['"Come in"', '"Is that so?', 'so he said"', '"Now," she said', "5'"])
def test_quotes_are_text_where_nothing_is_quoted(table: Any, separator: str, text: str) -> None:
    content = f"id{separator}transcript\na{separator}{text}\nb{separator}fine\n"
    assert table(content, "t.tsv" if separator == "\t" else "t.csv") == (text, "fine")


def test_commas_quote(table: Any) -> None:
    assert table('id,transcript\na,"yes, sir"\nb,"he said ""go"""\n') == ("yes, sir", 'he said "go"')


def test_stm_and_kaldi_tables(table: Any) -> None:
    stm = ";; remark\na 1 spk1 0.00 2.00 <o,f0,male> RED BOX\nb 1 spk2 0 1 GO\n"
    assert table(stm, "t.stm") == ("RED BOX", "GO")
    assert table("a RED BOX\nb GO\n", "text") == ("RED BOX", "GO")
    with pytest.raises(DataError, match="line 1: expected file, channel"):
        table("a 1 spk1\n", "t.stm")


@pytest.mark.parametrize(
    ("value", "said"),
    [("NaN", "empty"), ("null", "empty"), ("true", "bool"), ("2.5", "the number 2.5"), ('["x", null]', "missing")],
)
def test_json_values_that_are_no_text(table: Any, value: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        table(f'{{"id": "a", "transcript": {value}}}\n{{"id": "b", "transcript": "x"}}\n', "t.jsonl")
    assert "'a'" in str(caught.value)


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_file_names_match_in_either_form(table: Any, in_table: Any, on_disk: Any) -> None:
    name = "f\u00fcr"
    written, stored = unicodedata.normalize(in_table, name), unicodedata.normalize(on_disk, name)
    assert table(f"id,transcript\n{written},x\n", clips=[stored]) == ("x",)


def test_labels_that_look_alike() -> None:
    nfc, nfd = (unicodedata.normalize(form, "Ti\u1ebfng") for form in ("NFC", "NFD"))
    alike = written_alike([nfc, nfd, "Ant", "ant", "c\u200bat", "cat", "\uff41", "a", "dog"])
    assert sorted(map(tuple, alike)) == sorted(
        [tuple(sorted([nfc, nfd])), ("Ant", "ant"), ("cat", "c\u200bat"), ("a", "\uff41")]
    )
    assert near_misses([nfd], [nfc])[nfd][1].startswith("the same characters in another Unicode form")
    assert "U+FEFF" in near_misses(["\ufeffcat"], ["cat"])["\ufeffcat"][1]
    assert near_misses(["cow", "cat"], ["cat", "dog"]) == {}
