"""Recipes: a model, phases of training and monitors, as validated data.

A plugin such as ``hierarchical_fixed`` registers a ``Recipe``. A run's configuration is the same plan plus what
belongs to the run (``config.py``), so every key below can be set by the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Base of all configuration: unknown keys are refused, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _truth_is_no_number(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Refuse true where a number is wanted: pydantic would take it for 1."""
        made = handler(value)
        if isinstance(value, bool) and not isinstance(made, bool):
            raise PydanticCustomError("not_a_number", "input should be a number")
        return made


class Component(BaseModel):
    """A registered model, schedule, penalty or monitor, by name, with the parameters of its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """The name under which a plugin registered it."""

    def __init__(self, name: str, **params: Any) -> None:
        """Name a component and its parameters, as in ``Component("warmup", lr=1e-3)``."""
        super().__init__(name=name, **params)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """Take a name alone for a component without parameters, and lists for tuples, as files hold them."""
        if isinstance(value, str):
            return {"name": value}
        return {key: _listed(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _shared_by_name(self) -> Component:
        if not isinstance(self.shared, str | None):
            raise ValueError("'shared' is a name that phases give to what they share")  # noqa: TRY004  # for pydantic
        return self

    @property
    def shared(self) -> str | None:
        """The name under which phases share the component, ``shared``; None where they do not say."""
        return (self.model_extra or {}).get("shared")

    @property
    def params(self) -> Mapping[str, Any]:
        """What goes to the constructor; checked against its signature before any corpus is opened."""
        return {key: value for key, value in (self.model_extra or {}).items() if key != "shared"}


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


class Phase(Strict):
    """A stretch of epochs with one setting.

    Phases share a schedule (penalty, regularizer), whose state then carries on from one to the next, where they
    say so by name: ``shared = "NAME"`` in its table, in the first phase with its parameters, in the others with
    those or with none. Where they do not say, phases share what they configure exactly alike, which is what
    ``phases.*`` comes to. What is configured otherwise, or shared under another name, starts afresh. ``train``
    says at its start where state is shared by likeness alone, and where a penalty or regularizer of an earlier
    phase starts afresh.
    """

    epochs: Annotated[int, Field(ge=1)]
    """Number of epochs."""

    schedule: Component
    """Learning rate."""

    penalty: Component | None = None
    """Blank shift; none by default."""

    regularizers: tuple[Component, ...] = ()
    """Further terms of the loss; none by default."""

    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """Decoupled weight decay of AdamW."""

    dropout: Share | None = None
    """Dropout of the model during the phase; None leaves what the model was built with."""

    stage: int | None = None
    """Training stage of the model, for models that have stages; None keeps that of the phase before."""

    frozen: tuple[str, ...] = ()
    """Parts of the model that do not learn, by the names of its attributes; their batch statistics stand still."""

    rates: dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Learning rates of parts of the model, as multiples of the schedule's."""

    time_mask_prob: Share = 0.0
    """Expected share of input frames that are masked, in spans."""

    time_mask_frames: Annotated[int, Field(ge=1)] = 10
    """Length of a masked span, in input frames."""

    curriculum: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of the training clips that the phase's first epoch sees, the shortest ones; grows evenly to all of
    them by its last. None sees all of them always."""

    max_frames: Annotated[int, Field(ge=1)] | None = None
    """Crop training clips to this many input frames, never below what their labels need; None never crops."""


class Plan(Strict):
    """What is trained, and how."""

    model: Component
    """The network."""

    phases: Annotated[dict[str, Phase], Field(min_length=1)]
    """Phases by name, in order."""

    monitors: tuple[Component, ...] = ()
    """Watchers of finished epochs."""

    batch_size: Annotated[int, Field(ge=1)] = 16
    """Clips in a batch."""

    max_batch_frames: Annotated[int, Field(ge=1)] | None = None
    """Padded input frames in a batch at most; shrinks batches of long clips."""

    gradient_clip: Annotated[float, Field(gt=0.0)] = 5.0
    """Largest L2 norm of the gradient."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seeds initialisation, data order, masking and dropout."""

    target_wer: Annotated[float, Field(ge=0.0)] = 30.0
    """Word error rate on dev, per cent, at which the run counts as successful; reported at the end."""

    def components(self) -> Iterator[tuple[str, Component]]:
        """Yield every component that the plan names, with its kind."""
        yield "model", self.model
        for phase in self.phases.values():
            yield "schedule", phase.schedule
            if phase.penalty:
                yield "penalty", phase.penalty
            for regularizer in phase.regularizers:
                yield "regularizer", regularizer
        for monitor in self.monitors:
            yield "monitor", monitor

    def stage_of(self, phase: str) -> int | None:
        """Return the stage in force in a phase: its own, or the last that a phase before it set."""
        stage = None
        for name, settings in self.phases.items():
            stage = stage if settings.stage is None else settings.stage
            if name == phase:
                break
        return stage


class Recipe(Plan):
    """A plan under a name."""

    name: str
    """What ``--recipe`` takes and ``ctckit plugins show`` lists."""

    description: str
    """One line."""

    requires: tuple[str, ...] = ()
    """Other plugins whose components the recipe names; they are loaded with the plugin that brings the recipe."""

    demo: Mapping[str, Any] = Field(default_factory=dict)
    """Settings for the small embedded corpus, as ``{"model.hidden_size": 64}``; used when no data is given."""
