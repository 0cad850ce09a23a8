"""What a rule over the epochs of a run is, and how a set of them is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ctckit.doctor.past import Past
from ctckit.record.epoch import Epoch
from ctckit.types import Finding, Severity

Rule = Callable[[Past], Finding | None]
"""Says whether something holds after the last epoch."""


def holding(rules: Mapping[str, Rule], past: Past | Sequence[Epoch]) -> tuple[Finding, ...]:
    """Return what rules find after the last epoch, at most one finding a rule; nothing before the first."""
    if not isinstance(past, Past):
        past = Past.of(past)
    if not past.epochs:
        return ()
    found = (rule(past) for rule in rules.values())
    return tuple(finding for finding in found if finding is not None)


def finding(
    rule: str, severity: Severity, message: str, source: str, advice: str, **evidence: float | str | None
) -> Finding:
    """Return a finding with the figures that are known."""
    known = {name: value for name, value in evidence.items() if value is not None}
    return Finding(rule, severity, message, known, advice, source)
