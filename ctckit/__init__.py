"""ctckit trains CTC sequence recognisers that do not collapse into blanks.

The names below are what a plugin may use. They resolve on first use (PEP 562), so that the command line can show
its help and list plugins without importing torch.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from ctckit.errors import CheckpointError, ConfigError, CtckitError, DataError, PluginError, TrainingError

if TYPE_CHECKING:
    from ctckit.actions import (
        Action,
        ClipLength,
        SaveCheckpoint,
        ScaleLearningRate,
        SetDropout,
        ShiftPenalty,
        StopPhase,
        StopTraining,
    )
    from ctckit.doctor.flags import red_flags
    from ctckit.doctor.notices import notices
    from ctckit.doctor.observations import Observation, observation_of
    from ctckit.doctor.states import Course, Diagnosis, State, diagnose
    from ctckit.hookspecs import PLUGIN_API, hookimpl
    from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule
    from ctckit.ops import ctc_loss
    from ctckit.recipe import Component, Phase, Recipe
    from ctckit.registry import Registry
    from ctckit.types import (
        BLANK,
        Auxiliary,
        Batch,
        Domain,
        Emissions,
        EpochResult,
        Finding,
        Hypothesis,
        Progress,
        Remedy,
        Scores,
        StepResult,
        real_frames,
    )

_HOMES = {
    "Action": "actions",
    "ClipLength": "actions",
    "SaveCheckpoint": "actions",
    "ScaleLearningRate": "actions",
    "SetDropout": "actions",
    "ShiftPenalty": "actions",
    "StopPhase": "actions",
    "StopTraining": "actions",
    "PLUGIN_API": "hookspecs",
    "red_flags": "doctor.flags",
    "notices": "doctor.notices",
    "Observation": "doctor.observations",
    "observation_of": "doctor.observations",
    "Course": "doctor.states",
    "Diagnosis": "doctor.states",
    "State": "doctor.states",
    "diagnose": "doctor.states",
    "hookimpl": "hookspecs",
    "ctc_loss": "ops",
    "Model": "interfaces",
    "Monitor": "interfaces",
    "Penalty": "interfaces",
    "Regularizer": "interfaces",
    "Schedule": "interfaces",
    "Component": "recipe",
    "Phase": "recipe",
    "Recipe": "recipe",
    "Registry": "registry",
    "BLANK": "types",
    "Auxiliary": "types",
    "Batch": "types",
    "Domain": "types",
    "Emissions": "types",
    "EpochResult": "types",
    "Finding": "types",
    "Hypothesis": "types",
    "Progress": "types",
    "Remedy": "types",
    "Scores": "types",
    "StepResult": "types",
    "real_frames": "types",
}

_RENAMED: dict[str, tuple[str, str]] = {}
"""Old names that still work, each with its new name and the version of the plugin API that ends it."""

__all__ = [
    "BLANK",
    "PLUGIN_API",
    "Action",
    "Auxiliary",
    "Batch",
    "CheckpointError",
    "ClipLength",
    "Component",
    "ConfigError",
    "Course",
    "CtckitError",
    "DataError",
    "Diagnosis",
    "Domain",
    "Emissions",
    "EpochResult",
    "Finding",
    "Hypothesis",
    "Model",
    "Monitor",
    "Observation",
    "Penalty",
    "Phase",
    "PluginError",
    "Progress",
    "Recipe",
    "Registry",
    "Regularizer",
    "Remedy",
    "SaveCheckpoint",
    "ScaleLearningRate",
    "Schedule",
    "Scores",
    "SetDropout",
    "ShiftPenalty",
    "State",
    "StepResult",
    "StopPhase",
    "StopTraining",
    "TrainingError",
    "ctc_loss",
    "diagnose",
    "hookimpl",
    "notices",
    "observation_of",
    "real_frames",
    "red_flags",
]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        new, end = _RENAMED[name]
        warnings.warn(
            f"ctckit.{name} is now ctckit.{new}; the old name ends with plugin API {end}",
            DeprecationWarning,
            stacklevel=2,
        )
        # from now on the name is found without coming here, so that it warns once
        globals()[name] = __getattr__(new)
        return globals()[name]
    if name in _HOMES:
        return getattr(importlib.import_module(f"ctckit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ctckit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
