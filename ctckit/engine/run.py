"""Everything that a run is made of, and what it asks of its components at a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctckit.actions import Action
from ctckit.config import Config, from_json
from ctckit.data import Loader
from ctckit.engine.checkpoint import save_checkpoint
from ctckit.engine.clock import Clock
from ctckit.engine.evaluate import Judged
from ctckit.engine.folder import checkpoint_in
from ctckit.engine.state import DeviceGenerator, HostGenerator, RunState, Saved, States, Weights
from ctckit.errors import CheckpointError, PluginError
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule, Stateful, dropout_layers
from ctckit.loss import Objective, Term
from ctckit.recipe import Phase
from ctckit.record.history import History
from ctckit.types import BLANK, Batch, Domain, Emissions, EpochResult, Figure, Finding, Sample


@dataclass(frozen=True, slots=True)
class ActivePhase:
    """A phase with its components constructed.

    Attributes:
        settings: of the phase.
        schedule: its learning rate.
        penalty: its blank shift, or None.
        regularizers: its further terms, by name.
        penalty_begins: whether the phase is the first with this penalty, which then prepares the model.
    """

    settings: Phase
    schedule: Schedule
    penalty: Penalty | None
    regularizers: Mapping[str, Regularizer]
    penalty_begins: bool = True

    @property
    def views(self) -> int:
        """How often each batch goes through the model."""
        return max((regularizer.views for regularizer in self.regularizers.values()), default=1)

    def clip_share(self, phase_epoch: int) -> float:
        """Return the share of the training clips, shortest first, that an epoch of the phase sees."""
        first = self.settings.curriculum
        if first is None:
            return 1.0
        # rounding may carry it beyond 1 in the last epoch
        return min(first + (1.0 - first) * (phase_epoch - 1) / max(self.settings.epochs - 1, 1), 1.0)


@dataclass(slots=True)
class Run:
    """A run in progress. ``assemble.py`` builds it, ``loop.py`` drives it.

    Attributes:
        config: what was asked for.
        identity: what decoding needs beside the weights: plugins, alphabet, feature pipeline, data fingerprints.
        tokens: of the alphabet, blank first.
        model: on ``device``.
        optimizer: over all parameters; each phase sets its weight decay, each step its learning rate.
        phases: by name, in order.
        monitors: by name.
        train: batches of the training corpus.
        train_sample: a fixed part of it, for scores in evaluation mode.
        dev: batches of the dev corpus.
        plateau_loss: unigram plateau of the training corpus, nats per token.
        folder: where history and checkpoints go.
        clock: counts epochs, batches and updates.
        history: what happened, row by row.
        state: what else changes while the run goes on.
        built_dropout: layers with the probability that they were built with, for phases that name none.
        held: parameters that the phase under way freezes.
        figures: of plugins and the model, measured at the end of every epoch.
    """

    config: Config
    identity: Mapping[str, Any]
    tokens: tuple[str, ...]
    model: Model
    device: torch.device
    optimizer: torch.optim.Optimizer
    phases: Mapping[str, ActivePhase]
    monitors: Mapping[str, Monitor]
    train: Loader
    train_sample: Judged
    dev: Judged
    plateau_loss: float
    folder: Path
    clock: Clock
    history: History
    state: RunState = field(default_factory=RunState)
    built_dropout: tuple[tuple[nn.Module, str, float], ...] = ()
    held: list[nn.Parameter] = field(default_factory=list)
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        """Note the model's dropout before any phase changes it."""
        self.built_dropout = tuple(
            (layer, attribute, getattr(layer, attribute)) for layer, attribute in dropout_layers(self.model)
        )

    @property
    def phase(self) -> ActivePhase:
        """The phase under way."""
        return self.phases[self.clock.now.phase]

    @property
    def domain(self) -> Domain:
        """Where the blank shift acts."""
        return self.phase.penalty.domain if self.phase.penalty else "logit"

    def shift(self) -> float:
        """Return the blank shift for the step about to be taken, nats, at most 0.

        Raises:
            PluginError: the penalty breaks its contract.
        """
        penalty = self.phase.penalty
        with self.naming("penalty", penalty):
            own = penalty.shift(self.clock.now) if penalty else 0.0
            if not -math.inf < own <= 0.0:
                raise PluginError(
                    f"{type(penalty).__name__}.shift returned {own!r}; a shift is finite and at most 0"
                )
        return min(own + self.state.adjustments.shift_offset, 0.0)

    def objective(self) -> Objective:
        """Return what the step about to be taken minimises.

        Raises:
            PluginError: the penalty breaks its contract.
        """
        return Objective(
            shift=self.shift(),
            domain=self.domain,
            class_shifts_C=self._class_shifts(),
            terms={name: self._term(name, regularizer) for name, regularizer in self.phase.regularizers.items()},
        )

    def _class_shifts(self) -> Tensor | None:
        penalty = self.phase.penalty
        if penalty is None:
            return None
        with self.naming("penalty", penalty):
            own_C = penalty.class_shifts(self.clock.now)
            if own_C is None:
                return None
            if self.domain != "path" or own_C.shape != (len(self.tokens),) or not bool(own_C.isfinite().all()):
                raise PluginError(
                    f"{type(penalty).__name__}.class_shifts returned a {self.domain} shift of shape "
                    f"{tuple(own_C.shape)}; it is a path shift, finite, one for each of {len(self.tokens)} classes"
                )
        shifts_C = own_C.to(self.device, torch.float32, copy=True)
        shifts_C[BLANK] += self.state.adjustments.shift_offset
        return shifts_C

    def _term(self, name: str, regularizer: Regularizer) -> Term:
        at = self.clock.now

        def term(emissions: Emissions, batch: Batch) -> Tensor:
            with self.naming(f"regularizer '{name}'", regularizer):
                return regularizer.term(emissions, batch, at)

        return term

    def evaluation_shift(self) -> float:
        """Return the logit shift under which to evaluate, nats; a path shift has no counterpart there."""
        held = self.domain == "logit" and self.config.evaluation.logit_shift == "same"
        return self.shift() if held else 0.0

    def blank_bias(self) -> float | None:
        """Return the bias of the blank as it is now; None where the model shows none."""
        bias = self.model.blank_bias()
        return None if bias is None else bias.item()

    def learning_rate(self) -> float:
        """Return the learning rate for the step about to be taken.

        Raises:
            PluginError: the schedule breaks its contract.
        """
        schedule = self.phase.schedule
        with self.naming("schedule", schedule):
            own = schedule.learning_rate(self.clock.now)
            if not 0.0 <= own < math.inf:
                raise PluginError(
                    f"{type(schedule).__name__}.learning_rate returned {own!r}; a rate is finite and not negative"
                )
        return own * self.state.adjustments.learning_rate_factor

    def last_learning_rate(self) -> float:
        """Return the rate of the last step, that of parts without a rate of their own."""
        group = self.optimizer.param_groups[0]
        rate: float = group["lr"] / self.phase.settings.rates.get(group.get("part", ""), 1.0)
        return rate

    @contextmanager
    def naming(self, role: str, component: object) -> Iterator[None]:
        """Add to any error which component failed, when; of components within one another, the innermost."""
        at = self.clock.now
        batch = min(at.batch + 1, at.batches)
        try:
            yield
        except Exception as error:
            if not getattr(error, "__notes__", ()):
                error.add_note(
                    f"while {role} ({type(component).__module__}.{type(component).__qualname__}) was at work, "
                    f"epoch {at.epoch} ({at.phase}), batch {batch} of {at.batches}, update {at.update}"
                )
            raise

    def configure_phase(self) -> None:
        """Set what the phase and its adjustments say about model and optimiser. Repeatable, as resuming needs."""
        settings = self.phase.settings
        for layer, attribute, built in self.built_dropout:
            setattr(layer, attribute, built)
        dropout = settings.dropout if self.state.adjustments.dropout is None else self.state.adjustments.dropout
        if dropout is not None:
            self.model.set_dropout(dropout)
        for parameter in self.held:  # by the phase before; what the model or its stage holds is theirs
            parameter.requires_grad_(True)
        self.held.clear()
        stage = self.config.stage_of(self.clock.now.phase)
        if stage is not None:
            self.model.set_stage(stage)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = settings.weight_decay
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and name.partition(".")[0] in settings.frozen:
                parameter.requires_grad_(False)
                parameter.grad = None
                self.held.append(parameter)

    def train_mode(self) -> None:
        """Put the model into training mode, but for the batch statistics of frozen parts."""
        self.model.train()
        for name in self.phase.settings.frozen:
            part = getattr(self.model, name)
            for layer in part.modules() if isinstance(part, nn.Module) else ():
                if isinstance(layer, nn.modules.batchnorm._NormBase):
                    layer.eval()

    def set_learning_rate(self) -> None:
        """Set the rate for the step about to be taken, for parts that have their own as a multiple of it."""
        rate, rates = self.learning_rate(), self.phase.settings.rates
        for group in self.optimizer.param_groups:
            group["lr"] = rate * rates.get(group.get("part", ""), 1.0)

    def measured(self, result: EpochResult) -> EpochResult:
        """Return a finished epoch with the figures of plugins and of the model.

        Raises:
            PluginError: one of them is not a number.
        """
        own = {figure.name for figure in self.model.FIGURES}
        values: dict[str, float | None] = {}
        for figure in self.figures:
            if figure.measure is None:
                continue
            with self.naming(f"figure '{figure.name}'", self.model if figure.name in own else figure):
                value = figure.measure(self.model if figure.name in own else result)
                if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                    raise PluginError(f"figure '{figure.name}' is measured as {value!r}; return a number or None")
            values[figure.name] = value
        return replace(result, figures=values)

    def note(self, monitor: str, outcome: Finding | Action | Sample) -> None:
        """Record a finding, an applied action with its finding, or a sample in the history.

        Raises:
            DataError: a file cannot be written.
        """
        self.history.note(self.clock.now.epoch, monitor, outcome)

    def save(self, name: str) -> Path:
        """Write ``checkpoints/<name>.pt``."""
        path = checkpoint_in(self.folder, name)
        save_checkpoint(
            path,
            {
                "config": self.config.model_dump(mode="json"),
                "identity": dict(self.identity),
                **{part: saved.state_dict() for part, saved in self._parts().items()},
                **self.state.state_dict(),
                "history_size": self.history.size,
                "threads": torch.get_num_threads(),
            },
        )
        return path

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a checkpoint's state, and drop the rows written after it.

        Raises:
            CheckpointError: the checkpoint is of another run, or a part of its state does not fit.
        """
        parts = self._parts()
        absent = {"config", "identity", "history_size", *parts, *self.state.state_dict()} - set(state)
        if absent:
            raise CheckpointError(f"not a checkpoint of a run: it lacks {', '.join(sorted(absent))}")
        self._refuse_other(state)
        for part, saved in parts.items():
            saved.load_state_dict(state[part])
        self.state.load_state_dict(state)
        self.history.truncate(state["history_size"])
        if self.clock.now.phase:
            self.configure_phase()

    def _refuse_other(self, state: Mapping[str, Any]) -> None:
        """Refuse the checkpoint of another run.

        Raises:
            CheckpointError: configuration, plugin files or corpora are others.
        """
        if from_json(state["config"]) != self.config:
            raise CheckpointError("the checkpoint belongs to another configuration; resume with that of the run")
        changed = [
            name
            for name, version in state["identity"]["versions"].items()
            if name.endswith(".py") and version not in self.identity["versions"].values()  # it may have moved
        ]
        if changed:
            raise CheckpointError(f"plugin {changed[0]} has changed since the checkpoint was written; train anew")
        if dict(state["identity"]["fingerprints"]) != dict(self.identity["fingerprints"]):
            raise CheckpointError("the corpora have changed since the checkpoint was written; train anew")

    def _parts(self) -> dict[str, Saved]:
        """Return what saves and restores itself, by its name in a checkpoint, in the order of restoring."""
        return {
            "model": Weights(self.model),
            "optimizer": self.optimizer,
            "components": States(self._components()),
            "clock": self.clock,
            "rng": HostGenerator(),
            "cuda_rng": DeviceGenerator(self.device),
        }

    def _components(self) -> dict[str, Stateful]:
        found: dict[str, Stateful] = {}
        for name, phase in self.phases.items():
            found[f"phases.{name}.schedule"] = phase.schedule
            if phase.penalty:
                found[f"phases.{name}.penalty"] = phase.penalty
            for regularizer_name, regularizer in phase.regularizers.items():
                found[f"phases.{name}.regularizers.{regularizer_name}"] = regularizer
        for name, monitor in self.monitors.items():
            found[f"monitors.{name}"] = monitor
        return found
