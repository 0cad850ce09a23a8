"""The document's red flags and triggers: each fires on its figures and stays silent just beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctckit.doctor.flags import RULES, red_flags
from ctckit.record.epoch import Epoch

Make = Callable[..., Epoch]


def fired(*past: Epoch) -> set[str]:
    return {finding.rule for finding in red_flags(past)}


def test_a_healthy_run_with_97_per_cent_blanks_raises_no_warning(spiky: Make) -> None:
    run = [spiky(epoch, val_wer=30.0 - epoch / 2, val_loss=2.0 - epoch / 50) for epoch in range(1, 40)]
    for end in range(1, len(run) + 1):
        assert not [flag for flag in red_flags(run[:end]) if flag.severity != "info"]
    flag = red_flags(run)[0]
    assert (flag.rule, flag.severity) == ("blank_ratio_high", "info")
    assert "no collapse" in flag.message


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("blank_ratio_high", {"epoch": 11, "blank_ratio": 90.1}, {"epoch": 10}),
    ("blank_ratio_high", {"epoch": 11, "blank_ratio": 90.1}, {"blank_ratio": 90.0}),
    ("blank_excess", {"epoch": 11, "blank_ratio": 99.0, "deletion_rate": 50.0}, {"epoch": 10}),
    ("blank_excess", {"epoch": 11, "blank_ratio": 99.0, "deletion_rate": 50.0}, {"deletion_rate": 49.0}),
    ("blank_excess", {"epoch": 11, "blank_ratio": 99.0, "deletion_rate": 50.0}, {"blank_ratio": 98.0}),
    ("overfit_ratio_high", {"overfit_ratio": 10.1, "val_wer": 40.0}, {"overfit_ratio": 10.0}),
    ("overfit_ratio_high", {"overfit_ratio": 10.1, "val_wer": 40.0}, {"val_wer": 12.0}),
    ("few_labels", {"epoch": 16, "label_coverage": 10.3}, {"epoch": 15}),
    ("few_labels", {"epoch": 16, "label_coverage": 10.3}, {"label_coverage": 10.4}),
    (
        "few_labels",
        {"epoch": 16, "label_coverage": None, "unique_nonblank": 99, "val_wer": 60.0},
        {"unique_nonblank": 100},
    ),
    (
        "few_labels",
        {"epoch": 16, "label_coverage": None, "unique_nonblank": 99, "val_wer": 60.0},
        {"val_wer": 12.0},
    ),
    ("fits_without_generalising", {"train_eval_loss": 0.49, "val_loss": 5.1}, {"train_eval_loss": 0.5}),
    ("fits_without_generalising", {"train_eval_loss": 0.49, "val_loss": 5.1}, {"val_loss": 5.0}),
    ("contingency", {"epoch": 15, "blank_ratio": 80.1, "blank_reference": None}, {"epoch": 16}),
    ("contingency", {"epoch": 15, "blank_ratio": 80.1, "blank_reference": None}, {"blank_ratio": 80.0}),
    ("contingency", {"epoch": 15, "blank_ratio": 80.1, "blank_reference": None}, {"update": 45.0}),
    ("milestone_start", {"epoch": 5, "val_loss": 15.0}, {"val_loss": 14.9}),
    ("milestone_start", {"epoch": 5, "label_coverage": 5.1}, {"label_coverage": 5.2}),
    ("milestone_start", {"epoch": 5, "val_loss": 15.0}, {"epoch": 4}),
    ("milestone_blanks", {"epoch": 15, "blank_ratio": 70.0, "blank_reference": None}, {"blank_ratio": 69.9}),
    ("milestone_labels", {"epoch": 20, "label_coverage": 31.0}, {"label_coverage": 31.1}),
    ("milestone_labels", {"epoch": 20, "label_coverage": None, "unique_nonblank": 299}, {"unique_nonblank": 300}),
    ("milestone_errors", {"epoch": 25, "val_wer": 70.0}, {"val_wer": 69.9}),
    ("milestone_errors", {"epoch": 50, "val_wer": 40.0}, {"val_wer": 39.9}),
    ("milestone_errors", {"epoch": 50, "val_wer": 40.0}, {"epoch": 49}),
]


@pytest.mark.parametrize(("rule", "holds", "beside"), CASES)
def test_a_rule_of_one_epoch(spiky: Make, rule: str, holds: dict[str, Any], beside: dict[str, Any]) -> None:
    assert rule in fired(spiky(**holds))
    assert rule not in fired(spiky(**{**holds, **beside}))


def losses(spiky: Make, values: list[float], **changes: Any) -> list[Epoch]:
    return [spiky(number, val_loss=value, **changes) for number, value in enumerate(values, 1)]


def test_dev_loss_must_rise_three_times_in_a_row(spiky: Make) -> None:
    assert "val_loss_rising" in fired(*losses(spiky, [1.0, 1.1, 1.2, 1.3]))
    assert "val_loss_rising" not in fired(*losses(spiky, [1.0, 1.1, 1.2]))
    assert "val_loss_rising" not in fired(*losses(spiky, [1.0, 1.1, 1.1, 1.2]))


def test_a_rising_dev_loss_with_fewer_errors_is_no_warning(spiky: Make) -> None:
    run = [spiky(n, val_loss=1.0 + n / 10, val_wer=40.0 - n) for n in range(1, 5)]
    (flag,) = [flag for flag in red_flags(run) if flag.rule == "val_loss_rising"]
    assert flag.severity == "info"
    assert "from 39.0 to 36.0 %" in flag.message


def test_a_word_less_is_no_excuse_for_a_rising_dev_loss(spiky: Make) -> None:
    run = [spiky(n, val_loss=9.0 + n, val_wer=87.25 - n / 15, overfit_ratio=67.0) for n in range(1, 5)]
    (flag,) = [flag for flag in red_flags(run) if flag.rule == "val_loss_rising"]
    assert flag.severity == "warning"
    recognising = [spiky(n, val_loss=0.05 + n / 100, val_wer=1.2) for n in range(1, 5)]
    (flag,) = [flag for flag in red_flags(recognising) if flag.rule == "val_loss_rising"]
    assert flag.severity == "info"


def test_rules_of_the_document_wait_where_an_epoch_is_a_handful_of_updates(spiky: Make) -> None:
    wrong = {"blank_ratio": 99.5, "deletion_rate": 60.0, "label_coverage": 2.0}
    assert {"blank_ratio_high", "blank_excess", "few_labels"} <= fired(spiky(16, **wrong))
    assert not fired(spiky(16, **wrong, update=48.0))
    # each of its turning points comes once
    run = [spiky(n, update=30.0 * n, blank_ratio=85.0, blank_reference=None) for n in range(1, 60)]
    at = [n for n in range(1, 60) if "contingency" in fired(*run[:n])]
    assert at == [50]


def test_blanks_that_fall_slowly(spiky: Make) -> None:
    stuck = {"blank_ratio": 99.5}
    assert "blank_falls_slowly" in fired(*[spiky(n, **stuck) for n in range(6, 12)])
    assert "blank_falls_slowly" not in fired(*[spiky(n, **stuck) for n in range(5, 11)])
    falling = [spiky(n, blank_ratio=99.9 - 0.21 * n, blank_reference=99.0) for n in range(6, 12)]
    assert "blank_falls_slowly" not in fired(*falling)
    # at the share of one-frame spikes there is nothing left to fall
    assert "blank_falls_slowly" not in fired(*[spiky(n) for n in range(6, 12)])


def test_errors_that_stall_are_reported_off_the_plateau_only(spiky: Make, silent: Make) -> None:
    assert "wer_stalls" in fired(*[spiky(n) for n in range(1, 7)])
    assert "wer_stalls" not in fired(*[spiky(n) for n in range(1, 6)])
    assert "wer_stalls" not in fired(*[spiky(n) for n in range(1, 6)], spiky(6, val_wer=11.9))
    assert "wer_stalls" not in fired(*[silent(n) for n in range(1, 9)])


def test_every_rule_is_tried_here() -> None:
    tried = {rule for rule, _, _ in CASES} | {"val_loss_rising", "blank_falls_slowly", "wer_stalls"}
    assert tried == set(RULES)


def test_findings_are_data(spiky: Make) -> None:
    for finding in red_flags([spiky(11, blank_ratio=99.5, deletion_rate=60.0)]):
        assert finding.source.startswith("docs/founding-document.md ")
        assert all(isinstance(value, (int, float, str)) for value in finding.evidence.values())
        assert "\n" not in finding.message
    assert red_flags([]) == ()
