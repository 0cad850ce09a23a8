"""Which groups of an HDF5 file are clips, and what else the file holds.

The file is walked once, by the names in its groups and without opening what they stand for. An object that has
several names is met once, however its links run in circles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from ctckit.data.contents import Contents
from ctckit.data.hdf5 import Link, describe_item, follow, names_of, reading
from ctckit.data.schema import FORMAT
from ctckit.errors import ClipError, DataError

SPLITS = frozenset({"train", "dev", "val", "valid", "validation", "test", "eval"})
"""Names by which people put the splits of a corpus into one file."""

_DAMAGED = "the file is damaged, copy or create it again"


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A group that is a clip.

    Attributes:
        clip_id: its path in the file.
        features: what the features' name stands for.
        transcript: what the transcript's name stands for; None where no name in the group is that.
        attributes: how many the group has.
        names: all in the group.
    """

    clip_id: str
    features: Link
    transcript: Link | None
    attributes: int
    names: tuple[str, ...]


@dataclass(slots=True)
class FoundClips:
    """All clips of a file, and what there is besides.

    Attributes:
        clips: depth first in the order of names.
        groups: how many there are, the root aside.
        datasets: how many there are.
        aliases: paths that are further names of what has one already.
        besides: path, path of the group that holds it, and name to show of what lies in a clip and is none.
        described: groups above clips that have attributes, which nobody reads.
    """

    clips: list[FoundClip] = field(default_factory=list)
    groups: int = 0
    datasets: int = 0
    aliases: list[str] = field(default_factory=list)
    besides: list[tuple[str, str, str]] = field(default_factory=list)
    described: int = 0

    def contents(self, used_clips: list[str], used_datasets: set[int], extra: Counter[str]) -> Contents:
        """Count what is used.

        Args:
            used_clips: ids of the clips that are read.
            used_datasets: addresses of the datasets that are read.
            extra: what the reader of the clips has found in them and does not read.
        """
        on_the_way = {path for clip in used_clips for path in _groups_above(clip)} | set(used_clips)
        unused = {path for path, _, _ in self.besides} - on_the_way
        besides = Counter(extra)
        for path, parent, shown in self.besides:
            if path in unused and parent not in unused:
                besides[shown] += 1
        if self.described:
            besides["attributes of groups above clips"] = self.described
        return Contents(
            groups=self.groups,
            datasets=self.datasets,
            used_groups=len(on_the_way),
            used_datasets=len(used_datasets),
            aliases=len(self.aliases),
            besides=dict(besides.most_common()),
        )


