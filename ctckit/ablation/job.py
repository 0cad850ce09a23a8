"""One run of an ablation: its folder, what it must have been trained with, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ctckit.config import Config, from_json, to_json
from ctckit.engine.folder import checkpoint_in
from ctckit.errors import ConfigError, DataError
from ctckit.files import atomic
from ctckit.record.history import HISTORY, read_history
from ctckit.toml import as_toml

IDENTITY, SETTINGS, LOG, FAILURE = "variant.json", "run.toml", "train.log", "failure.txt"

ENDED = frozenset({"finished", "stopped by a monitor", "out of time", "out of updates"})
"""Reasons of a history's closing row after which nothing is left to do: only the ablation sets time and updates."""

Status = Literal["ended", "failed", "unfinished", "not run"]


@dataclass(frozen=True, slots=True)
class Job:
    """A variant with a seed, fully resolved.

    Attributes:
        variant: its name.
        folder: of the run.
        plugins: versions of all plugins, by what finds them.
        config: what to train.
        fingerprints: of the corpora, by part.
        minutes: of training, or None for any.
        updates: optimiser steps, or None for any.
    """

    variant: str
    folder: Path
    plugins: Mapping[str, str]
    config: Config
    fingerprints: Mapping[str, str]
    minutes: float | None = None
    updates: int | None = None

    def identity(self) -> dict[str, Any]:
        """What decides the outcome; a stored run with another identity is another run."""
        return {
            "minutes": self.minutes,
            "updates": self.updates,
            "plugins": dict(self.plugins),
            "data": dict(self.fingerprints),
            "config": to_json(self.config),
        }

    def prepare(self) -> None:
        """Make the folder and write down what is about to be trained in it.

        Raises:
            DataError: it cannot be written.
        """
        for name, text in (
            (SETTINGS, as_toml(self.config)),
            (IDENTITY, json.dumps(self.identity(), indent=2, ensure_ascii=False) + "\n"),
        ):
            with atomic(self.folder / name, DataError) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def refuse_other(self) -> None:
        """Refuse to go on with a run that was trained with anything else.

        Raises:
            ConfigError: names the first key that differs.
        """
        path = self.folder / IDENTITY
        if not path.is_file():
            if (self.folder / HISTORY).exists():
                raise ConfigError(f"{self.folder}: holds a run that is not of an ablation; give another --out")
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            # as this version of ctckit reads it, so that a key that is new since then has its default
            stored["config"] = to_json(from_json(stored["config"]))
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise ConfigError(
                f"{path}: cannot be compared with the plan ({error}); delete {self.folder}"
            ) from error
        before, now = dict(_leaves(stored)), dict(_leaves(self.identity()))
        for key in dict.fromkeys([*now, *before]):
            if before.get(key) != now.get(key):
                raise ConfigError(
                    f"{self.folder}: was trained with {key} = {json.dumps(before.get(key))}, the plan says "
                    f"{json.dumps(now.get(key))}; delete the folder or rename the variant"
                )


def status_of(folder: Path) -> tuple[Status, str]:
    """Say how far the run in ``folder`` is, and why or with which error.

    Raises:
        DataError: its history cannot be read.
    """
    failure = folder / FAILURE
    if failure.is_file():
        return "failed", failure.read_text(encoding="utf-8").strip()
    if not (folder / HISTORY).is_file():
        return "not run", ""
    ending = read_history(folder).ending
    reason = str((ending or {}).get("reason", "no closing row"))
    return ("ended" if reason in ENDED else "unfinished"), reason


def spent_seconds(folder: Path) -> float:
    """Return the seconds of training in ``folder`` so far, those of an unfinished epoch included."""
    from ctckit.engine.checkpoint import load_checkpoint

    if not (folder / HISTORY).is_file():
        return 0.0
    total = sum(epoch.seconds or 0.0 for epoch in read_history(folder).epochs)
    last = checkpoint_in(folder, "last")
    if last.is_file():
        state = load_checkpoint(last)
        at = state["clock"]["now"]
        total += state["totals"]["seconds"] if at["batch"] < at["batches"] else 0.0
    return total


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        dotted = f"{prefix}{key}".removeprefix("config.")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted, value
