"""A recipe of components that ctckit knows nothing of."""

import ctckit
from ctckit import Component, Phase
from ctckit_outside.components import BlankTarget, StalledLabels, TriStage
from ctckit_outside.model import SeparableConvolutions

CTCKIT_API = "1.0"

RECIPE = ctckit.Recipe(
    name="outside",
    description="Separable convolutions, a tri-stage rate, and a shift that steers the blank share",
    model=Component("separable_convolutions", channels=64),
    phases={
        "only": Phase(
            epochs=30,
            schedule=Component("tri_stage", lr=3e-3),
            penalty=Component("blank_target", share=0.6),
            dropout=0.05,
        )
    },
    monitors=(Component("stalled_labels", patience=5),),
    demo={"phases.only.epochs": 4},
)


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register everything."""
    registry.model("separable_convolutions", SeparableConvolutions)
    registry.schedule("tri_stage", TriStage, example={"lr": 1e-3})
    registry.penalty("blank_target", BlankTarget)
    registry.monitor("stalled_labels", StalledLabels)
    registry.recipe(RECIPE)
