"""The recipe ``hierarchical_adaptive``: off the plateau first, then regularised.

Batches of 4 and the full learning rate from the first step, without dropout and masking, until the unigram
plateau is behind (the monitor ``end_takeoff`` sees to that); then a cosine with both. The entropy of the paths is
rewarded throughout. Convolution, subsampling by 4, the frame level as an auxiliary CTC head, no blank penalty.
docs/cures.md has the measurements.
"""

from __future__ import annotations

import ctckit
from ctckit import Component, Phase, Recipe
from ctckit_hierarchical.components import register_components

CTCKIT_API = "1.1"

PATH_ENTROPY = Component(name="path_entropy", weight=0.2)

RECIPE = Recipe(
    name="hierarchical_adaptive",
    requires=("doctor", "cures"),
    description="Off the plateau first, then regularised: small batches, path entropy, auxiliary head, no penalty",
    model=Component(
        name="hierarchical_bilstm", hidden_size=512, temporal_conv=True, subsampling=4, auxiliary_weight=1.0
    ),
    phases={
        "takeoff": Phase(
            epochs=20,  # at most: end_takeoff ends it
            schedule=Component(name="constant", lr=1e-3),
            regularizers=(PATH_ENTROPY,),
            weight_decay=1e-4,
            dropout=0.0,
            stage=2,
        ),
        "training": Phase(
            epochs=47,
            schedule=Component(name="cosine", lr=1e-3),
            regularizers=(PATH_ENTROPY,),
            weight_decay=1e-4,
            dropout=0.2,
            stage=2,
            time_mask_prob=0.1,
        ),
    },
    monitors=(
        Component(name="end_takeoff"),
        Component(name="sample_predictions", every=10),
        Component(name="doctor"),
    ),
    batch_size=4,
    gradient_clip=5.0,
    seed=42,
    target_wer=30.0,
    demo={
        "model.hidden_size": 64,
        "model.subsampling": 1,
        "phases.takeoff.epochs": 5,
        "phases.training.epochs": 7,
    },
)


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the recipe and its components."""
    register_components(registry)
    registry.recipe(RECIPE)
