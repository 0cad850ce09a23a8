"""What plugins rely on. A change here is a change of the plugin API: raise ``ctckit.PLUGIN_API`` and say so."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
import warnings

import pytest

import ctckit
import ctckit.testing
from ctckit.hookspecs import ctckit_register

NAMES = set(
    """
    BLANK PLUGIN_API Action Auxiliary Batch CheckpointError ClipLength Component ConfigError CtckitError DataError
    Domain Emissions EpochResult Finding Hypothesis Model Monitor Penalty Phase PluginError Progress Recipe Registry
    Recogniser load Regularizer Remedy SaveCheckpoint ScaleLearningRate Schedule Scores SetDropout ShiftPenalty
    StepResult StopPhase StopTraining TrainingError hookimpl
    Course Diagnosis Epoch Figure LossWithEntropy Sample State ctc_loss ctc_loss_with_entropy diagnose notices
    real_frames red_flags rules align feasible greedy measure unigram_plateau
    Watcher watch LanguageModel Alternative beam_search
    """.split()  # noqa: SIM905
)

TESTING_NAMES = set(
    """
    Check ComponentReport ContractError InstalledPlugin Outcome TinyCorpus check_component check_plugin checks_for
    installed_plugin make_epoch make_progress make_step parametrize_with_checks run_checks
    tiny_corpus
    """.split()  # noqa: SIM905
)

METHODS = {
    "Model": {
        "blank_bias": "(self)",
        "forward": "(self, features_BTF, lengths_B)",
        "output_lengths": "(self, lengths_B)",
        "remedies": "(self, frames_per_label)",
        "set_dropout": "(self, probability)",
        "set_stage": "(self, stage)",
    },
    "Schedule": {
        "learning_rate": "(self, at)",
        "load_state_dict": "(self, state)",
        "observe": "(self, epoch)",
        "state_dict": "(self)",
    },
    "Penalty": {
        "class_shifts": "(self, at)",
        "load_state_dict": "(self, state)",
        "observe": "(self, epoch)",
        "observe_emissions": "(self, emissions)",
        "observe_step": "(self, step)",
        "prepare": "(self, model)",
        "shift": "(self, at)",
        "state_dict": "(self)",
    },
    "Batch": {"to": "(self, device)"},
    "Regularizer": {
        "load_state_dict": "(self, state)",
        "observe": "(self, epoch)",
        "state_dict": "(self)",
        "term": "(self, emissions, batch, at)",
    },
    "Monitor": {
        "load_state_dict": "(self, state)",
        "observe": "(self, epoch)",
        "state_dict": "(self)",
    },
    "Registry": {
        "figure": "(self, figure)",
        "kinds": "(self)",
        "model": "(self, name, cls, *, example=None)",
        "monitor": "(self, name, cls, *, example=None)",
        "penalty": "(self, name, cls, *, example=None)",
        "recipe": "(self, recipe)",
        "registering": "(self, plugin)",
        "regularizer": "(self, name, cls, *, example=None)",
        "remedy": "(self, remedy, *, unless=None)",
        "schedule": "(self, name, cls, *, example=None)",
    },
}

FIELDS = {
    "Batch": "clip_ids features_BTF lengths_B targets_BS target_lengths_B",
    "Auxiliary": "name logits_TBC lengths_B weight losses_B",
    "Emissions": "logits_TBC lengths_B auxiliary losses_B",
    "Progress": "epoch phase phase_epoch phase_epochs epochs batch batches update frames",
    "StepResult": "at loss blank_mass gradient_norm",
    "Hypothesis": (
        "clip_id reference tokens starts ends scores substitutions deletions insertions frame_rate log_probability "
        "calibration alternatives"
    ),
    "Alternative": "tokens total acoustic language boosts",
    "EpochResult": (
        "at train_loss train val auxiliary_losses plateau_loss gradient_norm learning_rate shift domain dropout "
        "max_frames cropped seconds samples terms clips module_gradients module_weights blank_bias "
        "blank_bias_start figures"
    ),
    "Sample": "clip reference hypothesis",
    "Figure": "name title unit digits note console curve optional measure score derive",
    "Remedy": "ailment change why source",
    "Finding": "rule severity message evidence advice source",
    "StopTraining": "finding",
    "StopPhase": "finding",
    "ScaleLearningRate": "finding factor",
    "ShiftPenalty": "finding by",
    "SetDropout": "finding probability",
    "ClipLength": "finding max_frames",
    "SaveCheckpoint": "finding name",
}


def test_the_names_are_these() -> None:
    assert set(ctckit.__all__) == NAMES
    assert set(ctckit.testing.__all__) == TESTING_NAMES
    assert ctckit.PLUGIN_API == "1.1"


@pytest.mark.parametrize("module", [ctckit, ctckit.testing], ids=["ctckit", "ctckit.testing"])
def test_every_name_resolves_and_is_documented(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", METHODS)
def test_methods_keep_their_signature(name: str) -> None:
    cls = getattr(ctckit, name)
    bases = [base for base in cls.__mro__ if base.__module__.startswith("ctckit")]
    found = {
        method: _without_annotations(function)
        for base in reversed(bases)
        for method, function in vars(base).items()
        if inspect.isfunction(function) and not method.startswith("_")
    }
    assert found == METHODS[name]


def _without_annotations(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(inspect.Signature(bare))


@pytest.mark.parametrize("name", FIELDS)
def test_records_keep_their_fields_in_order(name: str) -> None:
    assert [field.name for field in dataclasses.fields(getattr(ctckit, name))] == FIELDS[name].split()


def test_the_hook_is_this() -> None:
    assert list(inspect.signature(ctckit_register).parameters) == ["registry"]


def test_a_renamed_name_goes_on_working_and_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctckit, "BlankShift", None, raising=False)  # so that it is undone at the end
    del ctckit.BlankShift  # type: ignore[attr-defined]
    monkeypatch.setitem(ctckit._RENAMED, "BlankShift", ("Penalty", "2.0"))
    with pytest.warns(DeprecationWarning, match="BlankShift") as caught:
        from ctckit import BlankShift  # type: ignore[attr-defined]
    assert [str(warning.message) for warning in caught] == [
        "ctckit.BlankShift is now ctckit.Penalty; the old name ends with plugin API 2.0"
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from ctckit import BlankShift as Again  # type: ignore[attr-defined]
    assert BlankShift is Again is ctckit.Penalty


@pytest.mark.parametrize("module", ["ctckit", "ctckit.testing", "ctckit.testing.fixtures"])
def test_what_pytest_loads_everywhere_is_light(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'numpy', 'h5py', 'pydantic', 'pluggy_never'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
