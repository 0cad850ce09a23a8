import numpy as np
import pytest
import torch

from ctckit.data import Alphabet, BatchPlan, FeaturePipeline, Loader, encode_targets, open_corpus
from ctckit.errors import ConfigError, DataError
from ctckit.types import TARGET_PADDING


def loader_of(path, *, batch_size=4, indices=None, deltas=1, seed=3, **options):
    corpus = open_corpus(path)
    pipeline = FeaturePipeline(corpus.feature_size, deltas=deltas, normalize="clip_mean")
    pipeline.fit(corpus)
    alphabet = corpus.alphabet() or Alphabet.from_transcripts(corpus.transcript(i) for i in range(len(corpus)))
    frames = corpus.frame_counts if indices is None else corpus.frame_counts[indices]
    plan = BatchPlan(frames, batch_size=batch_size, max_batch_frames=None, shuffle=True, seed=seed)
    return Loader(corpus, encode_targets(corpus, alphabet), pipeline, plan, indices=indices, **options)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.clip_ids == b.clip_ids
        for name in ("features_BTF", "lengths_B", "targets_BS", "target_lengths_B"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)


def test_a_batch_holds_its_clips_and_padding(packed):
    corpus = open_corpus(packed)
    targets = encode_targets(corpus, corpus.alphabet())
    loader = loader_of(packed)
    pipeline = FeaturePipeline(3, deltas=1, normalize="clip_mean")
    pipeline.fit(corpus)
    seen = []
    for batch in loader.epoch(0):
        assert batch.features_BTF.dtype == torch.float32
        assert {t.dtype for t in (batch.lengths_B, batch.targets_BS, batch.target_lengths_B)} == {torch.int64}
        assert batch.features_BTF.shape == (len(batch.clip_ids), int(batch.lengths_B.max()), 6)
        assert batch.targets_BS.shape == (len(batch.clip_ids), int(batch.target_lengths_B.max()))
        for row, clip_id in enumerate(batch.clip_ids):
            index = corpus.ids.index(clip_id)
            length, target_length = int(batch.lengths_B[row]), int(batch.target_lengths_B[row])
            assert length == corpus.frame_counts[index]
            np.testing.assert_array_equal(
                batch.features_BTF[row, :length].numpy(), pipeline(corpus.features(index))
            )
            assert (batch.features_BTF[row, length:] == 0).all()
            np.testing.assert_array_equal(batch.targets_BS[row, :target_length].numpy(), targets[index])
            assert (batch.targets_BS[row, target_length:] == TARGET_PADDING).all()
        seen.extend(batch.clip_ids)
    assert sorted(seen) == list(corpus.ids)
    assert loader.batches_in(0) == 10


@pytest.mark.parametrize("cache_mb", [0, 1024])
def test_the_cache_changes_nothing(packed, cache_mb):
    loader = loader_of(packed, cache_mb=cache_mb)
    first = list(loader.epoch(2))
    assert_same(first, loader.epoch(2))
    assert_same(first, loader_of(packed).epoch(2))
    loader.close()
    assert_same(first, loader.epoch(2))


def test_a_full_cache_stays_within_its_limit(packed, monkeypatch):
    loader = loader_of(packed)
    loader._assembler._cache_left = 5000
    list(loader.epoch(0))
    held = sum(clip.nbytes for clip in loader._assembler._cache.values())
    assert 0 < held <= 5000


def test_cached_clips_are_read_once(packed, monkeypatch):
    loader = loader_of(packed)
    list(loader.epoch(0))
    monkeypatch.setattr(type(loader._corpus), "features", lambda *_: pytest.fail("read again"))
    assert len(list(loader.epoch(1))) == 10


def test_going_on_within_an_epoch(packed):
    loader = loader_of(packed)
    whole = list(loader.epoch(5))
    assert_same(whole[4:], loader.epoch(5, first_batch=4))
    assert list(loader.epoch(5, first_batch=10)) == []


def test_a_subset_of_clips(packed):
    indices = np.array([30, 2, 7, 11, 19])
    loader = loader_of(packed, indices=indices, batch_size=2)
    seen = [clip for batch in loader.epoch(0) for clip in batch.clip_ids]
    assert sorted(seen) == sorted(f"clip{index:02d}" for index in indices)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_give_the_same_batches(packed, start_method):
    expected = [list(loader_of(packed).epoch(epoch)) for epoch in range(3)]
    loader = loader_of(packed, workers=2, start_method=start_method)
    assert_same(expected[0], loader.epoch(0))
    # An epoch that is left early must not leak into the next.
    half = loader.epoch(1)
    next(half)
    half.close()
    assert_same(expected[2], loader.epoch(2))
    assert_same(expected[1][3:], loader.epoch(1, first_batch=3))
    loader.close()


def test_an_error_in_a_worker_is_one_line(grouped):
    clips = {f"c{i}": (np.ones((3, 2)), {"transcript": "x"}) for i in range(4)}
    path = grouped(clips)
    loader = loader_of(path, workers=1, start_method="fork")
    loader.close()
    clips["c2"] = (np.full((3, 2), np.nan), {"transcript": "x"})
    grouped(clips)
    with pytest.raises(DataError, match="clip 'c2': NaN feature at frame 0, column 0") as caught:
        list(loader.epoch(0))
    assert "\n" not in str(caught.value)
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_state_is_left_alone(packed, workers):
    loader = loader_of(packed, workers=workers, start_method="fork" if workers else None)
    before = torch.get_rng_state()
    list(loader.epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    loader.close()


def test_arguments_that_do_not_fit(packed):
    loader = loader_of(packed)
    with pytest.raises(ConfigError, match="workers is -1"):
        loader_of(packed, workers=-1)
    with pytest.raises(ValueError, match="the plan has 37 clips, the loader 2"):
        Loader(
            loader._corpus, loader._assembler._targets, loader._assembler._pipeline, loader._plan, indices=[0, 1]
        )


def test_an4_goes_through(an4):
    loader = loader_of(an4 / "an4_test.h5", deltas=2, batch_size=16)
    frames = sum(int(batch.lengths_B.sum()) for batch in loader.epoch(0))
    assert frames == 35_570
    assert next(iter(loader.epoch(0))).features_BTF.shape[2] == 39
