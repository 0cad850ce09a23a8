"""Ids, sentences and speakers that corpora share, between every two of them and in both directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctckit.audit.overlap import check_overlap
from ctckit.data import Corpus, CorpusWriter, open_corpus
from ctckit.types import Finding


def corpus(path: Path, *clips: tuple[str, str, str]) -> Corpus:
    with CorpusWriter(path, 1) as writer:
        for name, text, speaker in clips:
            writer.add(name, np.ones((9, 1)), text.split(), {"Signer": speaker, "rate": "25"})
    return open_corpus(path)


def found(**corpora: Corpus) -> dict[tuple[str, str], Finding]:
    return {(one.rule, one.message.split(":")[0]): one for one in check_overlap(corpora)}


def test_corpora_that_share_nothing(tmp_path: Path) -> None:
    train = corpus(tmp_path / "a.h5", ("a", "x y", "s1"), ("b", "x", "s2"))
    assert found(train=train, dev=corpus(tmp_path / "b.h5", ("c", "y x", "s3"), ("d", "x", "s4"))) == {}


def test_every_two_are_compared(tmp_path: Path) -> None:
    train = corpus(tmp_path / "a.h5", ("a", "x y", "s1"), ("b", "y y", "s2"), ("c", "y y x", "s2"))
    dev = corpus(tmp_path / "b.h5", ("d", "p q", "s5"), ("e", "q", "s6"))
    test = corpus(tmp_path / "c.h5", ("d", "p q", "S5"), ("f", "x y", "s9"))
    rules = {
        (one.rule, one.evidence["with"]): one for one in check_overlap({"train": train, "dev": dev, "test": test})
    }
    assert set(rules) == {
        ("shared_ids", "dev"),
        ("shared_sentences", "dev"),
        ("shared_sentences", "train"),
        ("shared_speakers", "dev"),
    }
    assert "1 of them spelt otherwise" in rules["shared_speakers", "dev"].message
    sentences = rules["shared_sentences", "train"]
    assert sentences.severity == "warning"
    assert (sentences.evidence["share"], round(float(sentences.evidence["reverse_share"]))) == (50.0, 33)


def test_few_shared_sentences_are_a_note(tmp_path: Path) -> None:
    train = corpus(tmp_path / "a.h5", ("a", "x y", "s1"), ("b", "y y", "s2"), ("c", "y y x", "s2"))
    dev = corpus(tmp_path / "b.h5", ("d", "x y", "s5"), ("e", "q q", "s6"), ("f", "q p", "s6"))
    assert found(train=train, dev=dev)["shared_sentences", "dev"].severity == "info"


def test_all_speakers_shared_is_a_protocol_and_some_shared_is_a_leak(tmp_path: Path) -> None:
    train = corpus(tmp_path / "a.h5", ("a", "x y", "s1"), ("b", "y y", "s2"), ("c", "y y x", "s3"))
    dependent = corpus(tmp_path / "b.h5", ("d", "q p", "s1"), ("e", "q q", "s2"))
    leaking = corpus(tmp_path / "c.h5", ("d", "q p", "s1"), ("e", "q q", "s9"))
    assert found(train=train, dev=dependent)["shared_speakers", "dev"].severity == "info"
    assert found(train=train, dev=leaking)["shared_speakers", "dev"].severity == "warning"
