from __future__ import annotations

import pytest
import torch
from audited import Plain

from ctckit.audit.model import check_learning_rates, check_model


@pytest.mark.parametrize("flaw", ["probabilities", "log_probabilities", "finite", "padding", "width", "lengths"])
def test_a_model_that_breaks_its_contract_is_found(flaw: str) -> None:
    (finding,) = check_model(Plain(flaw), 3, 5)
    assert finding.rule == f"model_{flaw}"
    assert finding.severity == ("warning" if flaw == "log_probabilities" else "error")


def test_a_model_that_keeps_it_is_left_as_it_was() -> None:
    model = Plain("").train()
    state = torch.get_rng_state()
    assert list(check_model(model, 3, 5)) == []
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("rates", "rule"),
    [
        ([1e-3, 6e-3], "learning_rate_high"),
        ([1e-6, 9e-6], "learning_rate_low"),
        ([1e-3, 1e-3], "no_warmup"),
        ([1e-4, 1e-3], None),
        ([5e-4, 5e-4], None),
        ([], None),
    ],
)
def test_learning_rates(rates: list[float], rule: str | None) -> None:
    assert [finding.rule for finding in check_learning_rates(rates)] == ([rule] if rule else [])
