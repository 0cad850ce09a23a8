"""Features are prepared in the graph as the pipeline prepares them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from ctckit.data import CorpusWriter, FeaturePipeline, open_corpus
from ctckit.export.graph import Preparation

LENGTHS = [1, 2, 9, 4]


@pytest.mark.parametrize("deltas", [0, 1, 2])
@pytest.mark.parametrize("normalize", ["none", "corpus", "clip_mean"])
def test_a_padded_batch_is_prepared_as_each_clip_alone(
    tmp_path: Path, deltas: int, normalize: Literal["none", "corpus", "clip_mean"]
) -> None:
    random = np.random.default_rng(deltas)
    clips = [(random.normal(3.0, 2.0, (length, 5))).astype(np.float32) for length in LENGTHS]
    with CorpusWriter(tmp_path / "a.h5", 5, dtype="float32") as writer:
        for number, clip in enumerate(clips):
            writer.add(f"c{number}", clip, ["x"])
    pipeline = FeaturePipeline(5, deltas=deltas, normalize=normalize)
    pipeline.fit(open_corpus(tmp_path / "a.h5"))
    features_BTF = torch.full((len(clips), 11, 5), torch.nan)
    for row, clip in zip(features_BTF, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    prepared_BTF = Preparation(pipeline)(features_BTF, torch.tensor(LENGTHS))
    for number, clip in enumerate(clips):
        np.testing.assert_allclose(prepared_BTF[number, : len(clip)], pipeline(clip), rtol=1e-4, atol=1e-5)
        assert not prepared_BTF[number, len(clip) :].any()
