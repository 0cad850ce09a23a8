"""Columns of other programs: which figure a name means, and in which unit its values are."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Any, Final, Literal

from ctckit.errors import DataError, suggest
from ctckit.record.figures import FIGURES, PARTS
from ctckit.record.history import ColumnRead

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

ALIASES: Final = {
    "lr": "learning_rate",
    "grad_norm": "gradient_norm",
    "blank_penalty": "shift",
    "blank": "blank_ratio",
    "blank_rate": "blank_ratio",
    "blank_share": "blank_ratio",
    "blank_fraction": "blank_ratio",
    "blank_frac": "blank_ratio",
    "blank_percentage": "blank_ratio",
    "unique_non_blank": "unique_nonblank",
    "unique_non_blank_tokens": "unique_nonblank",
    "unique_nonblank_tokens": "unique_nonblank",
    "del_rate": "deletion_rate",
    "ins_rate": "insertion_rate",
    "sub_rate": "substitution_rate",
    "step": "update",
    "global_step": "update",
    "steps": "update",
    "iteration": "update",
    "iterations": "update",
    "iter": "update",
    "nupdates": "update",
    "num_updates": "update",
    "epochs": "epoch",
    "ep": "epoch",
    "epoch_number": "epoch",
    "epoch_num": "epoch",
    "current_epoch": "epoch",
}
"""Names that others give to figures, beside what sides, losses and rates put together."""

TEXTS: Final = ("phase", "stage", "domain")
"""Columns that hold words."""

DEV: Final = frozenset(
    {"val", "valid", "validation", "dev", "devel", "development", "eval", "evaluation", "cv", "vali"}
)
TRAIN: Final = frozenset({"train", "training", "trn", "tr"})
TEST: Final = frozenset({"test", "testing"})
IDLE: Final = frozenset({"epoch", "step", "pct", "percent", "percentage", "avg", "average", "mean", "set"})
"""Words of a name that say nothing about which figure it is."""

LOSSES: Final = ("loss", "total_loss", "loss_total", "ctc_loss", "loss_ctc", "ctc")
RATES: Final = (
    *("wer", "word_error_rate", "gloss_error_rate", "cer", "character_error_rate", "char_error_rate"),
    *("ter", "token_error_rate", "label_error_rate", "per", "phoneme_error_rate", "phone_error_rate"),
    *("wer_ctc", "ctc_wer", "cer_ctc", "ctc_cer", "wer_transducer", "cer_transducer"),
)
"""Error rates, the first that is there is taken: words, characters, tokens; as a whole before those of one head."""

PER_CENT: Final = re.compile(r"%|(?:^|[^a-z])(?:pct|perc|percent|percentage)(?:[^a-z]|$)", re.IGNORECASE)
"""Columns whose name states the unit."""

COMMA: Final = re.compile(r"[-+]?\d+,\d+")
"""A number with a decimal comma."""


EPOCH_TEXT: Final = re.compile(r"(?:epoch|ep)?[\s_:#-]*(\d+(?:\.\d+)?)(?:\s*/\s*\d+)?", re.IGNORECASE)
"""An epoch as text, such as ``Epoch 3`` or ``3/50``."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user says about a file, over what would be told from it.

    Attributes:
        units: by figure, or by the column that holds it.
        columns: the column to take for a figure.
        run: which run of a file that holds several; a name, a number from 1 on, or "all" for one after another.
    """

    units: Mapping[str, Unit] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    run: str = ""

    def __bool__(self) -> bool:
        return bool(self.units or self.columns or self.run)


@dataclass(frozen=True, slots=True)
class Named:
    """Rows under the names of figures.

    Attributes:
        rows: as many as there were, cells turned into numbers.
        columns: by figure, the column that was taken.
        stated: units that the file itself states.
    """

    rows: list[dict[str, Any]]
    columns: Mapping[str, str]
    stated: Mapping[str, Unit]


def words_of(column: str) -> list[str]:
    """Return the words of a name in small letters, whatever stands between them."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]


def side_of(words: Iterable[str]) -> str:
    """Return train, val or test if exactly one of them is named, else nothing."""
    found = {side for word in words for side, of in (("train", TRAIN), ("val", DEV), ("test", TEST)) if word in of}
    return found.pop() if len(found) == 1 else "?" if found else ""


