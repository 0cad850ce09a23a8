"""A run over the tiny corpora that takes a second or two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ctckit.assemble import assemble
from ctckit.config import nest, resolve
from ctckit.engine.run import Run
from ctckit.plugin_host import load_plugins

MakeRun = Callable[..., Run]

QUICK = {
    "model.hidden_size": 16,
    "batch_size": 8,
    "phases.warmup.epochs": 2,
    "phases.warmup.schedule.epochs": 2,
    "phases.warmup.schedule.lr": 0.01,
    "phases.exploration.epochs": 2,
    "phases.exploration.schedule.lr": 0.01,
    "phases.consolidation.epochs": 1,
    "phases.fine_tuning.epochs": 1,
}


@pytest.fixture
def make_run(tiny: Any, tmp_path: Path) -> MakeRun:
    def make(
        settings: dict[str, Any] | None = None,
        *,
        folder: Path = tmp_path / "run",
        resume: Any = None,
        data: Any = tiny,
        plugins: tuple[str, ...] = ("hierarchical_fixed",),
    ) -> Run:
        folder.mkdir(exist_ok=True)
        registry, sources = load_plugins(plugins)
        corpora = {"data.train": data.train, "data.dev": data.dev}
        layers = [("quick", nest({**QUICK, **corpora})), ("test", nest(settings or {}))]
        config = resolve(registry.recipes["hierarchical_fixed"].value, layers)
        return assemble(config, registry, sources, folder, torch.device("cpu"), resume=resume).run

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for models this small
    yield
    torch.set_num_threads(before)


class Silent:
    """A display that remembers."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.epochs: list[Any] = []
        self.findings: list[Any] = []
        self.samples: list[Any] = []

    def step(self, result: Any) -> None:
        self.steps.append(result)

    def epoch(self, result: Any, best: bool) -> None:
        self.epochs.append((result, best))

    def finding(self, finding: Any, action: Any) -> None:
        self.findings.append((finding, action))

    def sample(self, sample: Any) -> None:
        self.samples.append(sample)


@pytest.fixture
def silent() -> Silent:
    return Silent()
