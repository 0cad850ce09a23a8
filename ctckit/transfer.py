"""The weights of a trained model as the beginning of another run: fine-tuning, with the same labels or others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctckit.config import Config
from ctckit.data import FeaturePipeline
from ctckit.engine.state import Weights
from ctckit.errors import CheckpointError, ConfigError
from ctckit.interfaces import Model
from ctckit.stored import Stored

SHOWN = 8
"""Labels or weights that are listed in a message."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a model began with.

    Attributes:
        source: the checkpoint or export.
        epoch: that it comes from.
        kept: labels whose rows were taken, blank included.
        new: labels whose rows were initialised.
        left: labels of the source that this alphabet lacks.
        initialised: weights that the source lacks.
        unused: weights of the source that this model lacks.
        lost_shift: shift of the blank that the source is decoded with and this model has no bias for, nats.
    """

    source: Path
    epoch: int
    kept: tuple[str, ...]
    new: tuple[str, ...]
    left: tuple[str, ...]
    initialised: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    lost_shift: float = 0.0

    def lines(self) -> list[str]:
        """Say it, a line a fact."""
        said = [f"begins with the weights of {self.source}, epoch {self.epoch}, and its feature statistics"]
        if self.new or self.left:
            said.append(f"rows of {len(self.kept)} classes are kept, blank included")
        if self.new:
            said.append(f"{len(self.new)} labels are new: {_listed(self.new)}")
        if self.left:
            said.append(f"{len(self.left)} labels of it are left out: {_listed(self.left)}")
        if self.initialised:
            said.append(f"it lacks {len(self.initialised)} weights, which are new: {_listed(self.initialised)}")
        if self.unused:
            said.append(f"{len(self.unused)} weights of it have no place here: {_listed(self.unused)}")
        if self.lost_shift:
            said.append(
                f"its shift of the blank, {self.lost_shift:g} nats, is left out: no bias of the blank is shown"
            )
        return said

    def as_dict(self) -> dict[str, Any]:
        """Return it for the history."""
        return {
            "source": str(self.source),
            "epoch": self.epoch,
            "kept": len(self.kept),
            "new": list(self.new),
            "left": list(self.left),
            "initialised": list(self.initialised),
            "unused": list(self.unused),
            "lost_shift": self.lost_shift,
        }


def transferred_pipeline(stored: Stored, config: Config, feature_size: int, source: Path) -> FeaturePipeline:
    """Return the feature preparation that the weights were trained with, statistics and all.

    Raises:
        ConfigError: this run prepares features otherwise.
    """
    pipeline = FeaturePipeline.from_state_dict(dict(stored.pipeline))
    for key, theirs, ours in (
        ("deltas", pipeline.deltas, config.data.deltas),
        ("normalize", pipeline.normalize, config.data.normalize),
    ):
        if theirs != ours:
            raise ConfigError(f"init_from: {source} was trained with data.{key} = {theirs!r}; set that here too")
    if pipeline.feature_size != feature_size:
        raise ConfigError(
            f"init_from: {source} was trained on features {pipeline.feature_size} wide, these are {feature_size}; "
            "use those of the same extractor"
        )
    return pipeline


def transfer(
    model: Model, larger: Callable[[], Model], stored: Stored, tokens: Sequence[str], source: Path
) -> Transfer:
    """Put stored weights into a model.

    Which dimensions of a weight count classes is told by comparing the model with one that has a class more, so
    that any model can be fine-tuned with another alphabet. A remaining shift of the blank goes into its bias.

    Args:
        model: freshly initialised; changed in place.
        larger: makes the same model with a class more; called only where the alphabets differ.
        stored: what to begin with.
        tokens: of this run, blank first.
        source: where it is stored, for messages.

    Raises:
        ConfigError: a size differs, or nothing of the source has a place here.
    """
    places = {token: number for number, token in enumerate(stored.tokens)}
    shared = [(number, places[token]) for number, token in enumerate(tokens) if token in places]
    here, there = (torch.tensor(numbers) for numbers in zip(*shared, strict=True))
    own: Mapping[str, Tensor] = model.state_dict()
    odd = next((name for name, value in own.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise ConfigError(f"init_from: the model keeps '{odd}', which is no tensor; such a model begins afresh")
    other = tuple(tokens) != tuple(stored.tokens)
    of_classes = _class_dimensions(own, larger) if other else {}
    weights, initialised = {}, []
    for name, value in own.items():
        given = stored.weights.get(name)
        if given is None:
            initialised.append(name)
            weights[name] = value
            continue
        dimensions = of_classes.get(name, ())
        wanted = tuple(
            len(stored.tokens) if dimension in dimensions else size for dimension, size in enumerate(value.shape)
        )
        if tuple(given.shape) != wanted:
            raise ConfigError(
                f"init_from: {name} has shape {list(given.shape)} in {source}, here it would have {list(wanted)}; "
                f"give the model the settings of that run: {_settings(stored)}"
            )
        weights[name] = _rows_taken(value, given, dimensions, here, there)
    if len(initialised) == len(own):
        raise ConfigError(f"init_from: {source} holds no weight of this model; it is a {stored.config.model.name}")
    try:
        Weights(model).load_state_dict(weights)
    except CheckpointError as error:
        raise ConfigError(f"init_from: {source}: {error}") from error
    bias = model.blank_bias()
    if bias is not None and stored.shift:
        with torch.no_grad():
            bias += stored.shift
    return Transfer(
        source,
        stored.epoch,
        tuple(tokens[number] for number, _ in shared),
        tuple(token for token in tokens if token not in places),
        tuple(token for token in stored.tokens if token not in set(tokens)),
        tuple(initialised),
        tuple(name for name in stored.weights if name not in own),
        0.0 if bias is not None else stored.shift,
    )


def _class_dimensions(own: Mapping[str, Tensor], larger: Callable[[], Model]) -> dict[str, tuple[int, ...]]:
    with torch.random.fork_rng(devices=[]):  # what is drawn for it is drawn for nothing
        grown: Mapping[str, Tensor] = larger().state_dict()
    return {
        name: tuple(
            dimension
            for dimension, (size, more) in enumerate(zip(value.shape, grown[name].shape, strict=True))
            if more == size + 1
        )
        for name, value in own.items()
        if name in grown and value.dim() == grown[name].dim()
    }


def _rows_taken(value: Tensor, given: Tensor, dimensions: Sequence[int], here: Tensor, there: Tensor) -> Tensor:
    """Return ``value`` with what belongs to shared labels, or all of it, from ``given``."""
    if not dimensions:
        return given
    for dimension in dimensions:
        given = given.index_select(dimension, there)
    # an index a dimension, each along its own
    places = [here if dimension in dimensions else torch.arange(size) for dimension, size in enumerate(value.shape)]
    result = value.clone()
    result[torch.meshgrid(*places, indexing="ij")] = given.to(value.dtype)
    return result


def _settings(stored: Stored) -> str:
    model = stored.config.model
    return ", ".join([f"model={model.name}", *(f"model.{key}={value}" for key, value in model.params.items())])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
