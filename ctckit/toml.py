"""Writes a resolved configuration as a RUN.toml: what ``train --config`` takes, and what repeats a run by hand."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from ctckit.config import NULLABLE, Config, whole
from ctckit.errors import ConfigError

BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(config: Config) -> str:
    """Return a configuration with its recipe's name, which ``config.resolve`` takes back as the same configuration.

    Raises:
        ConfigError: a component's parameter is None or no plain value, which TOML cannot say.
    """
    text = "\n".join(_table(config.model_dump(), ())).strip() + "\n"
    if whole(tomllib.loads(text), config.recipe, "as written") != config:
        raise ConfigError("the settings cannot be written as TOML: a parameter of a component is no plain value")
    return text


def literal(value: Any) -> str:
    """Return a value as TOML writes it, tables inline."""
    if isinstance(value, Mapping):
        parts = (f"{_key(key)} = {literal(_named(item))}" for key, item in value.items() if _writable(key, item))
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(literal(item) for item in value if item is not None)}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    given = {key: _named(value) for key, value in table.items() if _writable(key, value)}
    tables = {key: value for key, value in given.items() if isinstance(value, Mapping)}
    if path and (not given or len(tables) < len(given)):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in given.items():
        if key not in tables:
            yield f"{_key(key)} = {literal(value)}"
    for key, value in tables.items():
        yield from _table(value, (*path, key))


def _writable(key: str, value: Any) -> bool:
    # TOML has no null: some keys take "none" for it, for the others it is the default and left out
    return value is not None or key in NULLABLE


def _named(value: Any) -> Any:
    return "none" if value is None else value


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else literal(key)
