"""The recipe ``hierarchical_adaptive``: what was measured to work, in the smallest number of parts."""

from __future__ import annotations

import ctckit
from ctckit import Component, Phase, Recipe
from ctckit_hierarchical.components import register_components

CTCKIT_API = "1.0"

RECIPE = Recipe(
    name="hierarchical_adaptive",
    requires=("doctor", "cures"),
    description="What measurements on real data left standing: convolution, subsampling, auxiliary head",
    model=Component(
        name="hierarchical_bilstm", hidden_size=512, temporal_conv=True, subsampling=4, auxiliary_weight=1.0
    ),
    phases={
        "training": Phase(
            epochs=50,
            schedule=Component(name="warmup_cosine", lr=1e-3),
            weight_decay=1e-4,
            dropout=0.2,
            stage=2,
            time_mask_prob=0.1,
        ),
    },
    monitors=(Component(name="doctor"), Component(name="sample_predictions", every=10)),
    batch_size=8,
    gradient_clip=5.0,
    seed=42,
    target_wer=30.0,
    demo={"model.hidden_size": 64, "phases.training.epochs": 16, "model.subsampling": 1},
)


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the recipe and its components."""
    register_components(registry)
    registry.recipe(RECIPE)
