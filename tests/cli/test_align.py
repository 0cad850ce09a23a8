"""``ctckit align``: transcripts in time."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ctckit
from ctckit.alignment import align_transcripts
from ctckit.data import open_corpus
from ctckit.data.clips import StoredClip, clips_of_corpus
from ctckit.transcripts import read


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("segments", ["path", "starts", "durations"])
def test_every_token_has_frames_of_its_own_in_order(
    cli: Any, recogniser: Path, tiny: Any, tmp_path: Path, segments: str
) -> None:
    out = tmp_path / "aligned.jsonl"
    done = cli("align", recogniser, "--data", tiny.test, "--segments", segments, "--frame-rate", 50, "--out", out)
    assert done.returncode == 0, done.stderr
    corpus = open_corpus(tiny.test)
    found = lines(out.read_text())
    assert [one["clip"] for one in found] == list(corpus.ids)
    for number, one in enumerate(found):
        tokens = one["tokens"]
        assert tuple(token["token"] for token in tokens) == corpus.transcript(number)
        assert all(token["start"] < token["end"] for token in tokens)
        for token, following in pairwise(tokens):
            assert token["end"] <= following["start"]
            assert segments != "starts" or token["end"] == following["start"]
        assert tokens[-1]["end"] <= corpus.frame_counts[number]
        assert 0 <= one["confidence"] <= 1
        assert tokens[0]["start_seconds"] == round(tokens[0]["start"] / 50, 3)
    worst = min(found, key=lambda one: one["confidence"])
    assert f"least confident: clip {worst['clip']!r} {worst['confidence']:.4f}" in done.stderr
    (tmp_path / "text").write_text(
        "".join(f"{clip} {' '.join(corpus.transcript(number))}\n" for number, clip in enumerate(corpus.ids))
    )
    assert json.loads(cli("score", tmp_path / "text", out, "--json").stdout)["words"]["rate"] == 0


def test_ctm_and_textgrids(cli: Any, recogniser: Path, tiny: Any, tmp_path: Path) -> None:
    options = ["--data", tiny.test, "--frame-rate", 50]
    aligned = lines(cli("align", recogniser, *options).stdout)
    assert cli("align", recogniser, *options, "--format", "ctm", "--out", tmp_path / "a.ctm").returncode == 0
    words = read(tmp_path / "a.ctm").transcripts
    for one in aligned:
        spans = words[one["clip"]].spans or ()
        assert spans[0] == pytest.approx((one["tokens"][0]["start_seconds"], one["tokens"][0]["end_seconds"]))
    assert cli("align", recogniser, *options, "--format", "textgrid", "--out", tmp_path / "grids").returncode == 0
    assert len(list((tmp_path / "grids").glob("*.TextGrid"))) == len(aligned)
    for kind in ("ctm", "textgrid"):
        done = cli("align", recogniser, "--data", tiny.test, "--format", kind)
        assert done.returncode == 2
        assert "give --frame-rate" in done.stderr


def test_what_cannot_be_aligned_is_named_and_the_rest_is_written(
    cli: Any, recogniser: Path, tiny: Any, tmp_path: Path
) -> None:
    features = open_corpus(tiny.test).features(0)
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        for name, text in {
            "good": "ant",
            "cased": "ANT",
            "far": "zebra",
            "none": None,
            "long": "ant " * 99,
        }.items():
            group = file.create_group(name)
            group["features"] = features
            if text is not None:
                group.attrs["transcript"] = text
    done = cli("align", recogniser, "--data", path)
    assert done.returncode == 3
    assert [one["clip"] for one in lines(done.stdout)] == ["good"]
    for said in (
        "clip 'cased': the model has no label 'ANT'; 'ant' is: upper and lower case differ",
        "clip 'far': the model has no label 'zebra'",
        "clip 'none' has no transcript to align",
        "clip 'long' has no CTC path",
        "U=99 labels, 98 repeats",
        "4 of 5 clips could not be aligned",
    ):
        assert said in done.stderr
    refused = cli("align", recogniser, "--data", path, "--correction", 2)
    assert refused.returncode == 2
    assert "--segments starts" in refused.stderr


def test_a_wildcard_stands_for_what_nobody_transcribed(recogniser: Path, tiny: Any) -> None:
    loaded = ctckit.load(recogniser, "cpu")
    corpus = open_corpus(tiny.test)
    clips = [clip for clip in clips_of_corpus(corpus, []) if len(set(clip.reference or ())) > 2]
    # a label that comes again at once could as well have lasted
    clips = [clip for clip in clips if all(a != b for a, b in pairwise(clip.reference or ()))]
    assert clips
    whole = list(align_transcripts(loaded, clips, [], segments="path"))
    cut = [
        clip._replace(reference=((clip.reference or ())[0], "<*>", (clip.reference or ())[-1])) for clip in clips
    ]
    faults: list[ctckit.DataError] = []
    partly = list(align_transcripts(loaded, cut, faults, segments="path", wildcard="<*>"))
    assert faults == []
    for all_of_it, some in zip(whole, partly, strict=True):
        assert some.wild == (False, True, False)
        assert some.confidence > 0
        if min(all_of_it.confidences) > 0.5:  # where the model knows what it hears, the known words do not move
            assert (some.starts[0], some.ends[0]) == (all_of_it.starts[0], all_of_it.ends[0])
            assert (some.starts[2], some.ends[2]) == (all_of_it.starts[-1], all_of_it.ends[-1])
    assert any(min(one.confidences) > 0.5 for one in whole)
    assert list(align_transcripts(loaded, cut, faults)) == []
    assert "no label '<*>'" in str(faults[0])


def test_silence_and_unusable_features(recogniser: Path) -> None:
    loaded = ctckit.load(recogniser, "cpu")
    quiet = np.zeros((9, loaded.feature_size), np.float32)
    faults: list[ctckit.DataError] = []
    found = list(
        align_transcripts(
            loaded, [StoredClip("quiet", quiet, ()), StoredClip("bad", quiet * np.nan, ("ant",))], faults
        )
    )
    assert [(one.clip_id, one.tokens, one.confidence) for one in found] == [("quiet", (), 1.0)]
    assert "NaN feature" in str(faults[0])
