"""``ctckit show``, and ``report --clips``: pictures of clips, the worst first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import tree_of, words

import ctckit
from ctckit.data import open_corpus
from ctckit.data.clips import StoredClip, clips_of_corpus
from ctckit.edits import edit_counts
from ctckit.lattice import lattice, worst_clips


def titles(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    tree_of(text)
    return re.findall(r'<figure class="clip-figure">\s*<figcaption><h3>(.*?)</h3>', text)


@pytest.fixture(scope="module")
def ranked(recogniser: Path, tiny: Any) -> list[str]:
    """Clips of the dev corpus by errors a token, as an evaluation of each finds them; equal ones in their order."""
    corpus = open_corpus(tiny.dev)
    clips = list(clips_of_corpus(corpus, []))
    found = ctckit.load(recogniser, "cpu")([clip.features_TF for clip in clips])
    errors = [
        sum(edit_counts(clip.reference or (), one.tokens)) / len(clip.reference or ())
        for clip, one in zip(clips, found, strict=True)
    ]
    return [clips[number].clip_id for number in sorted(range(len(clips)), key=lambda number: -errors[number])]


def test_the_worst_come_first(cli: Any, recogniser: Path, tiny: Any, ranked: list[str], tmp_path: Path) -> None:
    page = tmp_path / "clips.html"
    done = cli("show", recogniser, "--data", tiny.dev, "--worst", 4, "--out", page)
    assert done.returncode == 0, done.stderr
    assert titles(page) == ranked[:4]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:-1]] == ranked[:4]


def test_named_clips_are_drawn_and_a_missing_one_is_named(
    cli: Any, recogniser: Path, tiny: Any, ranked: list[str], tmp_path: Path
) -> None:
    page = tmp_path / "clips.html"
    done = cli("show", recogniser, ranked[5], "--data", tiny.dev, "-o", page)
    assert (done.returncode, titles(page)) == (0, [ranked[5]])
    missing = cli("show", recogniser, ranked[5], "nobody", "--data", tiny.dev, "-o", tmp_path / "none.html")
    assert missing.returncode == 3
    assert "no usable clip 'nobody'" in missing.stderr
    assert not (tmp_path / "none.html").exists()


def test_a_report_has_the_worst_clips(cli: Any, recogniser: Path, ranked: list[str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = cli("report", recogniser, "--clips", 2, "-o", page)
    assert done.returncode == 0, done.stderr
    assert titles(page) == ranked[:2]
    assert cli("report", recogniser, "-o", page).returncode == 0
    assert titles(page) == []


def test_clips_without_transcripts_come_by_confidence_and_unusable_ones_are_said(
    cli: Any, recogniser: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    loaded = ctckit.load(recogniser, "cpu")
    arrays = {f"c{n}": random.normal(size=(30, loaded.feature_size)).astype(np.float32) for n in range(5)}
    np.savez(tmp_path / "clips.npz", broken=np.full((9, loaded.feature_size), np.nan), **arrays)
    done = cli(
        "show", recogniser, "--features", tmp_path / "clips.npz", "-o", tmp_path / "clips.html", "--worst", 9
    )
    assert done.returncode == 0, done.stderr
    assert "left out: clip 'broken': NaN feature" in done.stderr
    found = loaded(list(arrays.values()), clip_ids=list(arrays))
    means = {one.clip_id: float(np.mean(one.confidences)) if one.tokens else 0.0 for one in found}
    assert [means[name] for name in titles(tmp_path / "clips.html")] == sorted(means.values())


def test_a_lattice_holds_what_the_model_says(recogniser: Path, tiny: Any) -> None:
    loaded = ctckit.load(recogniser, "cpu", frame_rate=50)
    clip = next(clips_of_corpus(open_corpus(tiny.dev), []))
    drawn = lattice(loaded, clip)
    (alone,) = loaded(clip.features_TF, clip_ids=[clip.clip_id])
    one = drawn.hypothesis
    assert (one.tokens, one.starts, one.ends, one.seconds) == (
        alone.tokens,
        alone.starts,
        alone.ends,
        alone.seconds,
    )
    assert one.reference == clip.reference
    total = np.array(drawn.posteriors_LT).sum(0) + np.array(drawn.blank_T)
    assert (total <= 1.0 + 1e-5).all()
    assert drawn.others == 0
    assert total.mean() > 0.9
    peaks = [int(np.argmax(row)) for row in drawn.posteriors_LT]
    assert peaks == sorted(peaks)
    assert set(one.tokens) | set(clip.reference or ()) <= set(drawn.labels)
    starts = [start for start, _ in drawn.reference_spans]
    assert len(starts) == len(clip.reference or ())
    assert starts == sorted(starts)
    for token, (start, end) in zip(clip.reference or (), drawn.reference_spans, strict=True):
        row = np.repeat(drawn.posteriors_LT[drawn.labels.index(token)], drawn.frames // len(drawn.blank_T))
        assert row[start:end].mean() > row.mean()


def test_a_transcript_without_a_place_is_said(recogniser: Path, tiny: Any) -> None:
    loaded = ctckit.load(recogniser, "cpu")
    clip = next(clips_of_corpus(open_corpus(tiny.dev), []))
    assert lattice(loaded, clip._replace(reference=("nobody", *loaded.tokens[1:3]))).reference_spans == ()
    crowded = clip._replace(reference=loaded.tokens[1:2] * len(clip.features_TF))
    assert lattice(loaded, crowded).reference_spans == ()
    assert lattice(loaded, clip._replace(reference=None)).hypothesis.reference == ()


def test_few_are_held_while_the_worst_are_sought(recogniser: Path) -> None:
    """A stream of clips is taken as it comes: what was decoded and is not among the worst is let go."""
    loaded = ctckit.load(recogniser, "cpu")
    held: list[int] = []
    alive: dict[str, Any] = {}

    def clips() -> Any:
        import weakref

        random = np.random.default_rng(0)
        for number in range(400):
            features = random.normal(size=(12, loaded.feature_size)).astype(np.float32)
            alive[str(number)] = weakref.ref(features)
            held.append(sum(one() is not None for one in alive.values()))
            yield StoredClip(str(number), features)

    assert len(worst_clips(loaded, clips(), 3, [])) == 3
    assert max(held) < 200


def test_words_of_a_page(cli: Any, recogniser: Path, tiny: Any, ranked: list[str], tmp_path: Path) -> None:
    page = tmp_path / "clips.html"
    cli("show", recogniser, ranked[0], "--data", tiny.dev, "-o", page)
    said = words(tree_of(page.read_text(encoding="utf-8")))
    assert "reference" in said
    assert "hypothesis" in said
    assert "blank" in said
    assert "Heard:" in said
