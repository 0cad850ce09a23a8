"""What the doctor's rules look at: one flat record an epoch, whichever history it comes from.

Torch-free, so that ``report`` and ``ctckit diagnose`` can read a run where no tensor is needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctckit.errors import DataError
from ctckit.types import PLATEAU_MARGIN

if TYPE_CHECKING:
    from ctckit.types import EpochResult

FIGURES = (
    "train_loss",
    "train_eval_loss",
    "train_wer",
    "val_loss",
    "val_wer",
    "blank_ratio",
    "raw_blank_ratio",
    "blank_reference",
    "unique_nonblank",
    "label_coverage",
    "deletion_rate",
    "insertion_rate",
    "length_ratio",
    "empty_share",
    "infeasible",
    "train_infeasible",
    "utterances",
    "overfit_ratio",
    "plateau_loss",
    "gradient_norm",
    "learning_rate",
    "shift",
    "dropout",
    "blank_bias",
    "blank_bias_start",
)
"""Columns that rules use, under the names and in the units of ``ctckit.types`` and of the history."""

OPTIONAL = frozenset({"dropout", "blank_bias", "blank_bias_start"})
"""Columns that stay empty where a model or a phase has no such thing."""

PARTS = ("module_gradients", "module_weights")
"""Columns that hold a figure for each top-level part of the model."""

DOCUMENT_COLUMNS = (
    "train_loss",
    "val_loss",
    "val_wer",
    "blank_ratio",
    "unique_nonblank",
    "overfit_ratio",
)
"""What the founding document's training script records; the least that a diagnosis can start from."""

ALIASES = {
    "lr": "learning_rate",
    "grad_norm": "gradient_norm",
    "wer": "val_wer",
    "blank_penalty": "shift",
    "unique_non_blank": "unique_nonblank",
}
"""Other spellings of columns that are understood in a foreign history."""

SHARES = ("val_wer", "train_wer", "blank_ratio", "raw_blank_ratio", "blank_reference")
"""Columns in per cent that other scripts record as shares of one."""

