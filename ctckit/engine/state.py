"""What changes while a run goes on: each part saves and restores itself, under its name in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import torch

from ctckit.engine.apply import Adjustments
from ctckit.engine.step import StepOutcome
from ctckit.errors import CheckpointError
from ctckit.interfaces import Model, Stateful
from ctckit.record.history import Best


class Saved(Protocol):
    """A part of a run that saves and restores itself."""

    def state_dict(self) -> Any:
        """Return tensors and plain values."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Restore what ``state_dict`` returned."""


@dataclass(slots=True)
class EpochTotals:
    """Sums over the steps of the epoch under way; part of the state, so that an epoch can be left and resumed."""

    steps: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    cropped: int = 0
    clips: int = 0
    seconds: float = 0.0
    auxiliary: dict[str, float] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    module_gradients: dict[str, float] = field(default_factory=dict)

    def add(self, outcome: StepOutcome, *, clips: int, cropped: int) -> None:
        """Count a step."""
        self.steps += 1
        self.clips += clips
        self.cropped += cropped
        self.loss += outcome.loss
        self.gradient_norm += outcome.gradient_norm
        for sums, values in (
            (self.auxiliary, outcome.auxiliary),
            (self.terms, outcome.terms),
            (self.module_gradients, outcome.module_gradients),
        ):
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value


@dataclass(slots=True)
class RunState:
    """Where a run stands, beside its clock, its components, weights and random numbers.

    Attributes:
        adjustments: what actions have changed about the phase under way.
        totals: sums over the steps of the epoch under way.
        best: the best epoch so far.
        judged_shift: logit shift under which the last epoch was judged; what decoding a checkpoint applies.
        blank_bias_start: bias of the blank before the first step, or after the last penalty that set it.
    """

    adjustments: Adjustments = field(default_factory=Adjustments)
    totals: EpochTotals = field(default_factory=EpochTotals)
    best: Best | None = None
    judged_shift: float = 0.0
    blank_bias_start: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned; other names are other parts'.

        Raises:
            CheckpointError: a record in it lacks a name or has an unknown one.
        """
        records = {"adjustments": Adjustments, "totals": EpochTotals, "best": Best}
        for name in (one.name for one in fields(self)):
            value, kind = state[name], records.get(name)
            setattr(self, name, value if kind is None or value is None else _record(kind, name, value))


class Weights:
    """The weights of a model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Any]:
        """Return them by name."""
        weights: dict[str, Any] = self._model.state_dict()
        return weights

    def load_state_dict(self, weights: Mapping[str, Any]) -> None:
        """Load them.

        Raises:
            CheckpointError: they do not fit, because the code of the model has changed since.
        """
        try:
            self._model.load_state_dict(weights)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise CheckpointError(
                f"the weights do not fit {type(self._model).__name__}, whose code has changed: {first}"
            ) from error


class States:
    """The states of components, by name."""

    def __init__(self, components: Mapping[str, Stateful]) -> None:
        self._components = components

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each."""
        return {name: component.state_dict() for name, component in self._components.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore each.

        Raises:
            CheckpointError: other components were saved, or a state does not fit; names the component.
        """
        if set(self._components) != set(state):
            raise CheckpointError(
                f"the checkpoint has components {sorted(state)}, the run {sorted(self._components)}"
            )
        for name, component in self._components.items():
            try:
                component.load_state_dict(state[name])
            except CheckpointError as error:
                raise CheckpointError(f"{name}: {error}") from error


class HostGenerator:
    """torch's random numbers on the host, from which all that is random in a run is drawn there."""

    def state_dict(self) -> torch.Tensor:
        """Return the generator's state."""
        return torch.get_rng_state()

    def load_state_dict(self, state: torch.Tensor) -> None:
        """Restore it."""
        torch.set_rng_state(state)


class DeviceGenerator:
    """torch's random numbers on the run's device; nothing where that is the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state_dict(self) -> torch.Tensor | None:
        """Return the generator's state, or None."""
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None

    def load_state_dict(self, state: torch.Tensor | None) -> None:
        """Restore it, where run and checkpoint both have one."""
        if self._device.type == "cuda" and state is not None:
            torch.cuda.set_rng_state(state, self._device)


def _record(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    known = {one.name for one in fields(kind)}
    if set(values) != known:
        raise CheckpointError(f"the checkpoint's {name} hold {sorted(values)}, expected {sorted(known)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
