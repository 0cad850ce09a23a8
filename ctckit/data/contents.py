"""What a corpus file holds, and how much of it is read: nothing in it goes by unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Contents:
    """Groups and datasets of a file, seen against used.

    Attributes:
        groups: in the file, its root aside.
        datasets: in the file.
        used_groups: clips, and groups on the way to them.
        used_datasets: of features, transcripts and whatever else is read.
        aliases: further names of what has one already, by hard or soft links; each object counts and is read once.
        besides: what is not read, with how often it is there; of what lies in clips, the name within the clip.
    """

    groups: int
    datasets: int
    used_groups: int
    used_datasets: int
    aliases: int
    besides: Mapping[str, int]

    def __str__(self) -> str:
        text = (
            f"{self.used_groups} of {_counted(self.groups, 'group')} and {self.used_datasets} of "
            f"{_counted(self.datasets, 'dataset')} are used"
        )
        if self.aliases:
            text += f"; {_counted(self.aliases, 'further name')} of the same things, read once"
        if self.besides:
            names = [f"{name} ({times} times)" if times > 1 else name for name, times in self.besides.items()]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            text += f"; not read: {', '.join(names[:SHOWN])}{more}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {**asdict(self), "besides": dict(self.besides)}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
