import io

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctckit.data import FeaturePipeline, open_corpus
from ctckit.errors import CheckpointError, ConfigError, DataError

clip = arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(-10, 10, width=32))


def plain_delta(x):
    """The textbook formula, one number at a time."""
    last = len(x) - 1
    out = np.zeros(x.shape)
    for t in range(len(x)):
        for n in (1, 2):
            out[t] += n * (x[min(t + n, last)].astype(float) - x[max(t - n, 0)]) / 10
    return out


@given(clip, st.sampled_from([0, 1, 2]))
def test_deltas_follow_the_formula(features, orders):
    got = FeaturePipeline(2, deltas=orders, normalize="none")(features)
    expected = [features]
    for _ in range(orders):
        expected.append(plain_delta(expected[-1]))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.concatenate(expected, axis=1), atol=1e-4)


@pytest.mark.parametrize("normalize", ["corpus", "clip_mean"])
@pytest.mark.parametrize("deltas", [0, 2])
def test_normalisation_follows_the_formula(packed, normalize, deltas):
    corpus = open_corpus(packed)
    pipeline = FeaturePipeline(3, deltas=deltas, normalize=normalize)
    pipeline.fit(corpus)

    def prepared(x):
        x = x.astype(float) - (x.mean(axis=0) if normalize == "clip_mean" else 0)
        parts = [x]
        for _ in range(deltas):
            parts.append(plain_delta(parts[-1]))
        return np.concatenate(parts, axis=1)

    everything = np.concatenate([prepared(corpus.features(i)) for i in range(len(corpus))])
    expected = (prepared(corpus.features(5)) - everything.mean(axis=0)) / everything.std(axis=0)
    np.testing.assert_allclose(pipeline(corpus.features(5)), expected, atol=1e-4)
    assert pipeline.output_size == expected.shape[1]


def test_large_means_do_not_spoil_the_variance(grouped):
    rng = np.random.default_rng(0)
    clips = {str(i): ((1e4 + rng.normal(size=(50, 1))).astype(np.float32), {"transcript": "x"}) for i in range(20)}
    corpus = open_corpus(grouped(clips))
    pipeline = FeaturePipeline(1, normalize="corpus")
    pipeline.fit(corpus)
    out = np.concatenate([pipeline(corpus.features(i)) for i in range(20)])
    assert abs(out.std() - 1) < 1e-3


def test_a_column_that_never_varies_stays_finite(grouped):
    corpus = open_corpus(grouped({"a": (np.full((5, 2), 3.0, np.float32), {"transcript": "x"})}))
    pipeline = FeaturePipeline(2, deltas=1)
    pipeline.fit(corpus)
    assert pipeline(corpus.features(0)).tolist() == np.zeros((5, 4)).tolist()


def test_statistics_of_some_clips_are_near_those_of_all(packed):
    corpus = open_corpus(packed)
    few, every = FeaturePipeline(3), FeaturePipeline(3)
    few.fit(corpus, max_clips=10)
    every.fit(corpus)
    some, full = (pipeline.state_dict()["scale"] for pipeline in (few, every))
    assert not torch.equal(some, full)
    torch.testing.assert_close(some, full, rtol=0.2, atol=0)


def test_input_is_left_as_it_is(packed):
    corpus = open_corpus(packed)
    for normalize in ("none", "corpus", "clip_mean"):
        pipeline = FeaturePipeline(3, deltas=1, normalize=normalize)
        pipeline.fit(corpus)
        features = corpus.features(0)
        kept = features.copy()
        pipeline(features)
        np.testing.assert_array_equal(features, kept)


def test_state_survives_a_checkpoint(packed):
    corpus = open_corpus(packed)
    pipeline = FeaturePipeline(3, deltas=2, normalize="clip_mean")
    pipeline.fit(corpus)
    buffer = io.BytesIO()
    torch.save(pipeline.state_dict(), buffer)
    buffer.seek(0)
    back = FeaturePipeline.from_state_dict(torch.load(buffer, weights_only=True))
    np.testing.assert_array_equal(back(corpus.features(1)), pipeline(corpus.features(1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale"), "keys missing or unknown: scale"),
        (lambda s: s.update(extra=1), "keys missing or unknown: extra"),
        (lambda s: s.update(deltas=7), "deltas is 7"),
        (lambda s: s.update(mean=None), "mean and scale must come together"),
        (lambda s: s.update(mean=torch.zeros(5)), r"mean has shape \[5\], expected \[3\]"),
    ],
)
def test_state_that_does_not_fit(packed, change, message):
    pipeline = FeaturePipeline(3)
    pipeline.fit(open_corpus(packed))
    state = pipeline.state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=f"feature pipeline: {message}"):
        FeaturePipeline.from_state_dict(state)


def test_wrong_width_names_the_file(packed, tmp_path):
    with h5py.File(tmp_path / "dev.h5", "w") as file:
        group = file.create_group("a")
        group["features"] = np.ones((3, 5))
        group.attrs["transcript"] = "x"
    pipeline = FeaturePipeline(3)
    with pytest.raises(DataError, match=r"dev.h5: features are 5 wide, but 3 are expected"):
        pipeline.fit(open_corpus(tmp_path / "dev.h5"))
    with pytest.raises(DataError, match=r"features have shape \[4, 5\], expected \[T, 3\]"):
        pipeline(np.ones((4, 5), np.float32))
    with pytest.raises(RuntimeError, match="was not fitted"):
        pipeline(np.ones((4, 3), np.float32))


@pytest.mark.parametrize("options", [{"deltas": 3}, {"normalize": "batch"}])
def test_impossible_pipelines(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is"):
        FeaturePipeline(3, **options)
