"""What models and plugins propose reaches a run's history, as far as the run does not do it already."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ctckit import PluginError, Registry, Remedy
from ctckit.assemble import Assembled, assemble, provenance
from ctckit.config import nest, resolve
from ctckit.plugin_host import load_plugins
from ctckit.testing import parametrize_with_checks
from ctckit_hierarchical.components import PATH_ENTROPY
from ctckit_hierarchical.model import HierarchicalBiLSTM

SHORT = Remedy("overfit", "--set model.hidden_size=8", "it has less to remember")


def model(**params: Any) -> HierarchicalBiLSTM:
    return HierarchicalBiLSTM(6, 5, **{"hidden_size": 4, **params})


def changes(frames_per_label: float, **params: Any) -> list[str]:
    found = model(**params).remedies(frames_per_label)
    assert {remedy.ailment for remedy in found} <= {"plateau"}
    return [remedy.change for remedy in found]


def test_the_model_proposes_what_it_lacks_most_promising_first() -> None:
    assert changes(30.0) == ["--set model.auxiliary_weight=1", "--set model.subsampling=4"]
    assert changes(30.0, auxiliary_weight=1.0, subsampling=4) == []
    assert changes(23.9, auxiliary_weight=1.0) == []  # 6 frames a label have to be left
    assert changes(24.0, auxiliary_weight=1.0) == ["--set model.subsampling=4"]
    assert changes(12.0, auxiliary_weight=1.0, subsampling=2) == ["--set model.subsampling=4"]
    without = changes(30.0, temporal_conv=False, stacking=2)
    convolve = "--set model.temporal_conv=true --set model.stacking=1"
    assert without == [convolve, "--set model.auxiliary_weight=1", f"{convolve} --set model.subsampling=4"]


@parametrize_with_checks(
    [
        partial(HierarchicalBiLSTM, temporal_conv=False, hidden_size=4),
        partial(HierarchicalBiLSTM, temporal_conv=False, stacking=3, hidden_size=4),
    ]
)
def test_every_layout_can_follow_its_remedies(component: Any, check: Any) -> None:
    if check.name == "remedies_can_be_followed":
        check(component)


def assembled(tiny: Any, folder: Path, settings: dict[str, Any], plugins: tuple[str, ...]) -> Assembled:
    registry, sources = load_plugins(plugins)
    registry.remedy(SHORT, unless="doctor")
    registry.remedy(SHORT, unless="nobody")
    corpora = {"data.train": tiny.train, "data.dev": tiny.dev, "model.hidden_size": 8}
    layers = [("test", nest({**corpora, **settings}))]
    config = resolve(registry.recipes["hierarchical_fixed"].value, layers)
    return assemble(config, registry, sources, folder, torch.device("cpu"))


def test_the_history_begins_with_the_remedies_the_models_first(tiny: Any, tmp_path: Path) -> None:
    plain = assembled(tiny, tmp_path, {"model.auxiliary_weight": 0.0}, ("hierarchical_fixed",))
    row = provenance(plain, [])["remedies"]
    assert [remedy["change"] for remedy in row] == [
        "--set model.auxiliary_weight=1",
        "--plugin cures --set 'phases.*.regularizers=[{name=\"path_entropy\"}]'",
        "--set model.hidden_size=8",
    ]
    assert row[0] == {
        "ailment": "plateau",
        "change": "--set model.auxiliary_weight=1",
        "why": model(auxiliary_weight=0.0).remedies(1.0)[0].why,
        "source": "docs/cures.md (AN4 words, two seeds)",
    }


def test_what_a_run_uses_already_is_not_proposed(tiny: Any, tmp_path: Path) -> None:
    settings = {"phases.warmup.regularizers": ["path_entropy"]}
    run = assembled(tiny, tmp_path, settings, ("hierarchical_fixed", "cures"))
    assert run.remedies == (SHORT,)  # unless="nobody"; the recipe has the monitor of the other


def test_the_same_remedy_of_several_recipes_comes_once() -> None:
    registry, _ = load_plugins(["hierarchical_fixed", "hierarchical_multistage"])
    assert registry.remedies == [(PATH_ENTROPY, "path_entropy")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("plataeu", "x", "y"), "a remedy is for one of plateau, blanks, insertions, overfit, not for 'plataeu'"),
        (("plateau", " ", "y"), "a remedy says what to change, and why"),
        (("plateau", "x", ""), "a remedy says what to change, and why"),
    ],
)
def test_a_remedy_is_for_something_and_says_why(given: tuple[str, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Remedy(*given)


def test_what_is_no_remedy_is_refused(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match=r"registers 'smaller' as remedy; pass a ctckit\.Remedy"):
        Registry().remedy("smaller")  # type: ignore[arg-type]
    monkeypatch.setattr(HierarchicalBiLSTM, "remedies", lambda *_: ["smaller"])
    with pytest.raises(PluginError, match=r"HierarchicalBiLSTM.remedies returned 'smaller'"):
        assembled(tiny, tmp_path, {}, ("hierarchical_fixed",))
