"""The cures keep their contract."""

from __future__ import annotations

from ctckit.testing import parametrize_with_checks
from ctckit_cures.penalties import BlankMassController, LabelPrior
from ctckit_cures.regularizers import Consistency, HeadDistillation, PathEntropy, Smoothness


@parametrize_with_checks(
    [
        BlankMassController,
        LabelPrior,
        LabelPrior(estimate="running", momentum=0.5),
        HeadDistillation,
        Smoothness,
        Consistency,
        PathEntropy,
    ]
)
def test_contract(component: object, check: object) -> None:
    check(component)  # type: ignore[operator]
