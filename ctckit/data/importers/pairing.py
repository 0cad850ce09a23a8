"""Brings the rows of a manifest and features together, and writes what came of it, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from ctckit.data.importers.copying import fits_half
from ctckit.data.importers.rows import Manifest, Row
from ctckit.data.importers.speakers import read_people
from ctckit.data.importers.stores import Features
from ctckit.data.schema import SPEAKERS
from ctckit.data.writer import CorpusWriter, FeatureType
from ctckit.errors import DataError


class Wishes(TypedDict, total=False):
    """What may be said of any import, whatever it reads.

    Attributes:
        dtype: how features are stored; None takes float16 where it loses nothing, else float32.
        speakers: file of clip -> speaker, which becomes the attribute ``speaker``.
        signers: the same for ``signer``.
        skip_missing: leave out rows without features, instead of refusing them.
        skip_unlisted: leave out features without a row, instead of refusing them.
        overwrite: replace an existing file.
    """

    dtype: FeatureType | None
    speakers: Path | None
    signers: Path | None
    skip_missing: bool
    skip_unlisted: bool
    overwrite: bool


@dataclass(frozen=True)
class Imported:
    """What an import read and what became of it.

    Attributes:
        clips: number written.
        rows: number in the manifest.
        missing: ids of rows that were left out because they have no features.
        unlisted: keys of features that were left out because no row names them.
        said: how the source was read, for people, a line each.
    """

    clips: int
    rows: int
    missing: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "read_as": list(self.said),
            "rows": self.rows,
            "missing": list(self.missing),
            "unlisted": list(self.unlisted),
        }


def write_clips(output: Path, manifest: Manifest, features: Features, wishes: Wishes) -> Imported:
    """Writes a corpus file of the rows that have features, in their order.

    Everything that can be checked without reading the features is checked before anything is written.

    Raises:
        DataError: a row without features, features without a row, two rows with the same features, features that
            do not fit, or a file that cannot be written.
    """
    said = list(manifest.said)
    pairs, missing = _pair(manifest, features, said)
    if missing and not wishes.get("skip_missing", False):
        first = missing[0]
        raise DataError(
            f"{manifest.path}: {first.place}: clip {first.clip_id!r} {features.lacks(first.clip_id)} "
            f"({len(missing)} of {len(manifest.rows)} rows have no features); add them, or leave such rows out "
            "(--skip-missing)"
        )
    if not pairs:
        raise DataError(
            f"{manifest.path}: no row has features: clip {missing[0].clip_id!r} "
            f"{features.lacks(missing[0].clip_id)}; check the folder"
        )
    unlisted = features.unlisted({key for _, key in pairs})
    if unlisted and not wishes.get("skip_unlisted", False):
        raise DataError(
            f"{features.place(unlisted[0])}: no row in {manifest.path} ({len(unlisted)} are without one); add one, "
            "or leave such features out (--skip-unlisted)"
        )
    rows = [replace(row, clip_id=key) if manifest.ids_are_paths else row for row, key in pairs]
    keys = [key for _, key in pairs]
    for attribute in ("speaker", "signer"):
        path = wishes.get("speakers") if attribute == "speaker" else wishes.get("signers")
        if path is not None:
            rows = _with_people(rows, attribute, path, manifest.path, said)
    _say_people(rows, said)
    width, types = features.check(keys)
    dtype = wishes.get("dtype") or ("float16" if all(map(fits_half, types)) else "float32")
    with CorpusWriter(
        output,
        width,
        alphabet=manifest.alphabet,
        unit=manifest.unit,
        dtype=dtype,
        notes={"source": f"{features.name} with {manifest.path.name}"},
        overwrite=wishes.get("overwrite", False),
    ) as writer:
        for row, key in zip(rows, keys, strict=True):
            writer.add(row.clip_id, features.load(key), row.tokens, row.attributes)
    return Imported(
        len(rows), len(manifest.rows), tuple(row.clip_id for row in missing), tuple(unlisted), tuple(said)
    )


def _pair(manifest: Manifest, features: Features, said: list[str]) -> tuple[list[tuple[Row, str]], list[Row]]:
    """Rows with the key of their features, and rows that have none."""
    pairs: list[tuple[Row, str]] = []
    missing: list[Row] = []
    owners: dict[str, Row] = {}
    for row in manifest.rows:
        key = features.find(row.clip_id, by_stem=manifest.ids_are_paths)
        if key is None:
            missing.append(row)
            continue
        if key in owners:
            raise DataError(
                f"{manifest.path}: {row.place}: clip {row.clip_id!r} has the features of {owners[key].clip_id!r} "
                f"({owners[key].place}), {features.place(key)}; every clip needs features of its own"
            )
        owners[key] = row
        pairs.append((row, key))
    guessed = [(row, key) for row, key in pairs if key != row.clip_id]
    if guessed:
        row, key = guessed[0]
        said.append(
            f"{len(guessed)} of {len(manifest.rows)} rows found by the end of their path, such as "
            f"{features.place(key)} for {row.clip_id!r}"
        )
    return pairs, missing


def _with_people(rows: Sequence[Row], attribute: str, path: Path, manifest: Path, said: list[str]) -> list[Row]:
    people = read_people(path)
    unknown = [row for row in rows if row.clip_id not in people]
    if unknown:
        raise DataError(
            f"{path}: does not say who clip {unknown[0].clip_id!r} ({manifest}: {unknown[0].place}) shows "
            f"({len(unknown)} of {len(rows)} clips are missing); add them"
        )
    for row in rows:
        known = row.attributes.get(attribute)
        if known and known != people[row.clip_id]:
            raise DataError(
                f"{path}: clip {row.clip_id!r} is of {people[row.clip_id]!r}, but {manifest}: {row.place} says "
                f"{attribute} {known!r}; make them agree"
            )
    spare = len(people) - len(rows)
    said.append(
        f"{attribute} from {path.name}" + (f"; {spare} of its clips are not in the corpus" if spare else "")
    )
    return [replace(row, attributes={**row.attributes, attribute: people[row.clip_id]}) for row in rows]


def _say_people(rows: Sequence[Row], said: list[str]) -> None:
    """Says which attribute tells who a clip shows, and of how many clips it does not."""
    for name in sorted({name for row in rows for name in row.attributes if name.casefold() in SPEAKERS}):
        values = [row.attributes.get(name, "") for row in rows]
        unknown = values.count("")
        lacking = f"; {unknown} clips do not say" if unknown else ""
        said.append(f"{name}: {len({*values} - {''})} in {len(rows)} clips{lacking}")
