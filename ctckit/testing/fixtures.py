"""Fixtures for tests of plugins; pytest finds them by entry point, so that they are there without an import."""

from __future__ import annotations

import itertools
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

CLIPS = {"train": 48, "dev": 12, "test": 12}
LABELS = ("ant", "bee", "cat", "dog")
NOISE = 0.05


@dataclass(frozen=True, slots=True)
class TinyCorpus:
    """Three HDF5 files that a small model learns within seconds; each label is a bump in a column of its own.

    Attributes:
        train: 48 clips of 4 to 34 frames with 5 features.
        dev: 12 clips.
        test: 12 clips.
    """

    train: Path
    dev: Path
    test: Path


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """Corpora to train on within seconds."""
    import numpy as np

    from ctckit.data import CorpusWriter

    folder = tmp_path_factory.mktemp("tiny_corpus")
    columns = np.eye(len(LABELS) + 1, dtype=np.float32)
    for seed, (part, clips) in enumerate(CLIPS.items()):
        random = np.random.default_rng(seed)
        with CorpusWriter(folder / f"{part}.h5", len(columns), dtype="float32") as writer:
            for number in range(clips):
                labels = random.integers(0, len(LABELS), random.integers(1, 5))
                # a bump of 2 to 4 frames for each label, then 2 to 4 frames of rest
                order = [index for label in labels for index in (int(label), len(LABELS))]
                frames = np.repeat(columns[order], random.integers(2, 5, len(order)), axis=0)
                noise = NOISE * random.standard_normal(frames.shape)
                words = [LABELS[label] for label in labels]
                writer.add(f"{part}-{number:02d}", (frames + noise).astype(np.float32), words)
    return TinyCorpus(*(folder / f"{part}.h5" for part in CLIPS))


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A distribution that looks installed to this process and to those that it starts.

    Attributes:
        name: of the entry point, what ``--plugin`` takes.
        module: that holds it.
        folder: on the path, with the module and its metadata.
    """

    name: str
    module: str
    folder: Path


@pytest.fixture
def installed_plugin(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., InstalledPlugin]]:
    """Pretend to install a plugin, offline, until the test ends.

    Call it as ``installed_plugin(source, name="cosine")``. Further arguments: ``distribution`` (its name),
    ``version``, ``module``, and ``verbs`` (command-line verbs as ``{name: "module:command"}``).
    """
    numbers, modules = itertools.count(1), []

    def install(
        source: str,
        *,
        name: str = "example",
        distribution: str | None = None,
        version: str = "1.0",
        module: str | None = None,
        verbs: Mapping[str, str] | None = None,
    ) -> InstalledPlugin:
        distribution = distribution or f"ctckit-{name}"
        module = module or f"{distribution.replace('-', '_')}_{next(numbers)}"
        folder = tmp_path_factory.mktemp("site")
        (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        groups = {"ctckit": {name: module}, "ctckit.verbs": verbs or {}}
        lines = [
            line
            for group, points in groups.items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
        ]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(folder))
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
        modules.append(module)
        return InstalledPlugin(name, module, folder)

    yield install
    for module in modules:
        sys.modules.pop(module, None)
