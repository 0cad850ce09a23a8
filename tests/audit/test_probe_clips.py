from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctckit.audit.probe_clips import Lengths, batches_of, known_clips, one_batch, pairs
from ctckit.data import Targets


@st.composite
def corpora(draw: st.DrawFn) -> Lengths:
    labels = draw(st.lists(st.lists(st.integers(1, 4), max_size=5), min_size=1, max_size=60))
    frames = np.array([draw(st.integers(1, 12)) for _ in labels], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, labels)]).astype(np.int64)
    values = np.array([label for clip in labels for label in clip], dtype=np.int64)
    return Lengths(frames, (frames + 1) // 2, Targets(values, offsets))


@given(corpora(), st.integers(2, 40))
def test_chosen_clips_have_paths_where_they_are_needed(lengths: Lengths, most: int) -> None:
    needed, out, frames = lengths.targets.needed_frames, lengths.output_frames, lengths.frames
    one = one_batch(lengths)
    assert len({lengths.targets[index].tobytes() for index in one}) == len(one) <= 8
    if len(one):
        assert needed[one].max() <= out[one].min()
        assert needed[one].min() > 0
    known = known_clips(lengths, most)
    assert len(known) <= most
    assert (needed[known] > 0).all()
    chosen = pairs(lengths, known, frozenset({1, 2, 3}), most)
    assert len(chosen) <= most
    assert len(set(chosen.tolist())) == len(chosen)
    assert not set(chosen.tolist()) & set(known.tolist())
    for a, b in chosen.reshape(-1, 2):
        assert max(needed[a], needed[b]) <= min(out[a], out[b])
        assert not np.array_equal(lengths.targets[a], lengths.targets[b])
        assert not {4} & {*lengths.targets[a].tolist(), *lengths.targets[b].tolist()}
    # a batch keeps the order only of clips that come longest first, and pairs must stay together
    for indices in (one, known, chosen):
        assert (np.diff(frames[indices]) <= 0).all()
    cut = batches_of(chosen, frames, 5, 24)
    assert [index for batch in cut for index in batch.tolist()] == chosen.tolist()
    for batch in cut:
        assert len(batch) % 2 == 0
        assert len(batch) <= 4
        assert len(batch) == 2 or len(batch) * frames[batch].max() <= 24
