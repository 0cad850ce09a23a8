"""Everything that a run is made of, and its state as one named, strict whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctckit.actions import Action
from ctckit.config import Config
from ctckit.data import Loader
from ctckit.engine.apply import Adjustments
from ctckit.engine.checkpoint import save_checkpoint
from ctckit.engine.clock import Clock
from ctckit.engine.evaluate import Judged
from ctckit.errors import CheckpointError, PluginError
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule, dropout_layers
from ctckit.loss import Objective, Term
from ctckit.recipe import Phase
from ctckit.record.history import History
from ctckit.types import BLANK, Batch, Domain, Emissions, Finding


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
class EpochTotals:
    """Sums over the steps of the epoch under way; part of the state, so that an epoch can be left and resumed."""

    steps: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    cropped: int = 0
    clips: int = 0
    seconds: float = 0.0
    auxiliary: Counter[str] = field(default_factory=Counter)
    terms: Counter[str] = field(default_factory=Counter)
    module_gradients: Counter[str] = field(default_factory=Counter)


COUNTED = ("auxiliary", "terms", "module_gradients")
"""Sums by name in ``EpochTotals``."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far; never a collapsed one."""

    epoch: int
    val_wer: float
    val_loss: float


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
        built_dropout: layers with the probability that they were built with, for phases that name none.
        judged_shift: logit shift under which the last epoch was judged; what decoding a checkpoint applies.
        blank_bias_start: bias of the blank before the first step, or after the last penalty that set it.
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
    adjustments: Adjustments = field(default_factory=Adjustments)
    totals: EpochTotals = field(default_factory=EpochTotals)
    best: Best | None = None
    built_dropout: tuple[tuple[nn.Module, str, float], ...] = ()
    judged_shift: float = 0.0
    blank_bias_start: float | None = None

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
        return min(own + self.adjustments.shift_offset, 0.0)

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
        shifts_C[BLANK] += self.adjustments.shift_offset
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
        return own * self.adjustments.learning_rate_factor

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
        dropout = settings.dropout if self.adjustments.dropout is None else self.adjustments.dropout
        if dropout is not None:
            self.model.set_dropout(dropout)
        stage = self.config.stage_of(self.clock.now.phase)
        if stage is not None:
            self.model.set_stage(stage)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = settings.weight_decay

    def note(self, monitor: str, outcome: Finding | Action) -> None:
        """Record a finding, or an applied action with its finding, in the history.

        Raises:
            DataError: a file cannot be written.
        """
        self.history.note(self.clock.now.epoch, monitor, outcome)

    def save(self, name: str) -> Path:
        """Write ``checkpoints/<name>.pt``."""
        path = self.folder / "checkpoints" / f"{name}.pt"
        save_checkpoint(path, self._state())
        return path

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a checkpoint's state, and drop the rows written after it.

        Raises:
            CheckpointError: the checkpoint is of another run, or a part of its state does not fit.
        """
        stored = state["config"]
        if stored != self.config.model_dump(mode="json"):
            raise CheckpointError("the checkpoint belongs to another configuration; resume with that of the run")
        changed = [
            name
            for name, version in state["identity"]["versions"].items()
            if name.endswith(".py") and self.identity["versions"].get(name) != version
        ]
        if changed:
            raise CheckpointError(f"plugin {changed[0]} has changed since the checkpoint was written; train anew")
        if dict(state["identity"]["fingerprints"]) != dict(self.identity["fingerprints"]):
            raise CheckpointError("the corpora have changed since the checkpoint was written; train anew")
        load_weights(self.model, state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        components = self._components()
        if set(components) != set(state["components"]):
            raise CheckpointError(
                f"the checkpoint has components {sorted(state['components'])}, the run {sorted(components)}"
            )
        for name, component in components.items():
            try:
                component.load_state_dict(state["components"][name])
            except CheckpointError as error:
                raise CheckpointError(f"{name}: {error}") from error
        self.clock.load_state_dict(state["clock"])
        self.adjustments = Adjustments(**{**state["adjustments"], "keep": tuple(state["adjustments"]["keep"])})
        counted = {name: Counter(state["totals"][name]) for name in COUNTED}
        self.totals = EpochTotals(**{**state["totals"], **counted})
        self.best = Best(**state["best"]) if state["best"] else None
        self.judged_shift = state["judged_shift"]
        self.blank_bias_start = state["blank_bias_start"]
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.history.truncate(state["history_size"])
        if self.clock.now.phase:
            self.configure_phase()

    def _components(self) -> dict[str, Schedule | Penalty | Regularizer | Monitor]:
        found: dict[str, Schedule | Penalty | Regularizer | Monitor] = {}
        for name, phase in self.phases.items():
            found[f"phases.{name}.schedule"] = phase.schedule
            if phase.penalty:
                found[f"phases.{name}.penalty"] = phase.penalty
            for regularizer_name, regularizer in phase.regularizers.items():
                found[f"phases.{name}.regularizers.{regularizer_name}"] = regularizer
        for name, monitor in self.monitors.items():
            found[f"monitors.{name}"] = monitor
        return found

    def _state(self) -> dict[str, Any]:
        totals = asdict(self.totals)
        totals |= {name: dict(getattr(self.totals, name)) for name in COUNTED}
        return {
            "config": self.config.model_dump(mode="json"),
            "identity": dict(self.identity),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "components": {name: component.state_dict() for name, component in self._components().items()},
            "clock": self.clock.state_dict(),
            "adjustments": {**asdict(self.adjustments), "keep": list(self.adjustments.keep)},
            "totals": totals,
            "best": asdict(self.best) if self.best else None,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "history_size": self.history.size,
            "judged_shift": self.judged_shift,
            "blank_bias_start": self.blank_bias_start,
            "threads": torch.get_num_threads(),
        }


def load_weights(model: Model, weights: Mapping[str, Any]) -> None:
    """Load weights into a model.

    Raises:
        CheckpointError: they do not fit, because the code of the model has changed since.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"the weights do not fit {type(model).__name__}, whose code has changed: {first}"
        ) from error
