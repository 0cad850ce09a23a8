"""The recipe ``hierarchical_fixed``: four phases that relax the constraints step by step.

The figures are those of the founding document (docs/founding-document.md 4.3); the learning rates of phases 3 and
4, which are missing there, are those of 3.3. One thing is added: the frame level stays on as an auxiliary CTC
head, because measured on real data it does what the penalties were meant to do (README, "What was measured").
The document as it stands is ``model.auxiliary_weight=0``.
"""

from __future__ import annotations

import ctckit
from ctckit import Component, Phase, Recipe
from ctckit_hierarchical.components import register_components

CTCKIT_API = "1.1"

RECIPE = Recipe(
    name="hierarchical_fixed",
    requires=("doctor",),
    description="Full model from the start, warmup, plateau schedules, a blank penalty that decays to nothing",
    model=Component(
        name="hierarchical_bilstm", hidden_size=512, temporal_conv=True, subsampling=1, auxiliary_weight=1.0
    ),
    phases={
        "warmup": Phase(
            epochs=5,
            schedule=Component(name="warmup", start_lr=1e-6, lr=1e-3, epochs=5),
            penalty=Component(name="constant", value=-1.0, domain="logit"),
            weight_decay=1e-5,
            dropout=0.1,
            stage=2,
            time_mask_prob=0.0,
        ),
        "exploration": Phase(
            epochs=20,
            schedule=Component(name="plateau", lr=1e-3, factor=0.5, patience=8, min_lr=1e-6),
            penalty=Component(name="linear_decay", start=-3.0, end=-1.5, domain="logit"),
            weight_decay=1e-4,
            dropout=0.15,
            stage=2,
            time_mask_prob=0.1,
        ),
        "consolidation": Phase(
            epochs=15,
            schedule=Component(name="plateau", lr=5e-4, factor=0.6, patience=5, min_lr=1e-6),
            penalty=Component(name="constant", value=-0.5, domain="logit"),
            weight_decay=1e-4,
            dropout=0.25,
            stage=2,
            time_mask_prob=0.15,
        ),
        "fine_tuning": Phase(
            epochs=10,
            schedule=Component(name="plateau", lr=1e-4, factor=0.7, patience=4, min_lr=1e-6),
            penalty=Component(name="constant", value=0.0, domain="logit"),
            weight_decay=1e-4,
            dropout=0.35,
            stage=2,
            time_mask_prob=0.05,
        ),
    },
    monitors=(
        Component(name="success_table"),
        Component(name="sample_predictions", every=10),
        Component(name="conditional_clipping", max_frames=300),
        Component(name="doctor"),  # advises, never acts
    ),
    batch_size=16,
    gradient_clip=5.0,
    seed=42,
    target_wer=30.0,
    demo={
        "model.hidden_size": 64,
        "phases.warmup.epochs": 2,
        "phases.warmup.schedule.epochs": 2,
        "phases.exploration.epochs": 6,
        "phases.consolidation.epochs": 5,
        "phases.fine_tuning.epochs": 3,
    },
)


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the recipe and its components."""
    register_components(registry)
    registry.recipe(RECIPE)
