"""A run's configuration: the recipe's plan, and what belongs to the run. Every key is consumed or refused.

Layers, later ones win: the recipe, its settings for the embedded corpus (only when that is used), the TOML
file, ``--set``. Naming another component replaces the table with its parameters, and a name alone is enough;
``phases.*`` stands for every phase. A layer that says ``recipe``, as ``train --print-config`` writes it, is a whole
configuration and takes the place of all before it.
"""

from __future__ import annotations

import json
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ctckit.errors import ConfigError, suggest
from ctckit.files import STANDARD
from ctckit.recipe import Component, Plan, Recipe, Strict

NULLABLE = frozenset(
    {"penalty", "dropout", "stage", "curriculum", "max_frames", "max_batch_frames", "frame_rate", "init_from"}
)
"""Keys that take "none" for leaving the thing out."""

PHASE_COMPONENTS = ("schedule", "penalty")
"""Keys of a phase that hold one component each."""


class DataConfig(Strict):
    """Corpora and how their features are prepared."""

    train: Path | None = None
    """Training corpus (HDF5)."""

    dev: Path | None = None
    """Corpus on which epochs are compared."""

    test: Path | None = None
    """Corpus that is scored once, after training."""

    unit: Literal["word", "character"] = "word"
    """What a label is, where the corpus holds transcripts as text."""

    features_key: str = "features"
    """Dataset of a clip's group that holds the features."""

    transcript_key: str = "transcript"
    """Attribute or dataset of a clip's group that holds the transcript."""

    deltas: Annotated[int, Field(ge=0, le=2)] = 0
    """Orders of time derivatives appended to the features."""

    normalize: Literal["none", "corpus", "clip_mean"] = "corpus"
    """``corpus``: mean and variance of the training corpus. ``clip_mean``: each clip's own mean first."""

    frame_rate: Annotated[float, Field(gt=0)] | None = None
    """Feature frames a second, by which decoded tokens get times in seconds; unknown where it is not given."""

    infeasible: Literal["error", "drop"] = "error"
    """Clips too short for their labels: refuse to train, or leave them out and list their ids."""

    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read clips; 0 reads in the training process and keeps what it has read."""

    cache_mb: Annotated[int, Field(ge=0)] = 1024
    """Memory for prepared clips of each corpus when ``workers`` is 0, MiB."""


class EvaluationConfig(Strict):
    """How finished epochs are judged."""

    train_clips: Annotated[int, Field(ge=1)] = 128
    """Training clips scored in evaluation mode after each epoch; the overfit ratio and the plateau use them."""

    logit_shift: Literal["same", "none"] = "same"
    """Whether a logit shift used in training is in force in evaluation. ``none`` makes the evaluated model
    ``exp(|shift|)`` times more blank-dominant and is refused where the shift does not end at 0, unless
    ``accept_blank_dominance`` is set."""

    accept_blank_dominance: bool = False
    """Asks for ``logit_shift = "none"`` by name."""


class Config(Plan):
    """Everything that decides the outcome of a run, apart from code and machine."""

    recipe: str
    """The recipe that the plan came from."""

    init_from: Path | None = None
    """A run, checkpoint or safetensors export whose weights the model begins with, rows of shared labels kept."""

    data: DataConfig = DataConfig()
    """Corpora."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """Judging of epochs."""


def resolve(recipe: Recipe, layers: Iterable[tuple[str, Mapping[str, Any]]]) -> Config:
    """Lay settings over a recipe and validate the result.

    Args:
        recipe: the ground layer.
        layers: pairs of where the settings come from, for messages, and nested settings.

    Raises:
        ConfigError: names the layer's origin, the key and what to do.
    """
    plan = recipe.model_dump(exclude={"name", "description", "requires", "demo"})
    plan["recipe"] = recipe.name
    config = _validated(plan, f"recipe '{recipe.name}'")
    for origin, settings in layers:
        if "recipe" in settings:
            config = whole(settings, recipe.name, origin)
            plan = config.model_dump()
        else:
            _merge(plan, settings, origin, ())
            config = _validated(plan, origin)
    return config


def whole(settings: Mapping[str, Any], recipe: str, origin: str) -> Config:
    """Take a configuration that was written out whole.

    Args:
        settings: all of them.
        recipe: name of the recipe that was chosen.
        origin: where they come from, for messages.

    Raises:
        ConfigError: they belong to another recipe, are not whole, or cannot be.
    """
    if settings["recipe"] != recipe:
        raise ConfigError(
            f"{origin}: is for the recipe '{settings['recipe']}', not '{recipe}'; the recipe is chosen with "
            "--recipe, or by naming its plugin, as the file's first line has them"
        )
    absent = {"model", "phases"} - set(settings)
    if absent:
        raise ConfigError(
            f"{origin}: names its recipe, as a whole configuration does, and lacks {', '.join(sorted(absent))}; "
            "leave 'recipe' out to change some settings"
        )
    return _validated(_with_nulls(settings), origin)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a configuration file; ``-`` is standard input.

    Raises:
        ConfigError: the file is missing or not TOML.
    """
    try:
        content = sys.stdin.buffer.read() if path == STANDARD else path.read_bytes()
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def parse_assignment(assignment: str) -> dict[str, Any]:
    """Parse ``key.path=value``; the value is TOML, or text where it is not.

    Raises:
        ConfigError: there is no ``=`` or no key.
    """
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {assignment}: write key=value, for example --set model.hidden_size=128")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return nest({key.strip(): value})


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested tables."""
    nested: dict[str, Any] = {}
    for dotted, value in flat.items():
        *path, last = dotted.split(".")
        table = nested
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
    return nested


def to_json(config: Config) -> dict[str, Any]:
    """Return the configuration as JSON values."""
    values: dict[str, Any] = json.loads(config.model_dump_json())
    return values


def from_json(values: Mapping[str, Any]) -> Config:
    """Restore what ``to_json`` returned."""
    return _validated(dict(values), "stored configuration")


def _merge(plan: dict[str, Any], settings: Mapping[str, Any], origin: str, path: tuple[str, ...]) -> None:
    # "*" first, so that within one layer what is said of a single phase wins over what is said of all
    for key, value in sorted(settings.items(), key=lambda item: item[0] != "*"):
        if value == "none" and key in NULLABLE:
            plan[key] = None  # TOML has no null
        elif path == ("phases",) and key == "*":
            for phase in plan:
                _merge(plan, {phase: value}, origin, path)
        elif path == ("phases",) and key not in plan:
            raise ConfigError(f"{origin}: unknown phase '{key}'{suggest(key, plan)}")
        elif _is_component(path, key) and isinstance(value, str | Mapping) and isinstance(plan.get(key), dict):
            given, known = {"name": value} if isinstance(value, str) else value, plan[key]
            if given.get("name", known["name"]) != known["name"]:
                plan[key] = dict(given)  # another component has other parameters
            else:
                _merge(known, given, origin, (*path, key))
        elif isinstance(value, Mapping) and isinstance(plan.get(key), dict):
            _merge(plan[key], value, origin, (*path, key))
        else:
            plan[key] = dict(value) if isinstance(value, Mapping) else value


def _is_component(path: tuple[str, ...], key: str) -> bool:
    """Whether a component, or its name, stands at a key."""
    return (not path and key == "model") or (len(path) == 2 and path[0] == "phases" and key in PHASE_COMPONENTS)


def _with_nulls(value: Any) -> Any:
    """Put None where TOML says "none" for it."""
    if isinstance(value, Mapping):
        return {
            key: None if inner == "none" and key in NULLABLE else _with_nulls(inner) for key, inner in value.items()
        }
    return [_with_nulls(inner) for inner in value] if isinstance(value, list) else value


def _validated(plan: dict[str, Any], origin: str) -> Config:
    try:
        return Config.model_validate(plan)
    except ValidationError as error:
        first = error.errors()[0]
        location = tuple(str(part) for part in first["loc"])
        dotted = ".".join(location)
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{origin}: unknown key '{dotted}'{suggest(location[-1], _keys_at(location[:-1]))}"
            ) from None
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"{origin}: {dotted} = {first['input']!r}: {message}") from None


def _keys_at(path: tuple[str, ...]) -> list[str]:
    """Return the keys that the table at ``path`` has."""
    table: type[BaseModel] = Config
    skip_name = False
    for part in path:
        if skip_name:
            skip_name = False
            continue
        annotation = table.model_fields[part].annotation
        models = [a for a in _flatten(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not models:
            return []
        table = models[0]
        skip_name = part == "phases"
    return list(table.model_fields)


def _flatten(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (None, Literal):
        return [annotation]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, dict, tuple, Annotated):
        return [leaf for argument in typing.get_args(annotation) for leaf in _flatten(argument)]
    return [annotation]


__all__ = [
    "Component",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "from_json",
    "nest",
    "parse_assignment",
    "read_toml",
    "resolve",
    "to_json",
    "whole",
]
