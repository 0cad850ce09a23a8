"""Histories that other programs wrote: JSON in several shapes, JSON lines, CSV. Torch-free.

Three steps, each of which says what it assumed: the file becomes rows, columns are recognised by their names, and
the unit of each column is told from its own values, never from another column's.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

from ctckit.errors import DataError
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES, PARTS
from ctckit.record.history import Recorded, read_history

Unit = Literal["percent", "share"]

TELLING: Final = ("train_loss", "val_loss", "val_wer", "blank_ratio", "unique_nonblank", "overfit_ratio")
"""What the founding document's script records; the least that a diagnosis can start from is one of them."""

SHARES: Final = (
    "val_wer",
    "train_wer",
    "deletion_rate",
    "insertion_rate",
    "substitution_rate",
    "blank_ratio",
    "raw_blank_ratio",
    "blank_reference",
    "label_coverage",
    "empty_share",
)
"""Figures in per cent that other programs record as shares of one."""

TRAINED: Final = frozenset({"train_loss", "train_eval_loss", "gradient_norm"})
"""Figures that every epoch has: there "nan" in a table is the value."""

UNBOUNDED: Final = frozenset({"val_wer", "train_wer", "insertion_rate"})
"""Those that may exceed 100 %, because insertions count."""

CONTAINERS: Final = ("log_history", "history", "training_history", "epochs", "metrics")
"""Keys under which a JSON file may keep its epochs."""

ALIASES: Final = {
    "lr": "learning_rate",
    "grad_norm": "gradient_norm",
    "blank_penalty": "shift",
    "blank_rate": "blank_ratio",
    "blank_share": "blank_ratio",
    "blank_percentage": "blank_ratio",
    "unique_non_blank": "unique_nonblank",
    "unique_non_blank_tokens": "unique_nonblank",
    "step": "update",
    "global_step": "update",
    "steps": "update",
}
"""Names that others give to figures, beside what ``PARTS_OF_NAMES`` puts together."""

DEV: Final = frozenset({"val", "valid", "validation", "dev", "eval", "cv"})
TRAIN: Final = frozenset({"train", "training", "trn", "tr"})
PER_CENT: Final = re.compile(r"%|(?:^|[^a-z])(?:pct|perc|percent|percentage)(?:[^a-z]|$)", re.IGNORECASE)
"""Columns whose name states the unit."""

SUMMARY: Final = "train_runtime"
"""Column of the row with which transformers' Trainer ends its log; its loss is the mean of all."""

RATES: Final = ("wer", "cer", "ter")
"""Error rates, the first that is there is taken: words, characters, tokens."""


def read_any(path: Path, units: Mapping[str, Unit] | None = None) -> Recorded:
    """Read a history, ctckit's own or another program's.

    Args:
        path: a run's folder, its ``history.jsonl``, or a JSON, JSON lines or CSV file.
        units: of figures, where the values do not tell.

    Raises:
        DataError: it cannot be read, or nothing in it is recognised; says what is there.
    """
    text = "" if path.is_dir() else _text(path)
    if path.is_dir() or _is_own(text):
        if units:
            raise DataError(f"{path}: a history of ctckit's own says its units; leave out --unit")
        return read_history(path)
    return recorded_from_rows(_rows(text, path), path, units or {})


