import numpy as np
import pytest

from ctckit.data import (
    build_demo,
    describe,
    open_corpus,
)
from ctckit.data.demo import DIGIT_COLUMNS, demo_lines
from ctckit.errors import DataError

# Demo


def test_demo_corpus(tmp_path):
    pytest.importorskip("sklearn")
    paths = build_demo(tmp_path / "x" / "demo")
    parts = [open_corpus(path) for path in (paths.train, paths.dev, paths.test)]
    assert [len(part) for part in parts] == [2000, 200, 300]
    for part in parts:
        assert part.feature_size == 8
        assert len(part.alphabet()) == 11
        assert {len(part.transcript(i)) for i in range(len(part))} == set(range(3, 9))
        assert describe(part).infeasible == ()
        assert part.features(0).max() <= 1
    for index, line in enumerate(demo_lines("test")):
        assert (line.clip_id, line.digits) == (parts[2].ids[index], parts[2].transcript(index))
        ends = [start + DIGIT_COLUMNS for start in line.starts]
        assert line.starts[0] == 0
        assert ends[-1] == len(line.features_TF)
        for end, start in zip(ends, line.starts[1:], strict=False):
            assert 0 <= start - end <= 3
            assert not line.features_TF[end:start].any()
    again = build_demo(tmp_path / "again")
    assert open_corpus(again.dev).fingerprint() == parts[1].fingerprint()


def test_demo_images_are_disjoint(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    import ctckit.data.demo as demo

    # Every image carries its own number, so that lines tell which images they hold.
    numbered = np.repeat(np.arange(1, 1798), 64).reshape(-1, 8, 8).astype(np.float32)
    monkeypatch.setattr(demo, "_digits", lambda: (numbered, np.arange(1797) % 10))
    paths = build_demo(tmp_path)
    used = []
    for path in (paths.train, paths.dev, paths.test):
        part = open_corpus(path)
        used.append({int(v) for i in range(len(part)) for v in np.unique(part.features(i))} - {0})
    assert not used[0] & used[1]
    assert not used[0] & used[2]
    assert not used[1] & used[2]
    assert len(used[0]) > 1200


def test_demo_without_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"pip install 'ctckit\[demo\]'"):
        build_demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
