from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from layers import config

from ctckit import Component, ConfigError, Phase, Recipe
from ctckit.config import from_json, nest, parse_assignment, read_toml, resolve, to_json
from ctckit.toml import as_toml
from ctckit_hierarchical.fixed import RECIPE


def test_later_layers_win_and_the_rest_of_the_recipe_stays() -> None:
    made = config({"batch_size": 8, "model": {"hidden_size": 64}}, {"batch_size": 4})
    assert made.batch_size == 4
    assert made.model.params == {**RECIPE.model.params, "hidden_size": 64}
    assert list(made.phases) == ["warmup", "exploration", "consolidation", "fine_tuning"]


def test_a_star_reaches_every_phase() -> None:
    made = config(nest({"phases.*.epochs": 3}))
    assert {phase.epochs for phase in made.phases.values()} == {3}


def test_within_a_layer_a_single_phase_wins_over_the_star() -> None:
    made = config(nest({"phases.warmup.epochs": 7, "phases.*.epochs": 3}))
    assert [phase.epochs for phase in made.phases.values()] == [7, 3, 3, 3]


def test_naming_another_component_drops_the_parameters_of_the_old() -> None:
    made = config(nest({"phases.exploration.penalty.name": "constant", "phases.exploration.penalty.value": -1.0}))
    penalty = made.phases["exploration"].penalty
    assert (penalty.name, penalty.params) == ("constant", {"value": -1.0})


def test_the_same_component_keeps_its_other_parameters() -> None:
    made = config(nest({"phases.exploration.penalty.domain": "path"}))
    assert made.phases["exploration"].penalty.params == {"start": -3.0, "end": -1.5, "domain": "path"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batchsize": 8}, "layer 0: unknown key 'batchsize'; did you mean 'batch_size'?"),
        (nest({"data.trian": "x"}), "layer 0: unknown key 'data.trian'; did you mean 'train'?"),
        (nest({"phases.warmup.epoch": 1}), "unknown key 'phases.warmup.epoch'; did you mean 'epochs'?"),
        (nest({"phases.warmpu.epochs": 1}), "unknown phase 'warmpu'; did you mean 'warmup'?"),
        ({"recipe": "other"}, "chosen with --recipe"),
        ({"batch_size": 0}, "batch_size = 0: input should be greater than or equal to 1"),
        (nest({"phases.warmup.dropout": 1.5}), "phases.warmup.dropout = 1.5: input should be less than 1"),
        (nest({"phases.warmup.epochs": True}), "phases.warmup.epochs = True: input should be a number"),
        ({"batch_size": True}, "batch_size = True: input should be a number"),
        (nest({"data.cache_mb": False}), "data.cache_mb = False: input should be a number"),
        (nest({"data.unit": "letter"}), "data.unit = 'letter': input should be 'word' or 'character'"),
    ],
)
def test_every_key_is_consumed_or_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch_size=8", {"batch_size": 8}),
        ("model.hidden_size=64", {"model": {"hidden_size": 64}}),
        ("data.unit=character", {"data": {"unit": "character"}}),
        ("phases.warmup.penalty=none", {"phases": {"warmup": {"penalty": "none"}}}),
        ("data.normalize=none", {"data": {"normalize": "none"}}),
        ("data.train=/a=b.h5", {"data": {"train": "/a=b.h5"}}),
    ],
)
def test_assignments_are_toml_or_text(text: str, expected: dict[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["batch_size", "=3"])
def test_an_assignment_needs_key_and_value(text: str) -> None:
    with pytest.raises(ConfigError, match="write key=value"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("setting", "path", "expected"),
    [
        ("phases.*.penalty=label_prior", ("phases", "warmup", "penalty"), {"name": "label_prior"}),
        ("phases.*.penalty=none", ("phases", "warmup", "penalty"), None),
        ("phases.warmup.schedule=cosine", ("phases", "warmup", "schedule"), {"name": "cosine"}),
        ("model=my_model", ("model",), {"name": "my_model"}),
        # the name that is there already leaves its parameters as they are
        ("phases.*.penalty=constant", ("phases", "warmup", "penalty"), {"name": "constant", "value": -1.0}),
        ('monitors=["doctor"]', ("monitors", 0), {"name": "doctor"}),
        ('phases.*.regularizers=["smoothness"]', ("phases", "warmup", "regularizers", 0), {"name": "smoothness"}),
    ],
)
def test_a_component_may_be_a_name_alone(setting: str, path: tuple[Any, ...], expected: Any) -> None:
    found: Any = config(parse_assignment(setting)).model_dump()
    for part in path:
        found = found[part]
    assert found == expected if expected is None else expected.items() <= found.items()
    assert setting.endswith("=constant") or found == expected


def test_a_recipe_may_name_components_alone() -> None:
    phase = Phase(epochs=1, schedule="cosine", penalty="label_prior", regularizers=("smoothness",))
    recipe = Recipe(name="short", description="", model="mine", phases={"only": phase}, monitors=("doctor",))
    assert [component for _, component in recipe.components()] == [
        Component(name) for name in ("mine", "cosine", "label_prior", "smoothness", "doctor")
    ]
    # beside a parameter, a model's own `penalty` is a value and no component
    assert resolve(recipe, [("test", {"model": {"penalty": "l2"}})]).model.params == {"penalty": "l2"}


def test_tuples_are_lists_as_files_hold_them() -> None:
    assert Component("table", until=(1, 2), more={"deep": ((1,),)}).params == {
        "until": [1, 2],
        "more": {"deep": [[1]]},
    }


def test_a_whole_configuration_takes_the_place_of_what_is_below_it() -> None:
    written = tomllib.loads(as_toml(config({"batch_size": 3})))
    assert config(nest({"phases.*.penalty.domain": "path"}), written).phases == RECIPE.phases
    assert config(written, {"batch_size": 5}).batch_size == 5
    with pytest.raises(ConfigError, match="layer 0: is for the recipe 'other', not 'hierarchical_fixed'"):
        config({**written, "recipe": "other"})
    with pytest.raises(
        ConfigError, match="names its recipe, as a whole configuration does, and lacks model, phases"
    ):
        config({"recipe": "hierarchical_fixed", "batch_size": 3})
    with pytest.raises(ConfigError, match="layer 0: unknown key 'batchsize'; did you mean"):
        config({**written, "batchsize": 3})


def test_toml_errors_name_the_file(tmp_path: Path) -> None:
    broken = tmp_path / "run.toml"
    broken.write_text("batch_size = ")
    with pytest.raises(ConfigError, match=r"run\.toml: not valid TOML"):
        read_toml(broken)
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        read_toml(tmp_path / "absent.toml")


def test_none_leaves_a_thing_out_from_any_layer() -> None:
    made = config(nest({"phases.*.penalty": "none", "phases.warmup.dropout": "none", "data.normalize": "none"}))
    assert {phase.penalty for phase in made.phases.values()} == {None}
    assert made.phases["warmup"].dropout is None
    assert made.data.normalize == "none"


def test_the_stage_of_a_phase_is_its_own_or_that_of_the_phase_before() -> None:
    made = config(nest({"phases.warmup.stage": 1, "phases.exploration.stage": "none"}))
    assert [made.stage_of(name) for name in made.phases] == [1, 1, 2, 2]


def test_json_round_trip() -> None:
    made = config({"batch_size": 3})
    assert from_json(to_json(made)) == made
