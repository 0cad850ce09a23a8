"""Scalars of TensorBoard's event files, read by the package ``tensorboard``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from ctckit.errors import DataError
from ctckit.record.foreign.columns import figure_of
from ctckit.record.foreign.places import SIDES

Point = tuple[float, int, float]
"""Wall time, step, value."""


def event_rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Read the scalars of an event file, or of all in a folder, as rows by step.

    Where dev is scored by the epoch and training logged by the step, the time of writing puts them in order.

    Raises:
        DataError: ``tensorboard`` is not installed, or the file holds no scalars.
    """
    sides = [part for part in sorted(path.iterdir()) if part.name.lower() in SIDES] if path.is_dir() else []
    series = _series(path)
    for part in sides:
        series |= {f"{part.name}/{tag}": points for tag, points in _series(part).items()}
    for file in (found for place in (path, *sides) for found in _files(place)):
        records, whole = _records(file)
        if not whole:
            notes.append(
                f"{file.name} ends within a record: {records} whole ones are read; its run goes on, or was cut off."
            )
    if not series:
        raise DataError(
            f"{path}: TensorBoard's events without scalars; give the file or folder of the training's own"
        )
    steps = {tag: [step for _, step, _ in points] for tag, points in series.items()}
    known = [tag for tag in series if figure_of(tag) not in (None, "epoch")]
    apart = len({frozenset(steps[tag]) for tag in known}) > 1
    counted = "epoch" not in series and not apart and any(_consecutive(steps[tag]) for tag in known)
    judged = [tag for tag in known if (figure_of(tag) or "").startswith("val_")]
    if "epoch" not in series and apart and any(_consecutive(steps[tag]) for tag in judged):
        notes.append("Tags count steps differently: put in order by the time at which they were written.")
        points = sorted((time, tag, value) for tag, found in series.items() for time, _, value in found)
        return [{tag: value} for _, tag, value in points]
    if counted:
        notes.append("Steps are consecutive and the same for all tags: read as epochs.")
    rows: dict[int, dict[str, Any]] = {}
    for tag, found in series.items():
        for _, step, value in found:
            rows.setdefault(step, {"epoch" if counted else "global_step": step})[tag] = value
    ordered = [rows[step] for step in sorted(rows)]
    return _epochs_filled(ordered) if "epoch" in series else ordered


def _files(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if ".tfevents." in one.name) if path.is_dir() else [path]


def _records(path: Path) -> tuple[int, bool]:
    """Count the whole records of an event file, and say whether it ends with one.

    The package stops at half a record without a word. A record is its length (uint64), a checksum of that (4
    bytes), the data and a checksum of them (4 bytes): tensorflow/core/lib/io/record_writer.h.
    """
    size, at, records = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(8)
            at += 8 + 4 + int.from_bytes(head, "little") + 4
            if len(head) < 8 or at > size:
                return records, False
            records += 1
    return records, True


def _series(path: Path) -> dict[str, list[Point]]:
    try:
        from tensorboard.backend.event_processing import event_accumulator
        from tensorboard.util import tensor_util
    except ImportError as error:
        raise DataError(
            f"{path}: TensorBoard's events are read by the package tensorboard, which is not installed; "
            "pip install 'ctckit[tensorboard]', or give a CSV or JSON file"
        ) from error
    everything = {event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0}
    events = event_accumulator.EventAccumulator(str(path), size_guidance=everything)
    try:
        events.Reload()
        series = {
            tag: [(event.wall_time, event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        for tag in events.Tags()["tensors"]:  # TensorFlow 2 writes scalars as tensors
            points = [
                (one.wall_time, one.step, tensor_util.make_ndarray(one.tensor_proto)) for one in events.Tensors(tag)
            ]
            if all(value.size == 1 and value.dtype.kind in "fiu" for *_, value in points):
                series[tag] = [(time, step, float(value.item())) for time, step, value in points]
    except Exception as error:  # whatever a damaged record makes the package raise
        raise DataError(f"{path}: TensorBoard's events cannot be read ({error}); is the file complete?") from error
    return series


def _consecutive(steps: Iterable[int]) -> bool:
    found = sorted(set(steps))
    return len(found) > 1 and found[0] in (0, 1) and all(other - one == 1 for one, other in pairwise(found))


def _epochs_filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give rows without an epoch that of the row before, or of the first that has one."""
    epoch = next((row["epoch"] for row in rows if "epoch" in row), None)
    filled = []
    for row in rows:
        epoch = row.get("epoch", epoch)
        filled.append({**row, "epoch": epoch})
    return filled
