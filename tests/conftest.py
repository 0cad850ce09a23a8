"""Fixtures that several folders of tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ctckit.data import CorpusWriter

LABELS = ("ant", "bee", "cat", "dog")


@dataclass(frozen=True)
class TinyCorpora:
    """Corpora that a small model learns within seconds: each label is a bump in a column of its own."""

    train: Path
    dev: Path
    test: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpora:
    folder = tmp_path_factory.mktemp("tiny")
    sizes = {"train": 48, "dev": 12, "test": 12}
    paths = {name: folder / f"{name}.h5" for name in sizes}
    for seed, (name, count) in enumerate(sizes.items()):
        write_bumps(paths[name], count, seed)
    return TinyCorpora(**paths)


def write_bumps(path: Path, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    with CorpusWriter(path, len(LABELS) + 1, dtype="float32") as writer:
        for number in range(count):
            labels = [LABELS[i] for i in random.integers(0, len(LABELS), random.integers(1, 5))]
            rows = []
            for label in labels:
                rows += [np.eye(len(LABELS) + 1)[LABELS.index(label)]] * int(random.integers(2, 5))
                rows += [np.eye(len(LABELS) + 1)[-1]] * int(random.integers(2, 5))
            features = np.array(rows, np.float32) + 0.05 * random.standard_normal((len(rows), len(LABELS) + 1))
            writer.add(
                f"{path.stem}-{number:03d}", features.astype(np.float32), labels, {"speaker": str(number % 4)}
            )