def find_clips(
    file: Any, path: Path, features_key: str, transcript_key: str, refuse: Callable[[DataError], None]
) -> FoundClips:
    """Walk an open file for the groups that hold features.

    Groups above clips hold groups alone. Below a clip may be others, as one id may be the beginning of another;
    what else is there is the clip's own affair, and is counted.

    Args:
        file: open `h5py.File`.
        path: its name, for messages.
        features_key: name of the features in the group of a clip.
        transcript_key: name of the transcript, which is not counted among what lies in a clip besides.
        refuse: gets each group that is neither a clip nor leads to any, and each link that leads nowhere.

    Raises:
        DataError: the file is empty, has datasets at its top, or holds several splits.
    """
    if not len(file):
        raise DataError(f"{path}: the file is empty, it holds no clips")
    found = FoundClips()
    seen: set[int] = set()
    # what is still to be looked into: path, the group that holds it, its name there, what it is, the clip above
    root = Link("group", h5py.h5o.get_info(file.id).addr)
    waiting: list[tuple[str, Any, str, Link, str]] = [("", file.id, "", root, "")]
    while waiting:
        where, holder, name, itself, clip = waiting.pop()
        # told only here, so that of several names the first on the way is the one that counts
        if itself.address in seen:
            found.aliases.append(where)
            continue
        seen.add(itself.address)
        found.groups += bool(where)
        try:
            with reading(f"{path}: group {where or '/'!r}", _DAMAGED):
                group = h5py.h5g.open(holder, name.encode()) if name else h5py.h5g.open(holder, b"/")
                names = names_of(group, path)
                links = {child: follow(group, child) for child in names}
        except DataError as error:
            if not where:
                raise
            refuse(error)
            continue
        own = _meet(where, links, seen, found)
        is_clip = bool(where) and features_key in links
        if is_clip:
            found.clips.append(
                FoundClip(where, links[features_key], links.get(transcript_key), itself.attributes, tuple(names))
            )
            clip = where
        elif not where:
            _check_top(file, path, links, features_key)
        elif clip:
            found.besides.append((where, _parent(where), where.removeprefix(f"{clip}/")))
        elif not names or any(link.kind in ("dataset", "type") for link in own.values()):
            refuse(_no_clip(path, where, group, names, features_key))
        else:
            found.described += bool(itself.attributes)
        known = (features_key, transcript_key) if is_clip else ()
        for child, link in links.items():
            lost = link.kind in ("outside", "broken")
            if not clip and lost:
                refuse(ClipError(str(path), f"{where}/{child}" if where else child, f"is {link}"))
            elif clip and (lost or (link.kind != "group" and child in own)) and child not in known:
                inside = f"{where}/{child}"
                found.besides.append((inside, where, inside.removeprefix(f"{clip}/")))
        below = [(child, link) for child, link in own.items() if link.kind == "group"]
        for child, link in reversed(below):
            waiting.append((f"{where}/{child}" if where else child, group, child, link, clip))
    _refuse_splits(found, path)
    return found


def _meet(where: str, links: dict[str, Link], seen: set[int], found: FoundClips) -> dict[str, Link]:
    """Count what a group holds, and return what had not been met under another name."""
    own = {}
    for child, link in links.items():
        if link.kind in ("outside", "broken"):
            continue
        if link.target or link.address in seen:
            found.aliases.append(f"{where}/{child}" if where else child)
            continue
        own[child] = link
        if link.kind != "group":
            seen.add(link.address)
        found.datasets += link.kind == "dataset"
    return own


def _check_top(file: Any, path: Path, links: dict[str, Link], features_key: str) -> None:
    datasets = [name for name, link in links.items() if link.kind in ("dataset", "type") and not link.target]
    if datasets:
        shown = ", ".join(f"{name} {describe_item(file[name])}" for name in datasets[:6])
        raise DataError(
            f"{path}: unknown layout: datasets at the top level ({shown}); expected a file with the attribute "
            f"format={FORMAT!r}, or one group a clip that holds {features_key!r}"
        )


def _no_clip(path: Path, where: str, group: Any, names: list[str], features_key: str) -> ClipError:
    there = ", ".join(sorted([*names, *map(str, h5py.AttributeManager(h5py.Group(group)))])) or "nothing"
    return ClipError(
        str(path),
        where,
        f"no dataset {features_key!r}; there is: {there} (name the right one with --features-key)",
    )


def _refuse_splits(found: FoundClips, path: Path) -> None:
    """Refuse a file whose clips lie in groups for training and for testing, wherever these are."""
    clips = {clip.clip_id for clip in found.clips}
    splits: dict[str, str] = {}
    for one in [*(clip.clip_id for clip in found.clips), *found.aliases]:
        for above in _groups_above(one):
            name = above.rpartition("/")[2].casefold()
            if name in SPLITS and above not in clips:
                splits.setdefault(name, above)
    if len(splits) > 1:
        groups = list(splits.values())
        first = groups[0].rpartition("/")[2]
        raise DataError(
            f"{path}: holds {', '.join(groups)} side by side, which are corpora of their own; write each into a "
            f"file of its own (h5copy -i {path.name} -o {first}.h5 -s {groups[0]} -d {first})"
        )


def _groups_above(path: str) -> list[str]:
    """Paths of the groups above one, the root aside."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
