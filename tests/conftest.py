"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from warm import SECONDS, Warm

from ctckit.data import CorpusWriter

LABELS = ("ant", "bee", "cat", "dog")


@dataclass(frozen=True)
class TinyCorpora:
    """Corpora that a small model learns within seconds: each label is a bump in a column of its own."""

    train: Path
    dev: Path
    test: Path


@pytest.fixture(scope="session")
def cli() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs ``ctckit`` in a process of its own, forked from a warm one unless options say how it has to start."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    warm = Warm(environment)

    def run(*arguments: Any, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        given = [str(argument) for argument in arguments]
        if not options:
            return warm.run("ctckit", given, cwd or Path.cwd())
        options["env"] = {**environment, **options.get("env", {})}
        command = [sys.executable, "-m", "ctckit", *given]
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=SECONDS, **options
        )

    yield run
    warm.close()


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
