import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit.data import BatchPlan
from ctckit.errors import ConfigError

lengths = st.lists(st.integers(1, 50), max_size=120)


def plan_of(frames, **options):
    settings = {"batch_size": 4, "max_batch_frames": None, "shuffle": True, "seed": 0, **options}
    return BatchPlan(np.array(frames, dtype=np.int64), **settings)


@given(
    lengths, st.integers(1, 9), st.none() | st.integers(1, 120), st.booleans(), st.integers(0, 5), st.integers(0, 5)
)
def test_every_clip_once_within_both_limits(frames, size, budget, shuffle, seed, epoch):
    plan = plan_of(frames, batch_size=size, max_batch_frames=budget, shuffle=shuffle, seed=seed)
    batches = plan.batches(epoch)
    assert sorted(int(clip) for batch in batches for clip in batch) == list(range(len(frames)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        if budget is not None and len(batch) > 1:
            assert len(batch) * max(frames[clip] for clip in batch) <= budget
    again = plan_of(frames, batch_size=size, max_batch_frames=budget, shuffle=shuffle, seed=seed).batches(epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


@given(lengths.filter(bool), st.integers(1, 9), st.floats(0.01, 1.0), st.booleans(), st.integers(0, 3))
def test_a_share_holds_the_shortest_clips_once(frames, size, share, shuffle, epoch):
    plan = plan_of(frames, batch_size=size, shuffle=shuffle)
    clips = [int(clip) for batch in plan.batches(epoch, share=share) for clip in batch]
    assert len(set(clips)) == len(clips)
    assert len(clips) == min(max(math.ceil(share * len(frames)), size), len(frames))
    left_out = set(range(len(frames))) - set(clips)
    assert not left_out or max(frames[c] for c in clips) <= min(frames[c] for c in left_out)


def test_a_share_of_everything_changes_nothing():
    plan = plan_of(np.random.default_rng(0).integers(50, 400, 50))
    whole, shared = plan.batches(3), plan.batches(3, share=1.0)
    assert [batch.tolist() for batch in whole] == [batch.tolist() for batch in shared]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, math.nan])
def test_no_share_is_refused(share):
    with pytest.raises(ValueError, match="share is"):
        plan_of([3, 4]).batches(0, share=share)


@given(lengths.filter(bool), st.integers(1, 9))
def test_without_a_budget_epochs_are_alike_in_size(frames, size):
    plan = plan_of(frames, batch_size=size)
    sizes = [sorted(map(len, plan.batches(epoch))) for epoch in range(3)]
    assert sizes[0] == sizes[1] == sizes[2]
    assert len(sizes[0]) == -(-len(frames) // size)
    assert sizes[0][-1] - sizes[0][0] <= 1


def test_seed_and_epoch_change_who_meets_whom():
    frames = np.random.default_rng(0).integers(50, 400, 500)

    def companies(seed, epoch):
        return {frozenset(batch.tolist()) for batch in plan_of(frames, seed=seed).batches(epoch)}

    assert companies(0, 1) == companies(0, 1)
    assert len(companies(0, 1) & companies(0, 2)) < 10
    assert len(companies(0, 1) & companies(1, 1)) < 10


def test_buckets_save_padding_and_keep_batches_in_random_order():
    frames = np.random.default_rng(0).integers(50, 400, 1000)
    batches = plan_of(frames, batch_size=16).batches(0)
    padded = sum(len(batch) * frames[batch].max() for batch in batches)
    assert 1 - frames.sum() / padded < 0.12  # a plain shuffle pads about 40 %
    longest = [frames[batch].max() for batch in batches]
    assert longest[:12] != sorted(longest[:12], reverse=True)  # a bucket of 12 batches came sorted
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.5


def test_without_shuffling_the_longest_come_first_in_every_epoch():
    plan = plan_of([3, 9, 5, 9], batch_size=2, shuffle=False)
    assert [batch.tolist() for batch in plan.batches(0)] == [[1, 3], [2, 0]]
    assert [batch.tolist() for batch in plan.batches(7)] == [[1, 3], [2, 0]]


def test_a_clip_beyond_the_budget_travels_alone():
    assert [b.tolist() for b in plan_of([100, 3, 3], max_batch_frames=10, shuffle=False).batches(0)] == [
        [0],
        [1, 2],
    ]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_batch_frames": 0}, {"seed": -1}])
def test_impossible_sizes(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*; it is at least"):
        plan_of([1], **options)


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    plan_of(range(1, 50)).batches(3)
    assert (np.random.get_state()[1] == before).all()