def recorded_from_rows(rows: Sequence[Mapping[str, Any]], path: Path, units: Mapping[str, Unit]) -> Recorded:
    """Make a record of rows by column.

    Raises:
        DataError: no column is recognised, a column has the wrong type, or a unit cannot be told.
    """
    notes: list[str] = []
    if any(SUMMARY in row for row in rows):
        rows = [row for row in rows if SUMMARY not in row]
        notes.append(f"A row with {SUMMARY} sums up the whole training: left out.")
    stated: dict[str, Unit] = {}
    named = _named(rows, path, notes, stated)
    present = {name for row in named for name in row}
    if not present & set(TELLING):
        raise DataError(
            f"{path}: none of the columns {', '.join(TELLING)}, nor another name of one; there is "
            f"{', '.join(sorted({str(name) for row in rows for name in row})[:8]) or 'nothing'}"
        )
    numbered = _numbered(_merged(named, path), notes, path)
    for name in units:
        if name not in present:
            raise DataError(f"{path}: a unit is given for '{name}', which is not there")
        if name not in SHARES:
            raise DataError(
                f"{path}: a unit is given for '{name}', which is no share; these are: {', '.join(SHARES)}"
            )
    scaled = _in_per_cent(numbered, {**stated, **units}, notes, path)
    epochs = tuple(Epoch.from_row(row, f"{path}, epoch {row['epoch']}") for row in scaled)
    return Recorded(path.name, tuple(sorted(epochs, key=lambda one: one.epoch)), notes=tuple(notes), foreign=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; give a run's folder or a history") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); give a run's folder, JSON or CSV") from error


def _is_own(text: str) -> bool:
    """Whether a file begins as ctckit's histories do, or is empty: the reader of those says what is wrong then."""
    first = text.split("\n", 1)[0].strip()
    if not first:
        return not text.strip()
    try:
        row = _json(first)
    except json.JSONDecodeError:
        return False
    return isinstance(row, dict) and isinstance(row.get("kind"), str)


def _rows(text: str, path: Path) -> list[dict[str, Any]]:
    """Turn a file into rows, one an epoch or less."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return _table_rows(text, path)
    try:
        content = _json(text)
    except json.JSONDecodeError as error:
        # no splitlines: it also cuts at characters that JSON allows within a string
        lines = {number: line for number, line in enumerate(text.split("\n"), 1) if line.strip()}
        first = next(iter(lines.values()), "").lstrip()
        if len(lines) > 1 and first.startswith("{"):
            return [_line(line, number, path) for number, line in lines.items()]
        if len(lines) > 1 and "," in first and not first.startswith("["):
            return _table_rows(text, path)
        raise DataError(f"{path}: not JSON: {error}; JSON, JSON lines and CSV are read") from error
    return _json_rows(content, path)


def _json(text: str) -> Any:
    """Read JSON; whole numbers beyond 64 bits as what they are among figures: infinite, or as good as that."""
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 19 else float(digits))
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, 0) from error


def _line(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        row = _json(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: not an object with the figures of an epoch")
    return row


def _table_rows(text: str, path: Path) -> list[dict[str, Any]]:
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ";" if ";" in text.split("\n", 1)[0] else ","
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may hold decoded text
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter=delimiter), 2):
        if None in row:
            raise DataError(f"{path}, line {number}: has more cells than the header names")
        rows.append({name: cell for name, cell in row.items() if cell not in (None, "")})
    if not rows:
        raise DataError(f"{path}: holds no epochs")
    return rows


def _json_rows(content: Any, path: Path) -> list[dict[str, Any]]:
    """Find the rows in JSON: a list of objects, columns of equal length, either of them under a known key."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in CONTAINERS if _holds_rows(content.get(key))), None)
        if inner is not None:
            return _json_rows(inner, path)
        keyed = _keyed(content)
        if keyed:
            return keyed
        content = _columns(content, path)
    if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
        raise DataError(
            f"{path}: neither a list of epochs nor an object of columns, but {_shape(content)}; "
            "see `ctckit diagnose --help`"
        )
    if not content:
        raise DataError(f"{path}: holds no epochs")
    return [_flat(row) for row in content]


def _holds_rows(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, Mapping) for row in value)
    return isinstance(value, Mapping) and bool(value)