@lru_cache(4096)
def figure_of(column: str) -> str | None:
    """Return the figure that a column of another program holds, None where its name is not recognised."""
    words = words_of(column)
    name = "_".join(words)
    plain = re.sub(r"[^a-z0-9]+", "_", column.strip().lower()).strip("_")
    for known in (name, plain):
        if known in ("epoch", "phase", "stage", "domain", *PARTS) or known in FIGURES:
            return known
    if name in ALIASES:
        return ALIASES[name]
    if re.fullmatch(r"(optim\d+_)?lr_?\d*|lr_[a-z]\w*", name):
        return "learning_rate"
    side, rest = side_of(words), _rest(words)
    if side in ("test", "?") or not rest:
        return None
    if rest in LOSSES:
        return "val_loss" if side == "val" else "train_loss"
    if rest in RATES:
        return "train_wer" if side == "train" else "val_wer"
    own = ALIASES.get(rest, rest)
    return own if side == "val" and own in FIGURES else None


def _rest(words: Sequence[str]) -> str:
    """What a name says beside its side."""
    return "_".join(word for word in words if word not in DEV | TRAIN | TEST | IDLE)


@lru_cache(4096)
def near_figure(column: str) -> str | None:
    """Return the figure that a name comes close to, as ``dev-clean-WER`` does to ``val_wer``."""
    words = words_of(column)
    if side_of(words) != "val" or figure_of(column) is not None:
        return None
    last = words[-1]
    return "val_loss" if last in LOSSES else "val_wer" if last in RATES else None


def take_columns(rows: Sequence[Mapping[str, Any]], place: str, choices: Choices, notes: list[str]) -> Named:
    """Give the columns their names in the table, turn cells of text into numbers, and note what was taken.

    Raises:
        DataError: nothing is recognised, a column asked for is not there, or a cell is no number.
    """
    present = list(dict.fromkeys(str(name) for row in rows for name in row))
    for figure, column in choices.columns.items():
        if column not in present:
            raise DataError(f"{place}: --column {figure}={column}: no such column{suggest(column, present)}")
    taken = {**_told(present, rows, notes), **choices.columns}
    renamed: dict[str, list[str]] = {}
    for figure, column in taken.items():
        renamed.setdefault(column, []).append(figure)
    for figure in choices.columns:  # a column that is asked for is not taken for anything else
        renamed[taken[figure]] = [name for name in renamed[taken[figure]] if name in choices.columns]
    taken = {figure: column for column, figures in renamed.items() for figure in figures}
    if not set(taken) & set(TELLING):
        raise DataError(f"{place}: {_nothing_told(rows, present)}")
    _note_columns(taken, present, notes)
    commas = _decimal_commas(rows, taken, place, notes)
    stated: dict[str, Unit] = {}
    for figure, column in taken.items():
        signed = any(str(row.get(column, "")).rstrip().endswith("%") for row in rows)
        if figure in SHARES and (signed or PER_CENT.search(column)):
            stated[figure] = "percent"
    converted = [
        {
            figure: _cell(value, figure, place, number, commas=name in commas)
            for name, value in row.items()
            for figure in renamed.get(name, ())
            if not _is_empty(value, figure)
        }
        for number, row in enumerate(rows, 1)
    ]
    return Named(converted, taken, stated)


def _told(present: Sequence[str], rows: Sequence[Mapping[str, Any]], notes: list[str]) -> dict[str, str]:
    """Choose a column for each figure by the names alone; a column without any number is the last choice."""
    holding = {name for row in rows for name, value in row.items() if _says_something(value)}
    candidates: dict[str, list[str]] = {}
    for column in sorted(present, key=lambda name: (name not in holding, *_rank(name))):
        figure = figure_of(column)
        if figure is not None:
            candidates.setdefault(figure, []).append(column)
    taken = {figure: columns[0] for figure, columns in candidates.items()}
    train, dev = taken.get("train_loss"), taken.get("val_loss")
    if train is not None and dev is not None and _kind(train) != _kind(dev):
        pairs = [
            (one, other)
            for one in candidates["train_loss"]
            for other in candidates["val_loss"]
            if _kind(one) == _kind(other) and {one, other} <= holding
        ]
        if pairs:
            taken["train_loss"], taken["val_loss"] = pairs[0]
        else:
            notes.append(f"{train} and {dev} may be different losses; the overfit ratio is that of these two.")
    for figure in ("val_loss", "val_wer"):
        near = [column for column in present if near_figure(column) == figure]
        first = min((_kind_rank(column) for column in near), default=0)
        near = [column for column in near if _kind_rank(column) == first]
        if figure not in taken and len(near) == 1:
            taken[figure] = near[0]
        elif figure not in taken and near:
            notes.append(
                f"Several columns may be {figure}: {', '.join(near)}; choose with --column {figure}={near[0]}."
            )
    return taken


