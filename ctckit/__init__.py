"""ctckit trains CTC sequence recognisers that do not collapse into blanks.

The names below are what a plugin may use. They resolve on first use (PEP 562), so that the command line can show
its help and list plugins without importing torch.
"""

from __future__ import annotations

import functools
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
    from ctckit.doctor.course import Course, Diagnosis, diagnose
    from ctckit.doctor.flags import red_flags
    from ctckit.doctor.notices import notices, rules
    from ctckit.doctor.states import State
    from ctckit.hookspecs import PLUGIN_API, hookimpl
    from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule
    from ctckit.lm import LanguageModel
    from ctckit.ops import LossWithEntropy, align, beam_search, ctc_loss, ctc_loss_with_entropy, feasible, greedy
    from ctckit.plateau import unigram_plateau
    from ctckit.recipe import Component, Phase, Recipe
    from ctckit.recogniser import Recogniser, load
    from ctckit.record.epoch import Epoch
    from ctckit.registry import Registry
    from ctckit.scoring import measure
    from ctckit.types import (
        BLANK,
        Alternative,
        Auxiliary,
        Batch,
        Domain,
        Emissions,
        EpochResult,
        Figure,
        Finding,
        Hypothesis,
        Progress,
        Remedy,
        Sample,
        Scores,
        StepResult,
        real_frames,
    )
    from ctckit.watcher import Watcher, watch

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
    "rules": "doctor.notices",
    "Course": "doctor.course",
    "Diagnosis": "doctor.course",
    "diagnose": "doctor.course",
    "State": "doctor.states",
    "Epoch": "record.epoch",
    "hookimpl": "hookspecs",
    "LossWithEntropy": "ops",
    "align": "ops",
    "beam_search": "ops",
    "ctc_loss": "ops",
    "ctc_loss_with_entropy": "ops",
    "feasible": "ops",
    "greedy": "ops",
    "measure": "scoring",
    "unigram_plateau": "plateau",
    "Model": "interfaces",
    "Monitor": "interfaces",
    "Penalty": "interfaces",
    "Regularizer": "interfaces",
    "Schedule": "interfaces",
    "Component": "recipe",
    "Phase": "recipe",
    "Recipe": "recipe",
    "LanguageModel": "lm",
    "Recogniser": "recogniser",
    "load": "recogniser",
    "Registry": "registry",
    "BLANK": "types",
    "Alternative": "types",
    "Auxiliary": "types",
    "Batch": "types",
    "Domain": "types",
    "Emissions": "types",
    "EpochResult": "types",
    "Figure": "types",
    "Finding": "types",
    "Hypothesis": "types",
    "Progress": "types",
    "Sample": "types",
    "Remedy": "types",
    "Scores": "types",
    "StepResult": "types",
    "real_frames": "types",
    "Watcher": "watcher",
    "watch": "watcher",
}

_RENAMED: dict[str, tuple[str, str]] = {
    "Observation": ("Epoch", "2.0"),
    "observation_of": ("Epoch.of", "2.0"),
}
"""Old names that still work, each with its new name and the version of the plugin API that ends it."""

__all__ = [
    "BLANK",
    "PLUGIN_API",
    "Action",
    "Alternative",
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
    "Epoch",
    "EpochResult",
    "Figure",
    "Finding",
    "Hypothesis",
    "LanguageModel",
    "LossWithEntropy",
    "Model",
    "Monitor",
    "Penalty",
    "Phase",
    "PluginError",
    "Progress",
    "Recipe",
    "Recogniser",
    "Registry",
    "Regularizer",
    "Remedy",
    "Sample",
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
    "Watcher",
    "align",
    "beam_search",
    "ctc_loss",
    "ctc_loss_with_entropy",
    "diagnose",
    "feasible",
    "greedy",
    "hookimpl",
    "load",
    "measure",
    "notices",
    "real_frames",
    "red_flags",
    "rules",
    "unigram_plateau",
    "watch",
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
        first, *rest = new.split(".")
        globals()[name] = functools.reduce(getattr, rest, __getattr__(first))
        return globals()[name]
    if name in _HOMES:
        return getattr(importlib.import_module(f"ctckit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ctckit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
