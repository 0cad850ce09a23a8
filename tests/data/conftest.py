"""Small corpora, made on the spot, and the way to the real ones where they are present."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ctckit.data import CorpusWriter

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def an4() -> Path:
    folder = SHARED / "an4"
    if not folder.is_dir():
        pytest.skip(f"AN4 is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def phoenix() -> Path:
    folder = SHARED / "phoenix14t-labels"
    if not folder.is_dir():
        pytest.skip(f"the labels of PHOENIX-2014T are not at {folder}")
    return folder


@pytest.fixture
def grouped(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file with one group a clip: name -> (features, attributes)."""

    def write(clips: dict[str, tuple[Any, dict[str, Any]]], name: str = "grouped.h5") -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for clip, (features, attributes) in clips.items():
                group = file.create_group(clip)
                if features is not None:
                    group["features"] = features
                group.attrs.update(attributes)
        return path

    return write


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """37 clips of 3 columns and 5 to 60 frames, three speakers."""
    path = tmp_path_factory.mktemp("packed") / "packed.h5"
    rng = np.random.default_rng(0)
    words = ["one", "two", "three", "four"]
    with CorpusWriter(path, 3, dtype="float32") as writer:
        for clip in range(37):
            features = rng.normal(size=(rng.integers(5, 61), 3)).astype(np.float32)
            tokens = rng.choice(words, size=rng.integers(1, 5)).tolist()
            writer.add(f"clip{clip:02d}", features, tokens, {"speaker": f"s{clip % 3}"})
    return path
