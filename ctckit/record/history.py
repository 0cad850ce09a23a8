"""The history of a run: JSON lines, one row an epoch, after a first row with the provenance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctckit.actions import Action
from ctckit.errors import DataError
from ctckit.record.calibration import Calibrated, calibrated_from_row
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES, described_table
from ctckit.types import Figure, Finding, Sample

HISTORY = "history.jsonl"
"""In the folder of a run."""

CUT = "cut off"
"""Kind of what is no row yet, or never will be: a last line without its end."""


class History:
    """What happened in a run, as JSON lines that are appended to and cut back to what a checkpoint knows of.

    Each row has a ``kind``: run (the provenance, first), resume, epoch, finding, action, sample, end, test,
    calibration.

    Args:
        path: the file; created with its first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes written so far; a checkpoint stores them, so that resuming can drop what came after."""
        return self.path.stat().st_size if self.path.exists() else 0

    def truncate(self, size: int) -> None:
        """Drop the rows that were written after the checkpoint from which the run goes on.

        Raises:
            DataError: the file is shorter than the checkpoint says.
        """
        if self.size < size:
            raise DataError(f"{self.path}: has {self.size} bytes, the checkpoint expects {size}; it was changed")
        if self.size > size:
            os.truncate(self.path, size)

    def append(self, kind: str, **values: Any) -> None:
        """Write one row through to the file.

        Raises:
            DataError: the file cannot be written.
        """
        row = json.dumps(finite({"kind": kind, **values}), ensure_ascii=False, allow_nan=False)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(row + "\n")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}; make room and resume") from error

    def note(self, epoch: int, monitor: str, outcome: Finding | Action | Sample) -> None:
        """Write a finding, an applied action with its finding, or a sample; epoch 0 is before the first step.

        Raises:
            DataError: the file cannot be written.
        """
        if isinstance(outcome, Action):
            self.append("action", epoch=epoch, monitor=monitor, **action_row(outcome))
        elif isinstance(outcome, Sample):
            self.append("sample", epoch=epoch, monitor=monitor, **asdict(outcome))
        else:
            self.append("finding", epoch=epoch, monitor=monitor, **finding_row(outcome))


def finding_row(finding: Finding) -> dict[str, Any]:
    """Flatten a finding."""
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "message": finding.message,
        "evidence": dict(finding.evidence),
        "advice": finding.advice,
        "source": finding.source,
    }


def action_row(action: Action) -> dict[str, Any]:
    """Flatten an action with the finding behind it."""
    values = {name: getattr(action, name) for name in action.__dataclass_fields__ if name != "finding"}
    return {"action": type(action).__name__, **values, "finding": finding_row(action.finding)}


RESUMABLE = frozenset({"interrupted", "out of time", "out of updates"})
"""Reasons of a closing row after which the run can be resumed."""


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
        finding: what was found; None for a resumption.
        action: what was done; empty where nothing was.
        values: parameters of the action.
    """

    kind: str
    epoch: int
    monitor: str = ""
    finding: Finding | None = None
    action: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptSample:
    """A decoded clip as it was after an epoch."""

    epoch: int
    sample: Sample


