"""The recipe ``hierarchical_adaptive``: what measurements on real data left standing.

The full learning rate from the first step, without dropout and masking, until the unigram plateau is behind
(the monitor ``end_takeoff`` sees to that); then the last three phases of ``hierarchical_fixed`` without their
penalties. Convolution, subsampling by 4, the frame level as an auxiliary CTC head, batches of 8. The page
"Cures" (docs/cures.md) has the measurements.
"""

from __future__ import annotations

import ctckit
from ctckit import Component, Phase, Recipe
from ctckit_hierarchical.components import register_components

CTCKIT_API = "1.0"

RECIPE = Recipe(
    name="hierarchical_adaptive",
    requires=("doctor",),
    description="Off the plateau first, then regularised: full rate, subsampling, auxiliary head, no blank penalty",
    model=Component(
        name="hierarchical_bilstm", hidden_size=512, temporal_conv=True, subsampling=4, auxiliary_weight=1.0
    ),
    phases={
        "takeoff": Phase(
            epochs=20,  # at most: end_takeoff ends it
            schedule=Component(name="constant", lr=1e-3),
            weight_decay=1e-5,
            dropout=0.0,
            stage=2,
        ),
        "exploration": Phase(
            epochs=22,
            schedule=Component(name="plateau", lr=1e-3, factor=0.5, patience=8, min_lr=1e-6),
            weight_decay=1e-4,
            dropout=0.15,
            stage=2,
            time_mask_prob=0.1,
        ),
        "consolidation": Phase(
            epochs=15,
            schedule=Component(name="plateau", lr=5e-4, factor=0.6, patience=5, min_lr=1e-6),
            weight_decay=1e-4,
            dropout=0.25,
            stage=2,
            time_mask_prob=0.15,
        ),
        "fine_tuning": Phase(
            epochs=10,
            schedule=Component(name="plateau", lr=1e-4, factor=0.7, patience=4, min_lr=1e-6),
            weight_decay=1e-4,
            dropout=0.35,
            stage=2,
            time_mask_prob=0.05,
        ),
    },
    monitors=(
        Component(name="end_takeoff"),
        Component(name="sample_predictions", every=10),
        Component(name="doctor"),
    ),
    batch_size=8,
    gradient_clip=5.0,
    seed=42,
    target_wer=30.0,
    demo={
        "model.hidden_size": 64,
        "model.subsampling": 1,
        "phases.takeoff.epochs": 5,
        "phases.exploration.epochs": 6,
        "phases.consolidation.epochs": 3,
        "phases.fine_tuning.epochs": 2,
    },
)


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the recipe and its components."""
    register_components(registry)
    registry.recipe(RECIPE)