CONTAINERS = ("history", "training_history", "epochs", "metrics")
"""Keys under which a foreign JSON file may keep its epochs."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The figures of one epoch. None means not recorded; a figure that was not finite is named instead.

    Attributes:
        epoch: from 1.
        phase: its name, or empty.
        domain: where the blank shift acts, or empty.
        not_finite: figures that were recorded as NaN or infinite.
        module_gradients: mean gradient norm of each top-level part of the model, None where no loss reached it.
        module_weights: norm of each part's weights.

    The other attributes are those of ``FIGURES``: losses in nats per token, rates and shares in per cent.
    """

    epoch: int
    phase: str = ""
    domain: str = ""
    not_finite: tuple[str, ...] = ()
    train_loss: float | None = None
    train_eval_loss: float | None = None
    train_wer: float | None = None
    val_loss: float | None = None
    val_wer: float | None = None
    blank_ratio: float | None = None
    raw_blank_ratio: float | None = None
    blank_reference: float | None = None
    unique_nonblank: float | None = None
    label_coverage: float | None = None
    deletion_rate: float | None = None
    insertion_rate: float | None = None
    length_ratio: float | None = None
    empty_share: float | None = None
    infeasible: float | None = None
    train_infeasible: float | None = None
    utterances: float | None = None
    overfit_ratio: float | None = None
    plateau_loss: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    shift: float | None = None
    dropout: float | None = None
    blank_bias: float | None = None
    blank_bias_start: float | None = None
    module_gradients: Mapping[str, float | None] = field(default_factory=dict)
    module_weights: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def fit(self) -> float | None:
        """Training loss: in evaluation mode where that was recorded, else the mean over the epoch's steps."""
        return self.train_loss if self.train_eval_loss is None else self.train_eval_loss

    @property
    def on_plateau(self) -> bool | None:
        """Whether the training loss is no better than the unigram plateau; None where that was not recorded."""
        if self.plateau_loss is None or self.fit is None:
            return None
        return not self.fit < (1.0 - PLATEAU_MARGIN) * self.plateau_loss

    @property
    def substitution_rate(self) -> float | None:
        """Substitutions per reference token, per cent."""
        if self.val_wer is None or self.deletion_rate is None or self.insertion_rate is None:
            return None
        return self.val_wer - self.deletion_rate - self.insertion_rate

    @property
    def label_frames(self) -> float | None:
        """Frames that show a label, per reference token: 1 for one-frame spikes, 0 for blanks only."""
        if self.blank_ratio is None or self.blank_reference is None or self.blank_reference >= 100.0:
            return None
        return (100.0 - self.blank_ratio) / (100.0 - self.blank_reference)

    @property
    def generalisation(self) -> float | None:
        """Dev loss over training loss."""
        if self.overfit_ratio is not None:
            return self.overfit_ratio
        if self.val_loss is None or not self.fit or self.fit <= 0:
            return None
        return self.val_loss / self.fit


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run as far as its history tells it.

    Attributes:
        name: file or folder.
        observations: in order of epochs.
        config: the configuration, empty where the history holds none.
        planned_epochs: that the run was to have, or None.
        missing: figures that no epoch records.
        notes: what was assumed while reading, a sentence each.
    """

    name: str
    observations: tuple[Observation, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    planned_epochs: int | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def observation_of(epoch: EpochResult) -> Observation:
    """Flatten a finished epoch, as a monitor sees it."""
    val = epoch.val
    return from_row(
        {
            "epoch": epoch.at.epoch,
            "phase": epoch.at.phase,
            "domain": epoch.domain,
            "train_loss": epoch.train_loss,
            "train_eval_loss": epoch.train.loss,
            "train_wer": epoch.train.wer,
            "val_loss": val.loss,
            "val_wer": val.wer,
            "blank_ratio": val.blank_ratio,
            "raw_blank_ratio": val.raw_blank_ratio,
            "blank_reference": val.blank_reference,
            "unique_nonblank": val.unique_nonblank,
            "label_coverage": val.label_coverage,
            "deletion_rate": val.deletion_rate,
            "insertion_rate": val.insertion_rate,
            "length_ratio": val.length_ratio,
            "empty_share": val.empty_share,
            "infeasible": val.infeasible,
            "train_infeasible": epoch.train.infeasible,
            "utterances": val.utterances,
            "overfit_ratio": epoch.overfit_ratio,
            "plateau_loss": epoch.plateau_loss,
            "gradient_norm": epoch.gradient_norm,
            "learning_rate": epoch.learning_rate,
            "shift": epoch.shift,
            "dropout": epoch.dropout,
            "blank_bias": epoch.blank_bias,
            "blank_bias_start": epoch.blank_bias_start,
            "module_gradients": dict(epoch.module_gradients),
            "module_weights": dict(epoch.module_weights),
        },
        f"epoch {epoch.at.epoch}",
    )


def from_row(row: Mapping[str, Any], place: str) -> Observation:
    """Read one epoch.

    Args:
        row: columns by name; null, NaN and infinity mean recorded, but not finite.
        place: file and line, for messages.

    Raises:
        DataError: a column has the wrong type.
    """
    number = row.get("epoch")
    if isinstance(number, bool) or not isinstance(number, int):
        raise DataError(f"{place}: 'epoch' is {json.dumps(number)}, not a whole number")
    figures: dict[str, float | None] = {}
    not_finite = []
    for name in FIGURES:
        if name not in row or (row[name] is None and name in OPTIONAL):
            continue
        value = row[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DataError(f"{place}: '{name}' is {json.dumps(value)}, not a number")
        if value is None or not math.isfinite(value):
            not_finite.append(name)
        else:
            figures[name] = float(value)
    texts = {name: str(row.get(name) or "") for name in ("phase", "domain")}
    parts = {name: _by_part(row.get(name), name, place) for name in PARTS}
    return Observation(epoch=number, not_finite=tuple(not_finite), **texts, **figures, **parts)  # type: ignore[arg-type]


def _by_part(value: Any, name: str, place: str) -> dict[str, float | None]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or any(
        item is not None and (isinstance(item, bool) or not isinstance(item, (int, float)))
        for item in value.values()
    ):
        raise DataError(f"{place}: '{name}' is {json.dumps(value)}, not an object of numbers")
    return {str(part): item for part, item in value.items()}


def recorded_from_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> Recorded:
    """Read ctckit's own history.

    Args:
        rows: of ``history.jsonl``; row ``n`` is line ``n + 1``.
        path: of the file, for messages.

    Raises:
        DataError: it does not begin with the provenance of a run, or a column has the wrong type.
    """
    if rows[0].get("kind") != "run":
        raise DataError(
            f"{path}, line 1: starts with a row '{rows[0].get('kind')}', not 'run'; no history of a run"
        )
    epochs = {}
    for number, row in enumerate(rows, 1):
        if row.get("kind") == "epoch":
            observation = from_row(row, f"{path}, line {number}")
            epochs[observation.epoch] = observation
    config = rows[0].get("config")
    config = config if isinstance(config, Mapping) else {}
    phases = config.get("phases")
    planned = (
        sum(int(phase.get("epochs", 0)) for phase in phases.values() if isinstance(phase, Mapping))
        if isinstance(phases, Mapping)
        else None
    )
    ordered = tuple(epochs[number] for number in sorted(epochs))
    return Recorded(
        name=path.resolve().parent.name,
        observations=ordered,
        config=config,
        planned_epochs=planned or None,
        missing=_missing(ordered),
    )


def recorded_from_json(content: Any, path: Path) -> Recorded:
    """Read the JSON history of the founding document's training script, or of one like it.

    A list of objects, one an epoch; an object of columns, each a list; or either of them under a key such as
    ``history``. Missing columns are tolerated and named in the outcome.

    Raises:
        DataError: no such thing, or a column has the wrong type.
    """
    if isinstance(content, Mapping):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), (list, dict))), None)
        if inner is not None:
            content = inner
    notes: list[str] = []
    rows = _as_rows(content, path)
    rows = [{ALIASES.get(name, name): value for name, value in row.items()} for row in rows]
    present = {name for row in rows for name in row}
    if not present & set(DOCUMENT_COLUMNS):
        raise DataError(
            f"{path}: none of the columns {', '.join(DOCUMENT_COLUMNS)}; there is {', '.join(sorted(present)[:8])}"
        )
    if any("epoch" not in row for row in rows):
        rows = [{**row, "epoch": number} for number, row in enumerate(rows, 1)]
    elif len({json.dumps(row["epoch"]) for row in rows}) < len(rows):
        rows = [{**row, "epoch": number} for number, row in enumerate(rows, 1)]
        notes.append("Epoch numbers occur twice (they start again in each stage), so epochs were counted anew.")
    if "phase" not in present and "stage" in present:
        rows = [{**row, "phase": f"stage {row.get('stage')}"} for row in rows]
    shares = [name for name in SHARES if name in present]
    values = [row[name] for row in rows for name in shares if isinstance(row.get(name), (int, float))]
    if values and max(values) <= 1.5 and any(value > 0.0 for value in values):
        rows = [
            {
                name: 100.0 * value if name in shares and isinstance(value, (int, float)) else value
                for name, value in row.items()
            }
            for row in rows
        ]
        notes.append(f"{', '.join(shares)} never exceed 1.5: read as shares of one and multiplied by 100.")
    unknown = sorted(present - set(FIGURES) - set(PARTS) - {"epoch", "phase", "stage", "domain"})
    if unknown:
        notes.append(f"Columns that no rule uses: {', '.join(unknown)}.")
    observations = tuple(from_row(row, f"{path}, epoch {number}") for number, row in enumerate(rows, 1))
    ordered = tuple(sorted(observations, key=lambda one: one.epoch))
    return Recorded(path.name, ordered, missing=_missing(ordered), notes=tuple(notes))


def _as_rows(content: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(content, Mapping) and content and all(isinstance(column, list) for column in content.values()):
        lengths = {name: len(column) for name, column in content.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise DataError(f"{path}: the columns have different lengths ({listed}); one value an epoch is needed")
        content = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]
    if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
        raise DataError(f"{path}: neither a list of epochs nor an object of columns; see `ctckit diagnose --help`")
    if not content:
        raise DataError(f"{path}: holds no epochs")
    return [dict(row) for row in content]


def _missing(observations: Sequence[Observation]) -> tuple[str, ...]:
    return tuple(
        name
        for name in FIGURES
        if name not in OPTIONAL
        and all(getattr(one, name) is None and name not in one.not_finite for one in observations)
    )
