"""Reads the history of a run into frozen, typed records. No judgement here: that is ``verdict.py``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ctckit.errors import DataError
from ctckit.record.history import HISTORY, read_rows

RESUMABLE = frozenset({"interrupted", "out of time", "out of updates"})
"""Reasons of a closing row after which the run can be resumed."""

LOSSES = frozenset({"train_loss", "train_eval_loss", "val_loss", "plateau_loss"})
"""Columns that end in ``_loss`` and are not an auxiliary head's."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a corpus. None stands for a figure that was not finite or was not recorded.

    Units are those of the history: losses in nats per token, ``_rate``, ``_share``, ``_ratio`` of blanks and
    ``wer`` in per cent, ``blank_mass`` from 0 to 1.
    """

    wer: float | None
    loss: float | None
    substitutions: float | None
    deletions: float | None
    insertions: float | None
    reference_tokens: float | None
    blank_ratio: float | None
    raw_blank_ratio: float | None
    blank_reference: float | None
    blank_mass: float | None
    unique_nonblank: float | None
    label_coverage: float | None
    length_ratio: float | None
    empty_share: float | None
    sentence_error_rate: float | None
    infeasible: float | None
    entropy: float | None
    coverage_rare: float | None
    coverage_medium: float | None
    coverage_frequent: float | None
    collapsed: bool

    @property
    def substitution_rate(self) -> float | None:
        """Substitutions per reference token, per cent."""
        return self._rate(self.substitutions)

    @property
    def deletion_rate(self) -> float | None:
        """Deletions per reference token, per cent."""
        return self._rate(self.deletions)

    @property
    def insertion_rate(self) -> float | None:
        """Insertions per reference token, per cent."""
        return self._rate(self.insertions)

    @property
    def frames_a_token(self) -> float | None:
        """Frames that show a label, per reference token: 1 for one-frame spikes, 0 for blanks only."""
        if self.blank_ratio is None or self.blank_reference is None or self.blank_reference >= 100.0:
            return None
        return (100.0 - self.blank_ratio) / (100.0 - self.blank_reference)

    def _rate(self, count: float | None) -> float | None:
        return 100.0 * count / self.reference_tokens if count is not None and self.reference_tokens else None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished epoch.

    Attributes:
        epoch: from 1.
        phase: its name.
        dev: scores of the dev corpus.
        on_plateau: whether the network did no better than one fixed distribution for every frame.
        auxiliary_losses: of the auxiliary heads, by name.
        domain: where the blank shift acts; empty if not recorded.
        module_gradients: mean gradient norm of each top-level part of the model, None where no loss reached it.

    The other figures are those of the history's row, None where not finite or not recorded.
    """

    epoch: int
    phase: str
    dev: Scores
    on_plateau: bool
    auxiliary_losses: Mapping[str, float | None]
    domain: str
    module_gradients: Mapping[str, float | None]
    phase_epoch: float | None
    update: float | None
    frames: float | None
    train_loss: float | None
    train_eval_loss: float | None
    train_wer: float | None
    train_infeasible: float | None
    plateau_loss: float | None
    overfit_ratio: float | None
    gradient_norm: float | None
    learning_rate: float | None
    shift: float | None
    blank_bias: float | None
    blank_bias_start: float | None
    dropout: float | None
    max_frames: float | None
    cropped: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase, planned or seen.

    Attributes:
        name: of the phase.
        planned: epochs that the configuration gives it, or None if it does not say.
        epochs: the finished ones; empty if the run has not come so far.
    """

    name: str
    planned: int | None
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was noted beside the epochs: a finding, an action with its finding, or a resumption.

    Attributes:
        kind: finding, action or resume.
        epoch: after which it was noted.
        monitor: that reported it.
        rule: stable identifier of the finding.
        severity: info, warning or error.
        message: one readable line.
        evidence: the figures that it rests on.
        advice: what to do about it.
        source: where the rule comes from.
        action: what was done; empty where nothing was.
        values: parameters of the action.
    """

    kind: str
    epoch: int
    monitor: str = ""
    rule: str = ""
    severity: str = "info"
    message: str = ""
    evidence: Mapping[str, Any] | None = None
    advice: str = ""
    source: str = ""
    action: str = ""
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CorpusScores:
    """Scores of a corpus after training.

    Attributes:
        corpus: its path, as the run was given it.
        epoch: of the checkpoint that was scored.
        scores: of the corpus.
        unknown: tokens of it that training never saw.
    """

    corpus: str
    epoch: int
    scores: Scores
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A run, as its history tells it.

    Attributes:
        name: of the run's folder.
        provenance: the first row, without the configuration and the list of clips left out.
        config: the configuration.
        dropped: ids of training clips left out because they have no CTC path.
        phases: in the order of the configuration.
        epochs: in order.
        events: findings, actions and resumptions in the order of the history.
        ending: the closing row, or None while there is none.
        tests: scores of corpora after training.
        unknown_rows: rows of kinds that this report knows nothing of, counted by kind.
    """

    name: str
    provenance: Mapping[str, Any]
    config: Mapping[str, Any]
    dropped: tuple[str, ...]
    phases: tuple[PhaseSpan, ...]
    epochs: tuple[Epoch, ...]
    events: tuple[Event, ...]
    ending: Mapping[str, Any] | None
    tests: tuple[CorpusScores, ...]
    unknown_rows: Mapping[str, int]

    @property
    def planned_epochs(self) -> int | None:
        """Epochs that the configuration plans, or None if it does not say."""
        planned = [phase.planned for phase in self.phases]
        return sum(count for count in planned if count is not None) if planned and None not in planned else None

    @property
    def plateau_loss(self) -> float | None:
        """The unigram plateau of the training corpus, nats per token."""
        value = self.provenance.get("plateau_loss")
        if isinstance(value, (int, float)):
            return float(value)
        return self.epochs[-1].plateau_loss if self.epochs else None

    @property
    def first_escape(self) -> Epoch | None:
        """The first epoch off the plateau, whether or not it was the last time."""
        return next((epoch for epoch in self.epochs if not epoch.on_plateau), None)

    @property
    def last_on_plateau(self) -> Epoch | None:
        """The last epoch on the plateau."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.on_plateau), None)

    @property
    def left_plateau(self) -> Epoch | None:
        """The epoch from which on no epoch is on the plateau, or None while the last one is."""
        last = self.last_on_plateau
        return next((epoch for epoch in self.epochs if last is None or epoch.epoch > last.epoch), None)

    @property
    def best(self) -> Epoch | None:
        """Fewest word errors, then lowest loss; never a collapsed epoch. The rule of the training loop."""
        infinite = math.inf
        kept = [epoch for epoch in self.epochs if not epoch.dev.collapsed and epoch.dev.wer is not None]
        return min(
            kept,
            key=lambda epoch: (epoch.dev.wer, infinite if epoch.dev.loss is None else epoch.dev.loss),
            default=None,
        )

    @property
    def goes_on(self) -> bool:
        """Whether more epochs may come: there is no closing row, or it says that the run can be resumed."""
        return self.ending is None or self.ending.get("reason") in RESUMABLE

    @property
    def all_collapsed(self) -> bool:
        """Whether there are epochs, and next to nothing was emitted in any of them."""
        return bool(self.epochs) and all(epoch.dev.collapsed for epoch in self.epochs)

    @property
    def target_wer(self) -> float | None:
        """Word error rate at which the run counts as successful, per cent."""
        value = self.config.get("target_wer", (self.ending or {}).get("target_wer"))
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def target_reached(self) -> bool | None:
        """Whether the best epoch reaches the target; None where there is no target."""
        if self.target_wer is None:
            return None
        return self.best is not None and self.best.dev.wer is not None and self.best.dev.wer <= self.target_wer

    @property
    def actions(self) -> tuple[Event, ...]:
        """What monitors had done."""
        return tuple(event for event in self.events if event.kind == "action")

    @property
    def resumed(self) -> tuple[int, ...]:
        """Epochs at which the run was resumed."""
        return tuple(event.epoch for event in self.events if event.kind == "resume")


