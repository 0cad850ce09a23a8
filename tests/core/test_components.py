"""What a configuration names is checked before a corpus is opened, and phases share what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from ctckit import Component, ConfigError, Model, Penalty, Progress
from ctckit.assemble import assemble, check
from ctckit.components import Components, build_components
from ctckit.config import Config, nest, resolve
from ctckit.plugin_host import load_plugins
from ctckit.registry import Registry
from ctckit_hierarchical.fixed import RECIPE


@dataclass
class Counting(Penalty):
    """Counts the steps that it has seen, which is state."""

    STATE: ClassVar[tuple[str, ...]] = ("steps",)

    gain: float = 1.0
    steps: int = field(default=0, init=False, repr=False)

    def shift(self, at: Progress) -> float:
        return 0.0


def registry_of(*plugins: str) -> Registry:
    registry, _ = load_plugins(["hierarchical_fixed", "cures", *plugins])
    registry.penalty("counting", Counting)
    return registry


def laid(settings: dict[str, Any]) -> Config:
    absent = {"data.train": "absent.h5", "data.dev": "absent.h5"}
    return resolve(RECIPE, [("corpora", nest(absent)), ("test", nest(settings))])


def built(settings: dict[str, Any]) -> Components:
    return build_components(laid(settings), registry_of())


MISSPELT = [
    (
        {"model.hiden_size": 5},
        "model 'hierarchical_bilstm': unknown parameter 'hiden_size'; did you mean 'hidden_size'?",
    ),
    ({"model.hidden_size": 0}, "model 'hierarchical_bilstm': hidden_size = 0: input should be greater"),
    ({"model": "hierarchical_bilstn"}, "unknown model 'hierarchical_bilstn'; did you mean 'hierarchical_bilstm'?"),
    ({"phases.*.schedule.lrr": 1}, "schedule 'warmup': unknown parameter 'lrr'; did you mean 'lr'?"),
    ({"phases.*.schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'?"),
    ({"phases.warmup.penalty.vale": -1}, "penalty 'constant': unknown parameter 'vale'; did you mean 'value'?"),
    ({"phases.warmup.penalty": "tabel"}, "unknown penalty 'tabel'; did you mean 'table'?"),
    ({"phases.*.regularizers": [{"name": "smoothness", "wieght": 1}]}, "unknown parameter 'wieght'; did you mean"),
    ({"phases.*.regularizers": ["smothness"]}, "unknown regularizer 'smothness'; did you mean 'smoothness'?"),
    ({"phases.*.regularizers": ["smoothness", "smoothness"]}, "regularizers: 'smoothness' is named twice"),
    ({"monitors": [{"name": "sample_predictions", "evry": 3}]}, "unknown parameter 'evry'; did you mean 'every'?"),
    ({"monitors": ["dokter"]}, "unknown monitor 'dokter'; did you mean 'doctor'?"),
    ({"monitors": ["doctor", "doctor"]}, "monitors: 'doctor' is named twice"),
    (
        {"evaluation.logit_shift": "none", "phases.fine_tuning.penalty.value": -3.0},
        "20.1 times more blank-dominant",
    ),
]


@pytest.mark.parametrize(("settings", "message"), MISSPELT)
def test_whatever_is_wrong_with_components_is_said_before_a_corpus_is_opened(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        check(laid(settings), registry_of())
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError):
        assemble(laid(settings), registry_of(), [], tmp_path, torch.device("cpu"))


def test_a_model_is_not_constructed_without_corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "__init__", lambda *_: pytest.fail("constructed"))
    assert list(built({}).phases) == ["warmup", "exploration", "consolidation", "fine_tuning"]


# --- sharing -----------------------------------------------------------------------------------------------


def penalties(settings: dict[str, Any]) -> list[int]:
    """A number for the instance of each phase, counted as they appear."""
    found = [id(phase.penalty) for phase in built(settings).phases.values()]
    return [found.index(one) for one in found]


def begins(settings: dict[str, Any]) -> list[bool]:
    return [phase.penalty_begins for phase in built(settings).phases.values()]


def test_phases_share_by_name_whatever_stands_between() -> None:
    settings = {
        "phases.warmup.penalty": {"name": "counting", "gain": 2.0, "shared": "mine"},
        "phases.consolidation.penalty": {"name": "counting", "shared": "mine"},
        "phases.fine_tuning.penalty": {"name": "counting", "gain": 2.0, "shared": "mine"},
    }
    assert penalties(settings) == [0, 1, 0, 0]
    assert begins(settings) == [True, True, False, False]
    shared = built(settings).phases["fine_tuning"].penalty
    assert isinstance(shared, Counting)
    assert shared.gain == 2.0
    assert built(settings).notes == ()


def test_what_is_configured_alike_is_shared_unless_it_is_named_apart() -> None:
    assert penalties({"phases.*.penalty": "counting"}) == [0, 0, 0, 0]
    assert begins({"phases.*.penalty": "counting"}) == [True, False, False, False]
    apart = {f"phases.{name}.penalty": {"name": "counting", "shared": name} for name in RECIPE.phases}
    assert penalties(apart) == [0, 1, 2, 3]
    # a name and no name are not alike
    assert penalties({"phases.*.penalty": "counting", "phases.warmup.penalty.shared": "x"}) == [0, 1, 1, 1]


def test_state_that_is_shared_by_likeness_or_starts_afresh_is_said() -> None:
    (note,) = built({"phases.*.penalty": "counting"}).notes
    assert note == (
        "phases warmup, exploration, consolidation, fine_tuning share one penalty 'counting', because it is "
        "configured alike; its state carries on"
    )
    alike, afresh = built({"phases.*.penalty": "counting", "phases.fine_tuning.penalty.gain": 1.1}).notes
    assert "phases warmup, exploration, consolidation share one penalty" in alike
    assert afresh == (
        "phase fine_tuning starts a penalty 'counting' afresh, because phase consolidation configures it "
        'otherwise; to carry its state on, give both the same shared = "NAME"'
    )
    assert built({}).notes == ()  # of the recipe as it is there is nothing to say


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            {"name": "counting", "gain": 1.1, "shared": "mine"},
            "shares 'mine' with phase 'warmup' and sets gain =",
        ),
        (
            {"name": "constant", "value": 0.0, "shared": "mine"},
            "shares 'mine' with phase 'warmup', where that is",
        ),
    ],
)
def test_what_is_shared_is_configured_once(second: dict[str, Any], message: str) -> None:
    first = {"phases.warmup.penalty": {"name": "counting", "gain": 1.0, "shared": "mine"}}
    with pytest.raises(ConfigError) as error:
        built({**first, "phases.exploration.penalty": second})
    assert message in str(error.value)
    assert "phases.exploration: penalty" in str(error.value)


def test_shared_is_a_name() -> None:
    with pytest.raises(ConfigError, match="'shared' is a name"):
        laid({"phases.warmup.penalty.shared": True})
    assert Component("counting", shared="mine", gain=2.0).params == {"gain": 2.0}
