from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from audited import WORDS, Plain, healthy, write

from ctckit.audit.initial_loss import check_initial_loss
from ctckit.data import Alphabet, FeaturePipeline, open_corpus


def test_the_untrained_loss_is_that_of_the_model_itself(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "train.h5", healthy()))
    alphabet, pipeline = Alphabet(WORDS), FeaturePipeline(3)

    def measured(change: Callable[[torch.nn.Linear], None]) -> Any:
        model = Wide("")
        change(model.linear)
        (finding,) = check_initial_loss(corpus, alphabet, model, pipeline)
        return finding

    def zero(linear: torch.nn.Linear) -> None:
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)

    def flat_start(linear: torch.nn.Linear) -> None:
        zero(linear)
        linear.bias.data[0] = 4.0

    def loud(linear: torch.nn.Linear) -> None:
        torch.nn.init.constant_(linear.weight, 20.0)
        linear.weight.data[0] = -20.0

    def broken(linear: torch.nn.Linear) -> None:
        torch.nn.init.constant_(linear.bias, float("nan"))

    exact = measured(zero)
    assert exact.severity == "info"
    assert exact.evidence["loss"] == pytest.approx(exact.evidence["uniform_loss"], rel=1e-5)
    assert exact.evidence["excess_per_frame"] == pytest.approx(0.0, abs=1e-4)
    biased = measured(flat_start)
    assert biased.severity == "info"
    assert biased.evidence["plateau_loss"] < biased.evidence["loss"] < 0.5 * exact.evidence["loss"]
    for fault in (loud, broken):
        assert measured(fault).severity == "warning"
        assert "out of scale" in measured(fault).advice


class Wide(Plain):
    """The same with the classes of WORDS."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.linear = torch.nn.Linear(3, 1 + len(WORDS))