@dataclass(frozen=True, slots=True)
class CorpusScores:
    """Scores of a corpus after training.

    Attributes:
        corpus: its path, as the run was given it.
        scores: of the epoch that was tested; the figures that an epoch has of dev are those of this corpus.
        unknown: tokens of it that training never saw.
    """

    corpus: str
    scores: Epoch
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ColumnRead:
    """What a column of another program's history was taken for.

    Attributes:
        figure: its name in the table.
        column: its name in the file.
        unit: share or percent; empty where it has no share.
        told_by: how the unit was told.
    """

    figure: str
    column: str
    unit: str = ""
    told_by: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run as far as its history tells it.

    Attributes:
        name: of the run's folder, or of a foreign file.
        epochs: in order.
        provenance: the first row, without the configuration and the list of clips left out.
        config: the configuration, empty where the history holds none.
        dropped: ids of training clips left out because they have no CTC path.
        phases: in the order of the configuration.
        events: findings, actions and resumptions in the order of the history.
        samples: decoded clips, in order.
        ending: the closing row, or None while there is none.
        tests: scores of corpora after training.
        calibrations: what the confidences of the best checkpoint were found to be worth, one a corpus.
        table: the figures that the history knows.
        unknown_rows: rows of kinds that this version knows nothing of, counted by kind.
        notes: what was assumed while reading a foreign history, a sentence each.
        columns: of a foreign history, and what each was taken for.
        foreign: whether another program trained it, so that nothing is known of model and settings.
    """

    name: str
    epochs: tuple[Epoch, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    phases: tuple[PhaseSpan, ...] = ()
    events: tuple[Event, ...] = ()
    samples: tuple[KeptSample, ...] = ()
    ending: Mapping[str, Any] | None = None
    tests: tuple[CorpusScores, ...] = ()
    calibrations: tuple[Calibrated, ...] = ()
    table: Mapping[str, Figure] = field(default_factory=lambda: FIGURES)
    unknown_rows: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    columns: tuple[ColumnRead, ...] = ()
    foreign: bool = False

    @property
    def planned_epochs(self) -> int | None:
        """Epochs there are to be, None if the configuration does not say; what a phase was spared is not owed."""
        plan = [(phase.planned, len(phase.epochs)) for phase in self.phases if phase.planned is not None]
        last = max((number for number, (_, done) in enumerate(plan) if done), default=0)
        over, ahead = plan[:last], plan[last:]
        return sum(done for _, done in over) + sum(planned for planned, _ in ahead) or None

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
        return next((epoch for epoch in self.epochs if epoch.on_plateau is False), None)

    @property
    def last_on_plateau(self) -> Epoch | None:
        """The last epoch on the plateau."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.on_plateau is not False), None)

    @property
    def left_plateau(self) -> Epoch | None:
        """The epoch from which on no epoch is on the plateau, or None while the last one is."""
        last = self.last_on_plateau
        return next((epoch for epoch in self.epochs if last is None or epoch.epoch > last.epoch), None)

    @property
    def best(self) -> Epoch | None:
        """The best epoch, by the rule of the training loop; None while there is none."""
        best: Best | None = None
        found = None
        for epoch in self.epochs:
            better = better_epoch(epoch, best)
            if better is not None:
                best, found = better, epoch
        return found

    @property
    def goes_on(self) -> bool:
        """Whether more epochs may come: there is no closing row, or it says that the run can be resumed."""
        return self.ending is None or self.ending.get("reason") in RESUMABLE

    @property
    def all_collapsed(self) -> bool:
        """Whether there are epochs, and next to nothing was emitted in any of them."""
        return bool(self.epochs) and all(epoch.collapsed for epoch in self.epochs)

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
        return self.best is not None and self.best.val_wer is not None and self.best.val_wer <= self.target_wer

    @property
    def actions(self) -> tuple[Event, ...]:
        """What monitors had done."""
        return tuple(event for event in self.events if event.kind == "action")

    @property
    def resumed(self) -> tuple[int, ...]:
        """Epochs at which the run was resumed."""
        return tuple(event.epoch for event in self.events if event.kind == "resume")


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far; never a collapsed one, never one on the unigram plateau."""

    epoch: int
    val_wer: float
    val_loss: float


def better_epoch(epoch: Epoch, best: Best | None) -> Best | None:
    """Return an epoch as the best if it is: fewer word errors, then lower loss.

    A collapsed epoch never is, nor one that has not left the unigram plateau, whatever it emits.
    """
    if epoch.collapsed or epoch.on_plateau is True or epoch.val_wer is None:
        return None
    if epoch.on_plateau is None and 99.0 <= epoch.val_wer <= 101.0:
        return None  # the plateau was not recorded, and nothing is right
    loss = math.inf if epoch.val_loss is None else epoch.val_loss
    if best is not None and (epoch.val_wer, loss) >= (best.val_wer, best.val_loss):
        return None
    return Best(epoch.epoch, epoch.val_wer, loss)


def read_history(run: Path) -> Recorded:
    """Read the history of a run.

    Args:
        run: the run's folder, or its ``history.jsonl``.

    Raises:
        DataError: missing, empty or not the history of a run; names the file, the line and the reason.
    """
    path = run if run.is_file() else run / HISTORY
    return recorded(read_rows(path), path)


def recorded(rows: Sequence[Mapping[str, Any]], path: Path) -> Recorded:
    """Put the rows of a history together.

    Args:
        rows: as ``read_rows`` returns them; row ``n`` is line ``n + 1``.
        path: of the history, for messages and for the name of the run.

    Raises:
        DataError: the rows are not those of a run.
    """
    if rows[0]["kind"] != "run":
        raise DataError(
            f"{path}, line 1: starts with a row '{rows[0]['kind']}', not 'run'; not the history of a run"
        )
    first = _Row(rows[0], f"{path}, line 1")
    contents = _Contents(described_table(first.values.get("figures"), first.place))
    for number, values in enumerate(rows[1:], 2):
        contents.take(_Row(values, f"{path}, line {number}"))
    epochs = tuple(contents.epochs[number] for number in sorted(contents.epochs))
    config = first.values.get("config")
    config = config if isinstance(config, Mapping) else {}
    apart = ("kind", "config", "dropped", "figures")
    return Recorded(
        name=path.resolve().parent.name,
        epochs=epochs,
        provenance={key: value for key, value in first.values.items() if key not in apart},
        config=config,
        dropped=first.tokens("dropped"),
        phases=_phases(config, epochs),
        events=tuple(contents.events),
        samples=tuple(contents.samples),
        ending=contents.ending,
        tests=tuple(contents.tests),
        calibrations=tuple(contents.calibrations.values()),
        table=contents.table,
        unknown_rows=contents.unknown,
        notes=tuple(contents.notes),
        foreign=first.values.get("watched") is True,
    )


@dataclass(slots=True)
class _Contents:
    """What the rows after the first hold, kind by kind."""

    table: Mapping[str, Figure]
    epochs: dict[int, Epoch] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    samples: list[KeptSample] = field(default_factory=list)
    tests: list[CorpusScores] = field(default_factory=list)
    calibrations: dict[str, Calibrated] = field(default_factory=dict)
    ending: Mapping[str, Any] | None = None
    unknown: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, row: _Row) -> None:
        """Take in the next row."""
        match row.kind:
            case "epoch":
                epoch = Epoch.from_row(row.values, row.place, self.table)
                self.epochs[epoch.epoch] = epoch
                self.ending = None
            case "finding":
                self._finding(row)
            case "action":
                self.events.append(row.action())
            case "sample":
                sample = Sample(row.text("clip"), row.tokens("reference"), row.tokens("hypothesis"))
                self.samples.append(KeptSample(row.integer("epoch"), sample))
            case "resume":
                self.events.append(Event("resume", row.integer("epoch")))
                self.ending = None
            case "end":
                self.ending = row.values
            case "test":
                names = {"wer": "val_wer", "loss": "val_loss"}
                renamed = {names.get(key, key): value for key, value in row.values.items()}
                scores = Epoch.from_row(renamed, row.place, self.table)
                self.tests.append(CorpusScores(row.text("corpus"), scores, row.tokens("unknown")))
            case "calibration":
                calibrated = row.calibrated()
                self.calibrations[calibrated.corpus] = calibrated
            case _ if row.kind == CUT:
                self.notes.append(f"{row.place} is cut off, as by a killed process or a full disk: left out.")
            case kind:
                self.unknown[kind] = self.unknown.get(kind, 0) + 1

    def _finding(self, row: _Row) -> None:
        finding, epoch = row.finding(), row.integer("epoch")
        if not finding.evidence.keys() >= {"clip", "target", "predicted"}:
            self.events.append(Event("finding", epoch, row.text("monitor"), finding))
            return
        # how ctckit 0.1.0 wrote samples
        wanted, got = (tuple(str(finding.evidence[side]).split()) for side in ("target", "predicted"))
        self.samples.append(KeptSample(epoch, Sample(str(finding.evidence["clip"]), wanted, got)))


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


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, with checks that name the line."""

    values: Mapping[str, Any]
    place: str

    @property
    def kind(self) -> str:
        return str(self.values["kind"])

    def integer(self, key: str) -> int:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{self.place}: '{key}' is {json.dumps(value)}, not a whole number")
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return "" if value is None else str(value)

    def tokens(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key)
        return tuple(map(str, value)) if isinstance(value, list) else ()

    def table(self, key: str) -> Mapping[str, Any]:
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise DataError(f"{self.place}: '{key}' is {json.dumps(value)}, not an object")
        return value or {}

    def calibrated(self) -> Calibrated:
        try:
            return calibrated_from_row(self.values)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.place}: is no calibration: {type(error).__name__} {error}") from error

    def finding(self) -> Finding:
        severity = self.text("severity")
        return Finding(
            rule=self.text("rule"),
            severity=severity if severity in ("warning", "error") else "info",  # type: ignore[arg-type]
            message=self.text("message"),
            evidence=self.table("evidence"),
            advice=self.text("advice"),
            source=self.text("source"),
        )

    def action(self) -> Event:
        known = ("kind", "epoch", "monitor", "action", "finding")
        return Event(
            kind="action",
            epoch=self.integer("epoch"),
            monitor=self.text("monitor"),
            finding=_Row(self.table("finding"), self.place).finding(),
            action=self.text("action"),
            values={key: value for key, value in self.values.items() if key not in known},
        )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a history; row ``n`` is line ``n + 1``, and one of kind ``CUT`` a last line without its end.

    Raises:
        DataError: missing, empty, or a line is not a row.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; give the folder of a run") from error
    return rows_of(data, path)


def rows_of(data: bytes, path: Path) -> list[dict[str, Any]]:
    """Read the rows of a history that has been read already, as ``read_rows`` does.

    Args:
        data: the whole of it.
        path: for messages.

    Raises:
        DataError: empty, or a line is not a row.
    """
    whole, _, rest = data.rpartition(b"\n")
    cut = bool(whole) and _is_cut(rest)
    try:
        text = (whole if cut else data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); is it the history of a run?") from error
    rows = []
    # not splitlines(): a clip id may hold one of the line separators that JSON leaves as they are
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
            raise DataError(f"{path}, line {number}: not a row of a history (an object with a 'kind')")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no rows; the run has not started")
    return [*rows, {"kind": CUT}] if cut else rows


def _is_cut(line: bytes) -> bool:
    """Whether the last line of a file is one that was not written to its end."""
    try:
        json.loads(line or b"{}")
    except ValueError:
        return True
    return False


def finite(value: Any) -> Any:
    """Replace what JSON cannot hold, here and where rows are printed: no finite number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
