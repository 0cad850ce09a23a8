"""Writes a resolved configuration as a RUN.toml: what ``train --config`` takes, and what repeats a run by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ctckit.config import NULLABLE, Config, to_json

BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(config: Config) -> str:
    """Return all settings of a configuration; which recipe they lie over is said on the command line."""
    values = {key: value for key, value in to_json(config).items() if key != "recipe"}
    return "\n".join(_table(values, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    given = {key: "none" if value is None else value for key, value in table.items() if _writable(key, value)}
    tables = {key: value for key, value in given.items() if isinstance(value, Mapping)}
    if path and (not given or len(tables) < len(given)):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in given.items():
        if key not in tables:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in tables.items():
        yield from _table(value, (*path, key))


def _writable(key: str, value: Any) -> bool:
    # TOML has no null: some keys take "none" for it, for the others it is the default and left out
    return value is not None or key in NULLABLE


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = (f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value if item is not None)}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
