"""Components to register or to put into a run, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ctckit import Batch, Emissions, Penalty, Progress, Regularizer
from ctckit.engine.run import ActivePhase
from ctckit.record.history import read_rows


@dataclass
class Half(Penalty):
    value: float = -0.5
    often: int = 1

    def shift(self, at: Progress) -> float:
        return self.value


def epochs(run: Any) -> list[dict[str, Any]]:
    rows = [row for row in read_rows(run.history.path) if row["kind"] == "epoch"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def swap(run: Any, **parts: Any) -> None:
    """Put planted components into the first phase."""
    name, phase = next(iter(run.phases.items()))
    given = {"penalty": phase.penalty, "regularizers": phase.regularizers, **parts}
    run.phases = {**run.phases, name: ActivePhase(phase.settings, phase.schedule, **given)}


class Watching(Regularizer):
    """Remembers the batches that it was given."""

    views: ClassVar[int] = 2

    def __init__(self) -> None:
        self.seen: list[Batch] = []

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        self.seen.append(batch)
        return emissions.logits_TBC.new_zeros(())