def read_summary(run: Path) -> Summary:
    """Read the history of a run.

    Args:
        run: the run's folder, or its ``history.jsonl``.

    Raises:
        DataError: missing, empty or not the history of a run; names the file, the line and the reason.
    """
    path = run if run.is_file() else run / HISTORY
    return summarise(read_rows(path), path)


def summarise(rows: Sequence[Mapping[str, Any]], path: Path) -> Summary:
    """Turn rows into a summary.

    Args:
        rows: as ``read_rows`` returns them.
        path: of the history, for messages and for the name of the run.

    Raises:
        DataError: the rows are not those of a run.
    """
    if rows[0]["kind"] != "run":
        raise DataError(
            f"{path}, line 1: starts with a row '{rows[0]['kind']}', not 'run'; not the history of a run"
        )
    epochs: dict[int, Epoch] = {}
    events: list[Event] = []
    tests: list[CorpusScores] = []
    unknown: dict[str, int] = {}
    ending: Mapping[str, Any] | None = None
    for number, values in enumerate(rows[1:], 2):
        row = _Row(values, f"{path}, line {number}")
        match row.kind:
            case "epoch":
                epoch = _epoch(row)
                epochs[epoch.epoch] = epoch
                ending = None
            case "finding":
                events.append(_finding(row, row))
            case "action":
                events.append(_action(row))
            case "resume":
                events.append(Event("resume", row.integer("epoch")))
                ending = None
            case "end":
                ending = values
            case "test":
                names = row.values.get("unknown")
                tests.append(
                    CorpusScores(
                        row.text("corpus"),
                        row.integer("epoch"),
                        _scores(row, "wer", "loss"),
                        tuple(map(str, names)) if isinstance(names, list) else (),
                    )
                )
            case kind:
                unknown[kind] = unknown.get(kind, 0) + 1
    ordered = tuple(epochs[number] for number in sorted(epochs))
    first = {key: value for key, value in rows[0].items() if key not in ("kind", "config", "dropped")}
    config = rows[0].get("config")
    config = config if isinstance(config, Mapping) else {}
    dropped = rows[0].get("dropped")
    return Summary(
        name=path.resolve().parent.name,
        provenance=first,
        config=config,
        dropped=tuple(map(str, dropped)) if isinstance(dropped, list) else (),
        phases=_phases(config, ordered),
        epochs=ordered,
        events=tuple(events),
        ending=ending,
        tests=tuple(tests),
        unknown_rows=unknown,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, with checks that name the line."""

    values: Mapping[str, Any]
    place: str

    @property
    def kind(self) -> str:
        return str(self.values["kind"])

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DataError(f"{self.place}: '{key}' is {json.dumps(value)}, not a number")
        return value if math.isfinite(value) else None

    def integer(self, key: str) -> int:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{self.place}: '{key}' is {json.dumps(value)}, not a whole number")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise DataError(f"{self.place}: '{key}' is {json.dumps(value)}, not true or false")
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return "" if value is None else str(value)

    def table(self, key: str) -> Mapping[str, Any]:
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise DataError(f"{self.place}: '{key}' is {json.dumps(value)}, not an object")
        return value or {}


def _scores(row: _Row, wer: str, loss: str) -> Scores:
    named = {"wer": wer, "loss": loss}
    numbers = [field.name for field in fields(Scores) if field.name != "collapsed"]
    values: dict[str, Any] = {name: row.number(named.get(name, name)) for name in numbers}
    return Scores(**values, collapsed=row.flag("collapsed"))


def _epoch(row: _Row) -> Epoch:
    own = ("epoch", "phase", "dev", "on_plateau", "auxiliary_losses", "domain", "module_gradients")
    values: dict[str, Any] = {
        field.name: row.number(field.name) for field in fields(Epoch) if field.name not in own
    }
    parts = _Row(row.table("module_gradients"), f"{row.place}, 'module_gradients'")
    heads = [key for key in row.values if key.endswith("_loss") and key not in LOSSES]
    return Epoch(
        epoch=row.integer("epoch"),
        phase=row.text("phase"),
        dev=_scores(row, "val_wer", "val_loss"),
        on_plateau=row.flag("on_plateau"),
        auxiliary_losses={key.removesuffix("_loss"): row.number(key) for key in heads},
        domain=row.text("domain"),
        module_gradients={part: parts.number(part) for part in parts.values},
        **values,
    )


def _finding(row: _Row, finding: _Row) -> Event:
    return Event(
        kind="finding",
        epoch=row.integer("epoch"),
        monitor=row.text("monitor"),
        rule=finding.text("rule"),
        severity=finding.text("severity") or "info",
        message=finding.text("message"),
        evidence=finding.table("evidence"),
        advice=finding.text("advice"),
        source=finding.text("source"),
    )


def _action(row: _Row) -> Event:
    why = _finding(row, _Row(row.table("finding"), row.place))
    known = ("kind", "epoch", "monitor", "action", "finding")
    return Event(
        kind="action",
        epoch=why.epoch,
        monitor=why.monitor,
        rule=why.rule,
        severity=why.severity,
        message=why.message,
        evidence=why.evidence,
        advice=why.advice,
        source=why.source,
        action=row.text("action"),
        values={key: value for key, value in row.values.items() if key not in known},
    )


def _phases(config: Mapping[str, Any], epochs: Sequence[Epoch]) -> tuple[PhaseSpan, ...]:
    settings = config.get("phases")
    planned: dict[str, int | None] = {}
    if isinstance(settings, Mapping):
        for name, phase in settings.items():
            count = phase.get("epochs") if isinstance(phase, Mapping) else None
            planned[name] = count if isinstance(count, int) else None
    for epoch in epochs:
        planned.setdefault(epoch.phase, None)
    return tuple(
        PhaseSpan(name, count, tuple(epoch for epoch in epochs if epoch.phase == name))
        for name, count in planned.items()
    )
