from __future__ import annotations

from typing import Any

import pytest
from easing import COSINE, Install

from ctckit.cli.offers import unused, usage
from ctckit.config import resolve
from ctckit.plugin_host import load_plugins


def test_an_unused_plugin_is_named_with_the_option_that_uses_it(installed_plugin: Install) -> None:
    installed_plugin(COSINE, name="easing")
    registry, sources = load_plugins(["easing", "hierarchical_fixed"])
    recipe = registry.recipes["hierarchical_fixed"].value
    (hint,) = unused(registry, sources, resolve(recipe, []))
    assert hint == (
        "plugin 'easing' is loaded and not used; it offers penalty easing: "
        "use it with --set 'phases.*.penalty=easing' --set 'phases.*.penalty.start=-2.0'"
    )
    used = {"phases": {"*": {"penalty": {"name": "easing", "start": -1.0}}}}
    assert unused(registry, sources, resolve(recipe, [("test", used)])) == []


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        ("model", {}, "--set 'model=x'"),
        ("schedule", {"lr": 0.1}, "--set 'phases.*.schedule=x' --set 'phases.*.schedule.lr=0.1'"),
        ("monitor", {"every": 2, "loud": True}, "--set 'monitors=[{name = \"x\", every = 2, loud = true}]'"),
        ("regularizer", {"weight": 0.1}, "--set 'phases.*.regularizers=[{name = \"x\", weight = 0.1}]'"),
        ("recipe", {}, "--recipe x"),
    ],
)
def test_usage_is_what_train_takes(kind: str, values: dict[str, Any], text: str) -> None:
    assert usage(kind, "x", values) == text