def _says_something(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in ("", "nan", "none", "null", "-")
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _kind(column: str) -> str:
    rest = _rest(words_of(column))
    return "ctc" if "ctc" in rest else "loss"


def _rank(column: str) -> tuple[bool, int, bool, bool, str]:
    """Order columns that hold one figure: its own name first, then words before characters before tokens."""
    words = words_of(column)
    rest = _rest(words)
    kinds = RATES if rest in RATES else LOSSES
    kind = kinds.index(rest) if rest in kinds else 0
    return column not in FIGURES, kind, "step" in words, not side_of(words), column


def _kind_rank(column: str) -> int:
    last = words_of(column)[-1]
    return RATES.index(last) if last in RATES else 0


def _note_columns(taken: Mapping[str, str], present: Sequence[str], notes: list[str]) -> None:
    told = [f"{column} as {figure}" for figure, column in taken.items() if column != figure]
    if told:
        notes.append(f"Columns under other names: {', '.join(told)}.")
    unknown = sorted(set(present) - set(taken.values()))
    if unknown:
        more = f" and {len(unknown) - 12} more" if len(unknown) > 12 else ""
        notes.append(f"Columns that no rule uses: {', '.join(unknown[:12])}{more}.")


def _nothing_told(rows: Sequence[Mapping[str, Any]], present: Sequence[str]) -> str:
    listed = ", ".join(sorted(present)[:8]) or "nothing"
    more = f" and {len(present) - 8} more" if len(present) > 8 else ""
    numeric = [
        name for name in present if figure_of(name) is None and any(_as_number(row.get(name)) for row in rows)
    ]
    wanted = ("val_wer", *TELLING)
    near = next(
        ((name, figure) for name in numeric for figure in wanted if set(words_of(name)) & set(figure.split("_"))),
        (numeric[0], "val_wer") if numeric else None,
    )
    way = f"; if {near[0]} is one of them, say --column {near[1]}={near[0]}" if near else ""
    return (
        f"none of the columns {', '.join(TELLING)}, nor another name of one; there is {listed}{more} "
        f"in {len(rows)} {'row' if len(rows) == 1 else 'rows'}{way}"
    )


def _as_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(str(value).strip().removesuffix("%")))
    except ValueError:
        return False


def _decimal_commas(
    rows: Sequence[Mapping[str, Any]], taken: Mapping[str, str], place: str, notes: list[str]
) -> frozenset[str]:
    """Return the columns whose numbers have decimal commas; where points occur as well, nobody can tell."""
    found = set()
    for figure, column in taken.items():
        cells = [str(row[column]).strip().removesuffix("%").strip() for row in rows if column in row]
        commas = [cell for cell in cells if COMMA.fullmatch(cell)]
        pointed = next((cell for cell in cells if re.search(r"\d\.\d", cell)), None)
        if figure in TEXTS or not commas:
            continue
        if pointed is not None:
            raise DataError(
                f"{place}: '{column}' has both {commas[0]} and {pointed}: decimal commas or thousands? "
                "Write numbers with a point and without separators of thousands"
            )
        found.add(column)
    if found:
        notes.append(f"Commas in {', '.join(sorted(found))} are read as decimal commas.")
    return frozenset(found)


def _is_empty(value: Any, figure: str) -> bool:
    """Whether a cell of text says that nothing was recorded, as "nan" does where dev was not scored."""
    text = value.strip().lower() if isinstance(value, str) else None
    return text in ("", "none", "null", "-", "n/a", "na", "no log") or (text == "nan" and figure not in TRAINED)


