from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layers import config

from ctckit import ConfigError, Recipe
from ctckit.config import resolve
from ctckit.toml import as_toml
from ctckit_hierarchical.adaptive import RECIPE as ADAPTIVE
from ctckit_hierarchical.fixed import RECIPE

PLAIN = st.characters(exclude_categories=["Cs"])

values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(PLAIN, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(PLAIN, max_size=5), inner, max_size=3),
    max_leaves=4,
)
params = st.dictionaries(st.text(PLAIN, max_size=8), values, max_size=3).map(
    lambda found: {key: value for key, value in found.items() if key not in ("name", "shared", "model_config")}
)
components = st.builds(lambda name, given: {**given, "name": name}, st.text(PLAIN, min_size=1, max_size=9), params)
phases = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 99),
        "schedule": components | st.sampled_from(["cosine", "constant"]),
        "penalty": components | st.sampled_from(["none", "constant", "label_prior"]),
        "regularizers": st.lists(components, max_size=2),
        "dropout": st.just("none") | st.floats(0.0, 0.9),
        "stage": st.just("none") | st.integers(1, 2),
        "curriculum": st.just("none") | st.floats(0.1, 1.0),
        "max_frames": st.just("none") | st.integers(1, 999),
        "weight_decay": st.floats(0.0, 1.0),
    },
)
settings_of_all = st.fixed_dictionaries(
    {},
    optional={
        "model": components,
        "phases": st.dictionaries(st.just("*"), phases, max_size=1),
        "monitors": st.lists(components | st.just("doctor"), max_size=2),
        "max_batch_frames": st.just("none") | st.integers(1, 9999),
        "gradient_clip": st.floats(0.1, math.inf),
        "data": st.fixed_dictionaries(
            {}, optional={"train": st.text(PLAIN, min_size=1), "normalize": st.just("none")}
        ),
    },
)


@pytest.mark.parametrize("recipe", [RECIPE, ADAPTIVE], ids=lambda recipe: recipe.name)
@given(layers=st.lists(settings_of_all, max_size=3))
def test_whatever_is_resolved_is_the_same_when_written_and_read(
    recipe: Recipe, layers: list[dict[str, Any]]
) -> None:
    resolved = resolve(recipe, [("random", layer) for layer in layers])
    assert resolve(recipe, [("as written", tomllib.loads(as_toml(resolved)))]) == resolved


@pytest.mark.parametrize("value", [math.nan, [None], object()], ids=["nan", "null in a list", "an object"])
def test_what_toml_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be written as TOML"):
        as_toml(config({"model": {"name": "other", "given": value}}))
