"""What a plugin can provide: Model, Schedule, Penalty, Monitor, and Regularizer for what a shift cannot say.

This module knows records, actions and errors alone, so that a plugin depends on contracts and nothing more.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ctckit.actions import Action
from ctckit.errors import CheckpointError, ConfigError
from ctckit.types import (
    Batch,
    Domain,
    Emissions,
    EpochResult,
    Figure,
    Finding,
    Progress,
    Remedy,
    Sample,
    StepResult,
)


class Stateful:
    """State that is named, complete and strict.

    A component lists in ``STATE`` the attributes that change while it runs. Saving copies them, loading
    refuses any missing or unknown name. A component without state has nothing to do.
    """

    STATE: ClassVar[tuple[str, ...]] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return the named state: JSON values or tensors."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self.STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            CheckpointError: a name is missing or unknown.
        """
        if set(state) != set(self.STATE):
            raise CheckpointError(
                f"{type(self).__name__}: state holds {sorted(state)}, expected {sorted(self.STATE)}; "
                "the checkpoint was written by another version of this component"
            )
        for name in self.STATE:
            setattr(self, name, copy.deepcopy(state[name]))


class Model(nn.Module, ABC):
    """A network from feature frames to logits.

    ctckit constructs it as ``cls(input_size=F, num_classes=C, **params)``; ``params`` are the remaining
    arguments of ``__init__`` and come from the configuration, so annotate them and give them defaults.

    ``FIGURES`` are figures of its own, measured at the end of every epoch: ``measure`` is given the model.
    """

    FIGURES: ClassVar[tuple[Figure, ...]] = ()

    @abstractmethod
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        """Compute logits.

        Args:
            features_BTF: float features, zero beyond each clip's length.
            lengths_B: int64 frames of each clip, at least 1.

        Returns:
            Logits before penalty and log-softmax, with their lengths. A clip gives the same logits alone and
            padded in a batch, whatever the padding holds.
        """

    @abstractmethod
    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Map input lengths to output lengths exactly, without running the network (int64 to int64).

        The feasibility audit relies on it before the first step.
        """

    def blank_bias(self) -> Tensor | None:
        """Return a one-element view of the bias of the blank logit, or None if the model has none.

        It lets a penalty start the bias somewhere, and lets the export fold a remaining logit shift into it.
        """
        return None

    def set_dropout(self, probability: float) -> None:
        """Set the probability of every dropout layer, recurrent ones included."""
        for layer, attribute in dropout_layers(self):
            setattr(layer, attribute, probability)

    def set_stage(self, stage: int) -> None:
        """Switch to a training stage such as 1 (frame level only) or 2 (full model).

        Raises:
            ConfigError: the model has no such stage.
        """
        raise ConfigError(f"{type(self).__name__} has no stage {stage}; remove 'stage' from the phase")

    def remedies(self, frames_per_label: float) -> Sequence[Remedy]:
        """Return what to change about the model as it is configured, most promising first; nothing by default.

        A run's history begins with them, and the doctor proposes them to a run that needs them. The change of a
        setting is said as ``--set model.NAME=VALUE``.

        Args:
            frames_per_label: output frames of the training corpus to each of its labels.
        """
        return ()


def dropout_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield each layer that drops units, with the attribute that holds its probability."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            yield module, "p"
        elif isinstance(module, nn.RNNBase) and module.num_layers > 1:  # torch drops between stacked layers only
            yield module, "dropout"


class Schedule(Stateful, ABC):
    """A learning rate as a function of time."""

    @abstractmethod
    def learning_rate(self, at: Progress) -> float:
        """Return the learning rate for the step about to be taken: finite, >= 0, the same for the same time.

        What the schedule learnt from metrics is state, changed in ``observe`` alone.
        """

    def observe(self, epoch: EpochResult) -> None:
        """Take note of a finished epoch. Called once an epoch, in order."""


class Penalty(Stateful, ABC):
    """A shift of the blank class, in nats, at most 0.

    Attributes:
        domain: ``logit`` adds the shift to the blank logit before the softmax. It is a re-parameterisation of
            the bias, so ctckit keeps it in force in evaluation too. ``path`` multiplies the probability of a
            path by ``exp(shift)`` for each of its blanks; it changes the optimum and has no counterpart in
            evaluation. Useful path shifts lie between -0.3 and -1.5.
    """

    domain: Domain = "logit"

    @abstractmethod
    def shift(self, at: Progress) -> float:
        """Return the shift for the step about to be taken: finite, <= 0, without side effects."""

    def class_shifts(self, at: Progress) -> Tensor | None:
        """Return a path shift for every class, ``[C]`` in nats, for the step about to be taken; no side effects.

        A path is then worth the exponential of the sum of its classes' shifts, as with a label prior. ``shift``
        is what the history shows of it, and ``domain`` must be ``path``. None leaves it at ``shift``.
        """
        return None

    def prepare(self, model: Model) -> None:
        """Change the model once, before the first step of the phase that brings the penalty in."""

    def observe_step(self, step: StepResult) -> None:
        """Take note of a step; a controller updates its state here."""

    def observe_emissions(self, emissions: Emissions) -> None:
        """Take note of what the model emitted in a step, detached; a prior is gathered here."""

    def observe(self, epoch: EpochResult) -> None:
        """Take note of a finished epoch."""


class Regularizer(Stateful, ABC):
    """A further term of the training loss, made of what the model emits; evaluation does without it.

    A phase may have several. Whatever is minimised beside CTC is one: distillation between heads, smoothness,
    consistency between two views, entropy.

    Attributes:
        views: how often each batch goes through the model, each time masked anew. With 2, ``emissions`` and
            ``batch`` hold every clip twice: the second half repeats the clips of the first in the same order.
    """

    views: ClassVar[int] = 1

    @abstractmethod
    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        """Return what is added to the loss: a finite scalar in nats per reference token, with its weight.

        Args:
            emissions: of the model in training mode, with gradient; each head with its ``losses_B``.
            batch: what they were computed from.
            at: the time of the step.
        """

    def observe(self, epoch: EpochResult) -> None:
        """Take note of a finished epoch."""


class Monitor(Stateful, ABC):
    """Watches finished epochs, reports findings and asks for actions. It changes nothing but its own state."""

    @abstractmethod
    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
        """Return what there is to say about an epoch, what should be done about it, and clips to keep."""
