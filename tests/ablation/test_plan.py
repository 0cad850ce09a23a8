"""The PLAN.toml, and settings written as a RUN.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctckit.ablation.plan import read_plan
from ctckit.config import Config, parse_assignment, resolve
from ctckit.errors import ConfigError
from ctckit.toml import as_toml
from ctckit_hierarchical.fixed import RECIPE

VARIANT = "[variants.a]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sedes = [1]\n" + VARIANT, "unknown key 'sedes'; did you mean 'seeds'?"),
        (VARIANT + "recipes = 'x'", "unknown key 'variants.a.recipes'; did you mean 'recipe'?"),
        ("seeds = [1]", "'variants' is missing; name what to compare as [variants.NAME]"),
        ("[variants]", "variants"),
        ("seeds = []\n" + VARIANT, "seeds = []"),
        ("seeds = [1, 2, 1]\n" + VARIANT, "one is there twice"),
        ("seeds = [-1]\n" + VARIANT, "seeds.0 = -1"),
        ("minutes = 0\n" + VARIANT, "minutes = 0"),
        ("minutes = 1\nupdates = 9\n" + VARIANT, "a budget is one of them"),
        ("[variants.'a/b']", "variants.a/b"),
        ("[variants.'../b']", "variants.../b"),
        ("set = ['seed=3']\n" + VARIANT, "seed is set by the ablation"),
        (VARIANT + "settings.seed = 3", "variants.a.settings: seed is set by the ablation"),
        (VARIANT + "set = ['hidden']", "--set hidden: write key=value"),
        ("[variants.a", "not valid TOML"),
    ],
)
def test_a_bad_plan_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_plan(write(tmp_path, text))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_plan(tmp_path / "none.toml")


def test_a_variant_is_laid_over_what_all_have_and_its_short_settings_over_its_tables(tmp_path: Path) -> None:
    text = (
        "set = ['model.hidden_size=8']\n[settings]\nbatch_size = 2\n[settings.model]\nhidden_size = 4\n"
        "[variants.a]\nset = ['model.hidden_size=32']\nsettings.model.hidden_size = 16\n[variants.b]\n"
    )
    path = write(tmp_path, text)
    plan = read_plan(path)
    sizes = {
        name: resolve(RECIPE, plan.layers_of(name, path)).model.params["hidden_size"] for name in plan.variants
    }
    assert sizes == {"a": 32, "b": 8}
    assert resolve(RECIPE, plan.layers_of("a", path)).batch_size == 2
    with pytest.raises(ConfigError, match=r"plan.toml: variants.a.set batch_siz=1: unknown key 'batch_siz'"):
        resolve(RECIPE, [*plan.layers_of("b", path), (f"{path}: variants.a.set batch_siz=1", {"batch_siz": 1})])


def laid(*assignments: str) -> Config:
    return resolve(RECIPE, [(one, parse_assignment(one)) for one in assignments])


def read_back(config: Config) -> Config:
    return resolve(RECIPE, [("as written", tomllib.loads(as_toml(config)))])


@pytest.mark.parametrize(
    "assignments",
    [
        (),
        ("phases.*.penalty=none", "phases.warmup.dropout=none", "phases.*.max_frames=200"),
        ('phases.*.penalty={name="table", until=[2, 4], shifts=[-1.0, -0.5, 0.0], domain="path"}',),
        ('monitors=[{name="doctor", rules={stall="off"}}]', "data.train=a b.h5", "data.workers=2"),
        ("phases.exploration.schedule.lr=1e-30", "gradient_clip=1e6"),
    ],
)
def test_settings_are_the_same_when_written_and_read(assignments: tuple[str, ...]) -> None:
    config = laid(*assignments)
    assert read_back(config) == config


values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=12),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8), values
    )
)
def test_any_parameters_of_a_component_survive_the_file(params: dict[str, Any]) -> None:
    given_params = {key: value for key, value in params.items() if key not in ("name", "model_config")}
    config = resolve(RECIPE, [("test", {"model": {"name": "other", **given_params}})])
    assert read_back(config) == config
