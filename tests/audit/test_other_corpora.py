"""The audit on what people have on disk: padding as frames, transposed arrays, lists in transcripts, forms."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest

from ctckit.audit.features import check_features
from ctckit.audit.labels import check_labels
from ctckit.data import Alphabet, Corpus, open_corpus


def corpus_of(path: Path, *clips: tuple[str, np.ndarray]) -> Corpus:
    with h5py.File(path, "w") as file:
        for number, (text, features) in enumerate(clips):
            group = file.create_group(f"c{number:02d}")
            group["features"] = features.astype(np.float32)
            group.attrs["transcript"] = text
    return open_corpus(path)


def features_rules(corpus: Corpus) -> set[str]:
    return {finding.rule for finding in check_features({"train": corpus}, "corpus")}


def labels_rules(**corpora: Corpus) -> dict[str, str]:
    train = corpora["train"]
    alphabet = Alphabet.from_transcripts(train.transcript(index) for index in range(len(train)))
    return {finding.rule: finding.message for finding in check_labels(corpora, alphabet)}


def speech(frames: int, seed: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, width))


@pytest.mark.parametrize("how", ["zeros", "last frame", "a constant", "only some clips"])
def test_padding_stored_as_frames(tmp_path: Path, how: str) -> None:
    clips = []
    for number in range(8):
        real = speech(20 + number, number)
        rest = 60 - len(real)
        fill = {"zeros": np.zeros(4), "last frame": real[-1], "a constant": np.full(4, -7.0)}.get(how, np.zeros(4))
        padded = np.concatenate([real, np.tile(fill, (rest, 1))])
        clips.append(("a b", real if how == "only some clips" and number % 2 else padded))
    assert "padding_frames" in features_rules(corpus_of(tmp_path / "a.h5", *clips))


@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_padding_on_either_side_and_what_is_without(tmp_path: Path, side: str) -> None:
    clips = []
    for number in range(8):
        before, after = (20 if side in (one, "both") else 0 for one in ("before", "after"))
        parts = (np.zeros((before, 4)), speech(20, number), np.zeros((after, 4)))
        clips.append(("a b", np.concatenate(parts)))
    train = corpus_of(tmp_path / "a.h5", *clips)
    (found,) = (one for one in check_features({"train": train}, "corpus") if one.rule == "padding_frames")
    assert found.evidence["frames_per_label_without"] == pytest.approx(10.0, abs=0.5)
    assert found.evidence["frames_per_label"] == (30.0 if side == "both" else 20.0)
    assert (found.evidence["begin"] == 8, found.evidence["end"] == 8) == (side != "after", side != "before")
    assert found.evidence["infeasible_without"] == 0


def test_clips_whose_path_is_padding(tmp_path: Path) -> None:
    clips = [("a a b b c c", np.concatenate([speech(7, n), np.zeros((30, 4))])) for n in range(3)]
    train = corpus_of(tmp_path / "a.h5", *clips)
    (found,) = (one for one in check_features({"train": train}, "corpus") if one.rule == "padding_frames")
    assert "3 clips have a CTC path only through it" in found.message


def test_dev_is_checked_as_train_is(tmp_path: Path) -> None:
    fine = corpus_of(tmp_path / "a.h5", ("cat dog", speech(9, 0)), ("dog cat", speech(9, 1)))
    odd = ("Cat cat <pad> dog dog", speech(9, 2))
    dev = corpus_of(tmp_path / "b.h5", odd, (odd[0], speech(9, 3)))
    found = labels_rules(train=fine, dev=dev)
    rules = ("blank_like_label", "padding_in_transcripts", "transcripts_alike", "case_in_train")
    assert all(found[rule].startswith("dev: ") for rule in rules)


def test_features_of_dev_and_test_are_compared(tmp_path: Path) -> None:
    train, dev = (corpus_of(tmp_path / f"{n}.h5", ("a", speech(9, n)), ("b", speech(9, n + 5))) for n in range(2))
    test = corpus_of(tmp_path / "t.h5", ("a", speech(9, 1)))
    (leak,) = (
        one
        for one in check_features({"train": train, "dev": dev, "test": test}, "corpus")
        if one.rule == "duplicates_across_splits"
    )
    assert leak.message.startswith("test: 1 clips are in dev too")
    assert (leak.evidence["share"], leak.evidence["reverse_share"]) == (100.0, 50.0)


def test_short_silence_is_no_padding(tmp_path: Path) -> None:
    clips = [("a b", np.concatenate([speech(60 + n, n), np.zeros((3, 4))])) for n in range(8)]
    assert "padding_frames" not in features_rules(corpus_of(tmp_path / "a.h5", *clips))


@pytest.mark.parametrize(("rows", "columns", "told"), [(13, 200, True), (4, 40, True), (200, 13, False)])
def test_clips_of_one_short_length_look_transposed(tmp_path: Path, rows: int, columns: int, told: bool) -> None:
    corpus = corpus_of(tmp_path / "a.h5", *(("a b", speech(rows, n, columns)) for n in range(4)))
    assert ("looks_transposed" in features_rules(corpus)) == told


def test_lengths_that_differ_do_not_look_transposed(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "a.h5", *(("a b", speech(13 + n, n, 200)) for n in range(4)))
    assert "looks_transposed" not in features_rules(corpus)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("['HELLO', 'GO']", True),
        ('["HELLO"]', True),
        ("('A', 'B')", True),
        ("[noise] HELLO", False),
        ("IX-1p (wave)", False),
    ],
)
def test_lists_written_out(tmp_path: Path, text: str, told: bool) -> None:
    corpus = corpus_of(tmp_path / "a.h5", ("HELLO GO", speech(9, 0)), (text, speech(9, 1)))
    assert ("list_in_transcript" in labels_rules(train=corpus)) == told


def test_labels_written_in_several_ways(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Vi\u1ec7t") for form in ("NFC", "NFD"))
    for number, (one, other, said) in enumerate(
        [(nfc, nfd, "NFC, NFD"), ("cat", "c\u200bat", "U+200B"), ("a1", "\uff411", "width")]
    ):
        both = corpus_of(tmp_path / f"{number}.h5", (f"{one} x", speech(9, 0)), (f"{other} x", speech(9, 1)))
        assert said in labels_rules(train=both)["forms_in_train"]
        train = corpus_of(tmp_path / f"{number}t.h5", (f"{one} x", speech(9, 0)), ("x", speech(9, 1)))
        dev = corpus_of(tmp_path / f"{number}d.h5", (f"{other} x", speech(9, 2)))
        found = labels_rules(train=train, dev=dev)
        assert said in found["form_mismatch"]
        assert "unseen_labels" not in found
    plain = corpus_of(tmp_path / "p.h5", ("cat dog", speech(9, 0)), ("dog", speech(9, 1)))
    assert "forms_in_train" not in labels_rules(train=plain)
