"""The recipe ``hierarchical_multistage``: the strategy that failed (docs/founding-document.md 2.1).

Kept so that the two can be compared. A bias of -8 on the blank, the frame level alone and then the full model,
clips cut at 250 frames, constant learning rates, dropout from the start.
"""

from __future__ import annotations

import ctckit
from ctckit import Component, Phase, Recipe
from ctckit_hierarchical.components import register_components

CTCKIT_API = "1.1"

RECIPE = Recipe(
    name="hierarchical_multistage",
    requires=("doctor",),
    description="The failed strategy: blank bias -8, frame level first, clips cut at 250 frames, constant rates",
    model=Component(name="hierarchical_bilstm", hidden_size=512, temporal_conv=True, subsampling=1),
    phases={
        "frame_level": Phase(
            epochs=30,
            schedule=Component(name="constant", lr=5e-4),
            penalty=Component(name="bias_init", bias=-8.0),
            weight_decay=1e-4,
            dropout=0.25,
            stage=1,
            max_frames=250,
        ),
        "full": Phase(
            epochs=25,
            schedule=Component(name="constant", lr=3e-4),
            weight_decay=1e-4,
            dropout=0.3,
            stage=2,
            max_frames=250,
        ),
    },
    monitors=(Component(name="sample_predictions", every=10), Component(name="doctor")),
    batch_size=16,
    gradient_clip=5.0,
    seed=42,
    target_wer=30.0,
    demo={
        "model.hidden_size": 64,
        "phases.frame_level.epochs": 9,
        "phases.full.epochs": 7,
    },
)


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the recipe and its components."""
    register_components(registry)
    registry.recipe(RECIPE)
