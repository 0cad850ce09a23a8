"""What the measurements of a probe say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ctckit.audit.probe_records import OverfitBatch, PairingContrast, PermutedLabels, RateRange
from ctckit.audit.probe_verdicts import judge_overfit, judge_permuted_labels, judge_rate_range, probe_rate
from ctckit.types import Finding

RANGE = RateRange((9.0, 8.0, 4.0), 4.0, 1e-3, 0.1, 0.2, complete=True, seconds=1.0)
LEARNT = OverfitBatch(8, 1e-3, 100, 40.0, 0.2, 3.0, 0.0, 8.0, 5.0, "", complete=True, seconds=1.0)
CONTRAST = PairingContrast(100, 0.5, 6.0, related=True)
PAIRED = PermutedLabels(
    128, 1e-3, 200, 2.0, 4.0, memorised=True, unseen={"train": CONTRAST}, failure="", complete=True, seconds=1.0
)


def rules(findings: Any) -> list[tuple[str, str]]:
    found: list[Finding] = list(findings)
    return [(one.rule, one.severity) for one in found]


@pytest.mark.parametrize(
    ("change", "planned", "rule", "severity"),
    [
        ({}, [1e-3], "learning_rate_range", "info"),
        ({}, [1.1e-4], "learning_rate_range", "info"),
        ({}, [0.9e-4], "learning_rate_range", "warning"),
        ({}, [1e-3, 0.1], "learning_rate_range", "warning"),
        ({"diverged": None}, [10.0], "learning_rate_range", "info"),
        ({"diverged": None, "complete": False}, [1e-3], "probe_inconclusive", "info"),
        ({"steepest": None}, [1e-3], "probe_inconclusive", "info"),
        ({"steepest": None}, [0.2], "learning_rate_range", "warning"),
    ],
)
def test_rate_range(change: dict[str, Any], planned: list[float], rule: str, severity: str) -> None:
    assert rules(judge_rate_range(replace(RANGE, **change), planned)) == [(rule, severity)]


def test_other_probes_train_fast_and_away_from_divergence() -> None:
    assert probe_rate(RANGE) == pytest.approx(2e-3)
    assert probe_rate(replace(RANGE, diverged=5e-3)) == pytest.approx(5e-4)
    assert probe_rate(replace(RANGE, steepest=None)) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [("overfit_one_batch", "info"), ("shuffled_inputs", "info")]),
        ({"reordered_loss": 0.3}, [("overfit_one_batch", "info"), ("order_ignored", "warning")]),
        ({"reordered_loss": 0.3, "clips": 2}, [("overfit_one_batch", "info"), ("shuffled_inputs", "info")]),
        ({"loss": 2.9, "token_error_rate": 90.0}, [("overfit_one_batch", "error")]),
        (
            {"loss": 2.9, "token_error_rate": 90.0, "exchanged_loss": 2.95},
            [("overfit_one_batch", "error"), ("input_ignored", "error")],
        ),
        ({"token_error_rate": 30.0}, [("overfit_one_batch", "error")]),
        (
            {"loss": 2.9, "exchanged_loss": 2.9, "token_error_rate": 90.0, "complete": False},
            [("probe_inconclusive", "info")],
        ),
        ({"failure": "the loss is not finite"}, [("overfit_one_batch", "error")]),
    ],
)
def test_overfit_and_shuffled_inputs(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert rules(judge_overfit(replace(LEARNT, **change))) == expected


CHANCE = PairingContrast(100, 0.01, 0.5, related=False)
BETWEEN = PairingContrast(100, 0.1, 3.0, related=False)


@pytest.mark.parametrize(
    ("unseen", "memorised", "expected"),
    [
        ({"train": CONTRAST, "dev": CONTRAST}, False, ["info", "info"]),
        ({"train": CHANCE}, True, ["warning"]),
        ({"train": CHANCE}, False, ["inconclusive"]),
        ({"train": BETWEEN}, True, ["inconclusive"]),
        ({"train": CONTRAST, "dev": CHANCE}, True, ["info", "warning"]),
        ({"train": CHANCE, "dev": CHANCE}, True, ["warning", "inconclusive"]),
        ({}, True, ["inconclusive"]),
    ],
)
def test_permuted_labels(unseen: dict[str, PairingContrast], memorised: bool, expected: list[str]) -> None:
    found = judge_permuted_labels(replace(PAIRED, unseen=unseen, memorised=memorised))
    assert [
        "inconclusive" if rule == "probe_inconclusive" else severity for rule, severity in rules(found)
    ] == expected
