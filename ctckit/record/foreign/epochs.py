"""Rows of other programs put together to epochs: sides, runs, steps, resumptions."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from ctckit.errors import DataError, suggest
from ctckit.record.figures import FIGURES
from ctckit.record.foreign.columns import DEV, TEST, TRAIN, Choices, figure_of, words_of

SUMMARY: Final = "train_runtime"
"""Column of the row with which transformers' Trainer ends its log; its loss is the mean of all."""

RUN: Final = "run"
"""Column that readers of shapes add where an object holds runs by name."""

RUNS: Final = frozenset(
    {RUN, "run_id", "run_name", "seed", "experiment", "experiment_name", "exp", "exp_name", "trial", "trial_id"}
    | {"fold", "name", "model", "model_name", "variant", "system", "id"}
)
"""Columns that may name the run that a row is of."""

SIDES: Final = frozenset(
    {"split", "phase", "mode", "set", "subset", "stage", "dataset", "partition", "kind", "type"}
)
"""Columns that may name the corpus that a row is of."""

METRICS: Final = frozenset({"metric", "key", "tag", "name", "metric_name"})
"""Columns that may name the figure that a row is of, beside one named ``value``."""

NO_FIGURES: Final = frozenset({"epoch", "update", "phase", "stage", "domain"})


def arranged(
    rows: Sequence[Mapping[str, Any]], place: str, choices: Choices, notes: list[str]
) -> tuple[list[dict[str, Any]], str]:
    """Give every row its own columns where a row is a figure or a corpus, and keep those of one run.

    Returns:
        The rows, and the run that is still to be chosen, by the epochs, because no column names any.

    Raises:
        DataError: there are several runs and none is chosen, or one that is not there.
    """
    found = [dict(row) for row in rows]
    if any(SUMMARY in row for row in found):
        found = [row for row in found if SUMMARY not in row]
        notes.append(f"A row with {SUMMARY} sums up the whole training: left out.")
    return _of_one_run(_by_side(_by_metric(found), notes), place, choices, notes)


