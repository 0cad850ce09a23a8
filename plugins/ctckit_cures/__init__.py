"""First-party plugin: cures against blank collapse that the literature names, each a component to be measured.

docs/cures.md says what each did on real data. The annealed path penalty and the start
value of the bias are among the penalties of ``hierarchical_fixed``; the auxiliary CTC head is a parameter of its
model, the length curriculum a setting of a phase.
"""

from __future__ import annotations

import ctckit
from ctckit_cures import penalties, regularizers

CTCKIT_API = "1.1"


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register penalties and regularizers."""
    registry.penalty("blank_mass_controller", penalties.BlankMassController)
    registry.penalty("label_prior", penalties.LabelPrior)
    registry.regularizer("head_distillation", regularizers.HeadDistillation)
    registry.regularizer("smoothness", regularizers.Smoothness)
    registry.regularizer("consistency", regularizers.Consistency)
    registry.regularizer("path_entropy", regularizers.PathEntropy)
