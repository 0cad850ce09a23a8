from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
from audited import audit, features, healthy, write

from ctckit.audit.features import survey
from ctckit.data import CorpusWriter, open_corpus


def test_integer_features_are_a_note_where_they_are_normalised(tmp_path: Path) -> None:
    train = {k: ((20 * x).astype(np.int16), t) for k, (x, t) in healthy().items()}
    assert audit(tmp_path, train)["features_integer"]["severity"] == "info"


def test_clips_bounds_what_is_read(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "train.h5", healthy()))
    assert survey(corpus, clips=7).clips == 7
    assert survey(corpus).clips == 40


def test_figures_of_the_survey_are_those_of_numpy(tmp_path: Path) -> None:
    clips = {name: (1000 + array, text) for name, (array, text) in healthy().items()}
    found = survey(open_corpus(write(tmp_path / "train.h5", clips)))
    everything = np.concatenate([array for array, _ in clips.values()]).astype(np.float64)
    np.testing.assert_allclose(found.mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, everything.var(0), rtol=1e-9)
    assert (found.low, found.high) == (everything.min(), everything.max())


def test_features_stream_in_constant_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 200):
        path = tmp_path / f"{count}.h5"
        with CorpusWriter(path, 64, dtype="float32") as writer:
            for n in range(count):
                writer.add(f"clip{n}", features(n, 400, 64), ["ant"])
        corpus = open_corpus(path)
        survey(corpus)
        tracemalloc.start()
        survey(corpus)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # ten times the features (19 MB more), at most what 180 more digests take
    assert peaks[1] - peaks[0] < 180 * 1000