def _by_metric(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn rows of one value each, named by a cell, into rows with a column of that name."""
    names = {column: "_".join(words_of(column)) for row in rows for column in row}
    metric = next((column for column, name in names.items() if name in METRICS), None)
    value = next((column for column, name in names.items() if name == "value"), None)
    if metric is None or value is None or not all(isinstance(row.get(metric), str) for row in rows):
        return rows
    return [
        {**{name: cell for name, cell in row.items() if name not in (metric, value)}, row[metric]: row.get(value)}
        for row in rows
    ]


def _by_side(rows: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """Put the side that a cell names in front of the other columns of its row."""
    sides = DEV | TRAIN | TEST
    for column in dict.fromkeys(name for row in rows for name in row):
        cells = {str(row[column]).lower() for row in rows if row.get(column) not in (None, "")}
        if "_".join(words_of(column)) in SIDES and cells <= sides and (len(cells) > 1 or cells & DEV):
            notes.append(f"Rows are of {', '.join(sorted(cells))}, by '{column}': their columns are read as such.")
            return [_sided(row, str(row.get(column) or "").lower(), column) for row in rows]
    return rows


def _sided(row: Mapping[str, Any], side: str, column: str) -> dict[str, Any]:
    def named(name: str) -> str:
        common = figure_of(name) in (*NO_FIGURES, "learning_rate") or "_".join(words_of(name)) in RUNS
        return name if common or not side else f"{side}_{name}"

    return {named(name): value for name, value in row.items() if name != column}


def _of_one_run(
    rows: list[dict[str, Any]], place: str, choices: Choices, notes: list[str]
) -> tuple[list[dict[str, Any]], str]:
    epoch = choices.columns.get("epoch") or next(
        (name for row in rows for name in row if figure_of(name) == "epoch"), None
    )
    telling = [
        column
        for column in dict.fromkeys(name for row in rows for name in row)
        if "_".join(words_of(column)) in RUNS and _tells_runs(rows, column, epoch)
    ]
    if not telling:
        return rows, choices.run
    names = ["/".join(str(row.get(column, "")) for column in telling) for row in rows]
    there = list(dict.fromkeys(names))
    if not choices.run:
        listed = " or ".join(f"--run {name}" for name in there[:6]) + (" ..." if len(there) > 6 else "")
        raise DataError(
            f"{place}: holds {len(there)} runs, told apart by {' and '.join(telling)}; choose one with {listed}"
        )
    if choices.run not in there:
        raise DataError(f"{place}: no run is named '{choices.run}'{suggest(choices.run, there)}")
    notes.append(f"Of {len(there)} runs, '{choices.run}' was taken.")
    kept = [row for row, name in zip(rows, names, strict=True) if name == choices.run]
    return [{name: value for name, value in row.items() if name not in telling} for row in kept], ""


def _tells_runs(rows: Sequence[Mapping[str, Any]], column: str, epoch: str | None) -> bool:
    """Whether the values of a column part rows into runs: epochs come again, or values without an order do."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        if isinstance(row.get(column), (str, int, float)):
            groups.setdefault(str(row[column]), []).append(row.get(epoch) if epoch else None)
    if len(groups) < 2:
        return False
    if column == RUN or epoch is None:
        return all(len(group) > 1 for group in groups.values())
    shared = Counter(number for group in groups.values() for number in {str(one) for one in group})
    return max(shared.values()) > 1


def merged(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join rows of one epoch: training figures come by the step, those of dev in a row of their own."""
    kept = [dict(row) for row in rows if row.keys() - NO_FIGURES]
    judged = sum(any(map(_of_dev, row)) for row in kept)
    return list(_joined_groups(kept, closing=0 < judged < len(kept)))


def _joined_groups(rows: Iterable[dict[str, Any]], *, closing: bool) -> Iterator[dict[str, Any]]:
    group: list[dict[str, Any]] = []
    said: set[str] = set()
    for row in rows:
        if group and (not _same_epoch(group[-1], row, closing=closing) or _repeats(group[-1], said, row)):
            yield _joined(group)
            group, said = [], set()
        group.append(row)
        said |= row.keys() - NO_FIGURES
    if group:
        yield _joined(group)


def _same_epoch(row: Mapping[str, Any], other: Mapping[str, Any], *, closing: bool) -> bool:
    """Whether two rows are of one epoch: fractions count towards the epoch that they are on the way to.

    Where there are no epochs and only some rows are of dev (``closing``), these end what counts as an epoch.
    """
    number, following = row.get("epoch"), other.get("epoch")
    if number is None and following is None:
        return closing
    numbers = isinstance(number, (int, float)) and isinstance(following, (int, float))
    return (
        numbers
        and math.isfinite(number or 0)
        and math.isfinite(following or 0)
        and math.ceil(number or 0) == math.ceil(following or 0)
    )


def _repeats(last: Mapping[str, Any], said: set[str], row: Mapping[str, Any]) -> bool:
    """Whether a row begins another judgement of dev after the one that an epoch has already.

    It does with a figure of dev that was said before. A row of training alone does where it is of a later update,
    or, where there are no updates, says what was said before.
    """
    if not any(map(_of_dev, said)):
        return False
    if any(map(_of_dev, row)):
        return any(_of_dev(name) for name in row.keys() & said)
    step = row.get("update")
    if step is not None and step == last.get("update"):
        return False
    return step is not None or row.get("epoch") is None or not said.isdisjoint(row.keys())


@lru_cache(4096)
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


def numbered(rows: Sequence[dict[str, Any]], notes: list[str], place: str, run: str) -> list[dict[str, Any]]:
    """Give every row a whole number of its own as its epoch.

    Raises:
        DataError: an epoch is no number, or epochs come again and nothing says why.
    """
    found = [{**row, "epoch": None} if _is_endless(row.get("epoch")) else row for row in rows]
    staged = any(row.get("stage") is not None or row.get("phase") for row in found)
    if any("phase" not in row and row.get("stage") is not None for row in found):
        found = [{**row, "phase": row.get("phase") or f"stage {row.get('stage')}"} for row in found]
    wrong = next((row["epoch"] for row in found if isinstance(row.get("epoch"), (bool, str, list, dict))), None)
    if wrong is not None:
        raise DataError(f"{place}: 'epoch' is {json.dumps(wrong)}, not a number")
    if not staged or run:
        found = _told_apart(found, notes, place, run)
    numbers = [row.get("epoch") for row in found]
    whole = [int(one) for one in numbers if isinstance(one, (int, float)) and float(one).is_integer()]
    if len(whole) == len(found) == len(set(whole)):
        if min(whole, default=1) < 1:
            notes.append(f"Epochs are counted from {min(whole)}: read as from 1.")
        before = min(min(whole, default=1), 1) - 1
        return [{**row, "epoch": number - before} for row, number in zip(found, whole, strict=True)]
    if any(one is not None for one in numbers):
        notes.append("Epoch numbers occur twice (they start again in each stage) or are fractions: counted anew.")
    return [{**row, "epoch": number} for number, row in enumerate(found, 1)]


def _is_endless(number: Any) -> bool:
    return isinstance(number, float) and not math.isfinite(number)


def _told_apart(rows: list[dict[str, Any]], notes: list[str], place: str, run: str) -> list[dict[str, Any]]:
    """Tell what epochs that come again are: several scores of an epoch, a resumption, or further runs."""
    numbers = [row.get("epoch") for row in rows]
    seen: Counter[Any] = Counter()
    occurrence = []
    for number in numbers:
        seen[number] += number is not None
        occurrence.append(seen[number])
    runs = max(occurrence, default=1)
    if run == "all":
        return rows
    if run:
        if not run.isdigit() or not 1 <= int(run) <= max(runs, 1):
            way = f"--run 1 to --run {runs}, or --run all" if runs > 1 else "leave out --run"
            raise DataError(f"{place}: no run is named '{run}', and no column names runs; {way}")
        notes.append(f"Of {runs} runs that the epochs tell apart, number {run} was taken.")
        return [row for row, which in zip(rows, occurrence, strict=True) if which in (0, int(run))]
    if runs < 2 or _grow(row.get("update") for row in rows):
        return rows
    again = [
        place for place, (one, other) in enumerate(pairwise(numbers), 1) if _is_before(other, one) or one == other
    ]
    often = len(rows) > 2 and 3 * len(again) >= len(rows)
    if again and not often and all(numbers[place] != numbers[0] for place in again):
        return _resumed(rows, again, notes)
    start = next(number for number, which in enumerate(occurrence, 1) if which > 1)
    raise DataError(
        f"{place}: epochs come {'twice' if runs == 2 else f'{runs} times'} (first in epoch row {start}): "
        f"{'two' if runs == 2 else runs} runs in one file, or stages of one? --run 1 to --run {runs} take one of "
        "them, --run all reads them one after another"
    )


def _grow(numbers: Iterable[Any]) -> bool:
    found = list(numbers)
    return all(isinstance(one, (int, float)) for one in found) and all(
        one < other for one, other in pairwise(found)
    )


def _is_before(one: Any, other: Any) -> bool:
    return isinstance(one, (int, float)) and isinstance(other, (int, float)) and one < other


def _resumed(rows: Sequence[dict[str, Any]], again: Sequence[int], notes: list[str]) -> list[dict[str, Any]]:
    """Leave out what a resumed run did once more; of an epoch scored twice after one update the first counts."""
    kept: list[dict[str, Any]] = []
    twice = []
    for place, row in enumerate(rows):
        if place in again:
            last = kept[-1]
            twice.append(row["epoch"])
            if last["epoch"] == row["epoch"] and last.get("update") == row.get("update") is not None:
                continue
            kept = [
                one for one in kept if not _is_before(row["epoch"], one["epoch"]) and one["epoch"] != row["epoch"]
            ]
        kept.append(row)
    dropped = len(rows) - len(kept)
    notes.append(
        f"From epoch {', '.join(f'{one:g}' for one in twice[:6])} on epochs come again, as after a resumption: "
        f"{dropped} {'row' if dropped == 1 else 'rows'} that came twice left out."
    )
    return kept
