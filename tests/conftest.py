"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from courses import SPIKY, Make
from hypothesis import register_random, settings
from suite import PassedBefore, SlowestFirst
from warm import SECONDS, Warm

from ctckit.data import CorpusWriter
from ctckit.record.epoch import Epoch

# What a change must pass is the same for everybody. New examples are drawn on request, and again by their seed.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("fixed")


class TorchRandom:
    """The random state of torch as hypothesis wants it, so that an example is the same whenever it is run."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


TORCH_RANDOM = TorchRandom()  # hypothesis holds no reference of its own
register_random(TORCH_RANDOM)

LABELS = ("ant", "bee", "cat", "dog")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run tests of csrc that passed before with these sources")
    parser.addoption("--store-seconds", action="store_true", help="write what each file took to tests/seconds.json")


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads its seed
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile") == "random" and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = secrets.randbelow(2**32)
    config.pluginmanager.register(SlowestFirst(store=config.getoption("--store-seconds")))
    config.pluginmanager.register(PassedBefore(full=config.getoption("--full")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seed = config.getoption("--hypothesis-seed")
    if seed is not None:
        again = f"--hypothesis-profile=random --hypothesis-seed={seed}"
        terminalreporter.write_line(f"examples were drawn at random; draw the same with {again}")


@pytest.fixture(autouse=True)
def _same_numbers(request: pytest.FixtureRequest) -> None:
    """Tests that draw without a seed draw the same alone and after others, and others by --hypothesis-seed."""
    seed = int(request.config.getoption("--hypothesis-seed") or 0)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


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


@pytest.fixture
def spiky() -> Make:
    def make(epoch: int = 20, **changes: Any) -> Epoch:
        return Epoch(epoch=epoch, phase="main", domain="logit", **{**SPIKY, **changes})

    return make


@pytest.fixture
def make_quick() -> Callable[..., list[str]]:
    """Options of a run over the tiny corpora that takes two seconds."""

    def make(corpora: Any, folder: Any) -> list[str]:
        phases = ("warmup", "exploration", "consolidation", "fine_tuning")
        options = ["--data", str(corpora.train), "--dev", str(corpora.dev), "--out", str(folder), "--threads", "1"]
        for setting in ("model.hidden_size=8", *(f"phases.{name}.epochs=1" for name in phases)):
            options += ["--set", setting]
        return options

    return make