def _keyed(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows keyed by their epoch, or lists of rows keyed by a stage; empty where it is neither."""
    if not content:
        return []
    if all(isinstance(row, Mapping) and str(key).isdigit() for key, row in content.items()):
        return [{"epoch": int(key), **_flat(row)} for key, row in content.items()]
    lists = {key: rows for key, rows in content.items() if isinstance(rows, list) and _holds_rows(rows)}
    others = [key for key in content if key not in lists]
    if lists and all(not isinstance(content[key], (list, Mapping)) or key == "config" for key in others):
        return [{"stage": key, **_flat(row)} for key, rows in lists.items() for row in rows]
    return []


def _columns(content: Mapping[str, Any], path: Path) -> Any:
    """Turn an object of columns into rows; a configuration or final scores beside the columns are left out."""
    columns = {
        name: column
        for name, column in content.items()
        if isinstance(column, list) and all(not isinstance(item, (list, Mapping)) for item in column)
    }
    if not columns:
        return content
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise DataError(f"{path}: the columns have different lengths ({listed}); one value an epoch is needed")
    if isinstance(columns.get("epochs"), list):
        columns["epoch"] = columns.pop("epochs")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Join the names of nested objects, as in ``{"val": {"loss": 1}}``, but for figures by part."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and name not in PARTS:
            flat |= {f"{name}_{inner}": item for inner, item in _flat(value).items()}
        else:
            flat[str(name)] = value
    return flat


def _shape(content: Any) -> str:
    match content:
        case dict():
            return f"an object of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
        case list():
            return f"a list of {type(content[0]).__name__}" if content else "an empty list"
    return f"a {type(content).__name__}"


def figure_of(column: str) -> str | None:
    """Return the figure that a column of another program holds, None where its name is not recognised."""
    name = re.sub(r"[^a-z0-9]+", "_", column.strip().lower()).strip("_")
    if name in ("epoch", "phase", "stage", "domain", *PARTS) or name in FIGURES:
        return name
    if name in ALIASES:
        return ALIASES[name]
    words = name.split("_")
    words = words[:-1] if words[-1] in ("epoch", "pct", "percent") and len(words) > 1 else words
    side = "val" if words[0] in DEV else "train" if words[0] in TRAIN else ""
    rest = "_".join(words[1:]) if side else "_".join(words)
    if rest in ("loss", "ctc_loss", "loss_ctc", "total_loss"):
        return "val_loss" if side == "val" else "train_loss"
    if rest in RATES:
        return "train_wer" if side == "train" else "val_wer"
    own = ALIASES.get(rest, rest)
    return own if side == "val" and own in FIGURES else None


def _named(
    rows: Sequence[Mapping[str, Any]], path: Path, notes: list[str], stated: dict[str, Unit]
) -> list[dict[str, Any]]:
    """Give the columns their names in the table, turn cells of text into numbers, and note the units stated."""
    columns = dict.fromkeys(str(name) for row in rows for name in row)
    taken: dict[str, str] = {}
    for column in sorted(columns, key=_rank):
        figure = figure_of(column)
        if figure is not None and figure not in taken:
            taken[figure] = column
    renamed = {column: figure for figure, column in taken.items()}
    for column, figure in renamed.items():
        signed = any(str(row.get(column, "")).rstrip().endswith("%") for row in rows)
        if figure in SHARES and (signed or PER_CENT.search(column)):
            stated[figure] = "percent"
    told = [f"{column} as {figure}" for column, figure in renamed.items() if column != figure]
    if told:
        notes.append(f"Columns under other names: {', '.join(told)}.")
    unknown = sorted(set(columns) - set(renamed))
    if unknown:
        notes.append(f"Columns that no rule uses: {', '.join(unknown)}.")
    return [
        {
            renamed[name]: _cell(value, renamed[name], path, number)
            for name, value in row.items()
            if name in renamed and not _is_empty(value, renamed[name])
        }
        for number, row in enumerate(rows, 1)
    ]


def _rank(column: str) -> tuple[bool, int, str]:
    """Order columns that hold one figure: its own name first, then words before characters before tokens."""
    last = re.split(r"[^a-z0-9]+", column.lower())[-1]
    return column not in FIGURES, RATES.index(last) if last in RATES else 0, column


def _is_empty(value: Any, figure: str) -> bool:
    """Whether a cell of text says that nothing was recorded, as "nan" does where dev was not scored."""
    text = value.strip().lower() if isinstance(value, str) else None
    return text in ("", "none", "null", "-") or (text == "nan" and figure not in TRAINED)


def _cell(value: Any, figure: str, path: Path, number: int) -> Any:
    if not isinstance(value, str) or figure in ("phase", "stage", "domain"):
        return value
    text = value.strip().removesuffix("%").strip()
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}, row {number}: '{figure}' is {json.dumps(value)}, not a number") from None


def _merged(rows: Iterable[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    """Join rows of one epoch: training figures come by the step, those of dev in a row of their own."""
    rows = list(rows)
    number = {id(row): row.get("epoch") for row in rows}
    _refuse_interleaved(rows, path)
    group: list[dict[str, Any]] = []
    for row in rows:
        if group and (not _same_epoch(number[id(group[-1])], number[id(row)]) or _repeats(group, row)):
            yield _joined(group)
            group = []
        group.append(row)
    if group:
        yield _joined(group)


def _same_epoch(one: Any, other: Any) -> bool:
    """Whether two rows are of one epoch: fractions count towards the epoch that they are on the way to."""
    numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
    return numbers and math.isfinite(one) and math.isfinite(other) and math.ceil(one) == math.ceil(other)


def _repeats(group: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> bool:
    """Whether a row has a figure of dev that the group has already, so that another judgement begins."""
    had = {name for member in group for name in member if _of_dev(name)}
    return bool(had) and (any(_of_dev(name) and name in had for name in row) or not any(map(_of_dev, row)))


def _of_dev(name: str) -> bool:
    return name.startswith("val_") or (name in FIGURES and FIGURES[name].score is not None)


def _joined(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for row in group:
        joined |= row
    losses = [row["train_loss"] for row in group if isinstance(row.get("train_loss"), (int, float))]
    if len(losses) > 1:
        joined["train_loss"] = sum(losses) / len(losses)
    return joined


def _refuse_interleaved(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    judged = [row.get("epoch") for row in rows if any(map(_of_dev, row))]
    twice = sum(one == other for one, other in pairwise(judged) if one is not None)
    if len(judged) > 2 and twice * 3 >= len(judged):
        raise DataError(
            f"{path}: most epochs come twice in a row: two runs in one file? Give one file for each run"
        )


def _numbered(rows: Iterable[dict[str, Any]], notes: list[str], path: Path) -> list[dict[str, Any]]:
    """Give every row a whole number of its own as its epoch."""
    found = list(rows)
    if any("phase" not in row and row.get("stage") is not None for row in found):
        found = [{**row, "phase": row.get("phase") or f"stage {row.get('stage')}"} for row in found]
    numbers = [row.get("epoch") for row in found]
    wrong = next((one for one in numbers if isinstance(one, (bool, str))), None)
    if wrong is not None:
        raise DataError(f"{path}: 'epoch' is {json.dumps(wrong)}, not a number")
    whole = [int(one) for one in numbers if isinstance(one, (int, float)) and float(one).is_integer()]
    if len(whole) == len(found) == len(set(whole)):
        if min(whole, default=1) < 1:
            notes.append(f"Epochs are counted from {min(whole)}: read as from 1.")
        before = min(min(whole, default=1), 1) - 1
        return [{**row, "epoch": number - before} for row, number in zip(found, whole, strict=True)]
    if any(one is not None for one in numbers):
        notes.append("Epoch numbers occur twice (they start again in each stage) or are fractions: counted anew.")
    return [{**row, "epoch": number} for number, row in enumerate(found, 1)]


def _in_per_cent(
    rows: Sequence[dict[str, Any]], units: Mapping[str, Unit], notes: list[str], path: Path
) -> list[dict[str, Any]]:
    """Bring every share to per cent, a column at a time, and say which unit it was taken to have."""
    shares = []
    for name in SHARES:
        values = [float(row[name]) for row in rows if _is_number(row.get(name))]
        if any(values) and (units.get(name) or _unit(name, values, path)) == "share":
            shares.append(name)
            notes.append(f"{name}: between {min(values):g} and {max(values):g}, read as a share of one.")
    return [
        {name: 100.0 * value if name in shares and _is_number(value) else value for name, value in row.items()}
        for row in rows
    ]


def _unit(name: str, values: Sequence[float], path: Path) -> Unit:
    """Tell the unit of a column from its values.

    A column that never exceeds 1 is a share: no run has less than one per cent of errors or blanks in every epoch.
    An error rate may exceed 1 where insertions are counted, in a few epochs; the middle one tells.

    Raises:
        DataError: the values may be either.
    """
    if max(values) <= 1.0:
        return "share"
    if name not in UNBOUNDED or median(values) > 2.0:
        return "percent"
    if median(values) <= 1.2 and max(values) > 1.0 and min(values) >= 0.0 and max(values) < 20.0:
        return "share"
    raise DataError(
        f"{path}: '{name}' lies between {min(values):g} and {max(values):g}: per cent, or shares of one? "
        f"Say --unit {name}=percent or --unit {name}=share"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