def _cell(value: Any, figure: str, place: str, number: int, *, commas: bool) -> Any:
    if not isinstance(value, str) or figure in TEXTS:
        return value
    text = value.strip().removesuffix("%").strip()
    numbered = EPOCH_TEXT.fullmatch(text) if figure == "epoch" else None
    text = text if numbered is None else numbered[1]
    try:
        return float(text.replace(",", ".") if commas else text)
    except ValueError:
        way = (
            "; write numbers with a point and without separators of thousands" if re.search(r"\d,\d", text) else ""
        )
        raise DataError(f"{place}, row {number}: '{figure}' is {json.dumps(value)}, not a number{way}") from None


def checked_units(units: Mapping[str, Unit], named: Named, present: Iterable[str], place: str) -> dict[str, Unit]:
    """Return the units that the user gives, by figure; a column's name does for that of its figure.

    Raises:
        DataError: the figure is not there or is no share.
    """
    figures = {column: figure for figure, column in named.columns.items()}
    found: dict[str, Unit] = {}
    for given, unit in units.items():
        name = given if given in FIGURES else figures.get(given, given)
        if name not in SHARES and (name in FIGURES or name in present):
            raise DataError(
                f"{place}: a unit is given for '{name}', which is no share; these are: {', '.join(SHARES)}"
            )
        if name not in present:
            there = [one for one in SHARES if one in present]
            near = difflib.get_close_matches(name, there, n=1) or there
            hint = f"; there is {', '.join(near)}" if near else ""
            raise DataError(f"{place}: a unit is given for '{name}', which is not there{hint}")
        found[name] = unit
    return found


def in_per_cent(
    rows: Sequence[dict[str, Any]], named: Named, units: Mapping[str, Unit], notes: list[str], place: str
) -> tuple[list[dict[str, Any]], tuple[ColumnRead, ...]]:
    """Bring every share to per cent, a column at a time, and say which unit it was taken to have."""
    told: dict[str, tuple[Unit, str]] = {}
    for name in SHARES:
        values = [float(row[name]) for row in rows if _is_number(row.get(name))]
        _refuse_impossible(name, values, place)
        if not any(values):
            continue
        if name in units:
            unit, why = units[name], "as asked for"
        elif name in named.stated:
            unit, why = named.stated[name], "the file says so"
        else:
            unit, why = _unit(name, values, place)
        told[name] = unit, why
        read = "read as a share of one" if unit == "share" else "read as per cent"
        notes.append(f"{name}: between {min(values):g} and {max(values):g}, {read} ({why}).")
    scaled = [
        {
            name: 100.0 * value if name in told and told[name][0] == "share" and _is_number(value) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return scaled, tuple(
        ColumnRead(figure, column, *told.get(figure, ("", ""))) for figure, column in named.columns.items()
    )


def _refuse_impossible(name: str, values: Sequence[float], place: str) -> None:
    if min(values, default=0.0) < 0.0:
        raise DataError(
            f"{place}: '{name}' is {min(values):g} somewhere, and no rate is negative; leave such cells empty, "
            f"or choose another column with --column {name}=COLUMN"
        )
    if name not in UNBOUNDED and max(values, default=0.0) > 100.0:
        raise DataError(
            f"{place}: '{name}' is {max(values):g} somewhere, more than 100 %; choose another column with "
            f"--column {name}=COLUMN"
        )


def _unit(name: str, values: Sequence[float], place: str) -> tuple[Unit, str]:
    """Tell the unit of a column from its values, with the reason.

    A column that never exceeds 1 is a share: no run has less than one per cent of errors or blanks in every epoch.
    An error rate may exceed 1 where insertions are counted, in a few epochs; the middle one tells.

    Raises:
        DataError: the values may be either.
    """
    if max(values) <= 1.0:
        return "share", "no value exceeds 1"
    if name not in UNBOUNDED:
        return "percent", "values exceed 1"
    if median(values) > 2.0:
        return "percent", "most values exceed 2"
    if median(values) <= 1.2 and min(values) >= 0.0 and max(values) < 20.0:
        return "share", "most values are at most 1.2"
    raise DataError(
        f"{place}: '{name}' lies between {min(values):g} and {max(values):g}: per cent, or shares of one? "
        f"Say --unit {name}=percent or --unit {name}=share"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
