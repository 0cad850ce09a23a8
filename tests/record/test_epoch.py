"""One epoch as it was recorded: figures by name, what follows from others, and what was not finite."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest

from ctckit import Epoch, EpochResult
from ctckit.errors import DataError
from ctckit.testing import make_epoch


def test_what_follows_from_other_figures_is_derived_where_it_was_not_recorded() -> None:
    epoch = Epoch(1, val_loss=10.6, train_loss=0.16, val_wer=30.0, deletion_rate=12.0, insertion_rate=3.0)
    assert epoch.overfit_ratio == pytest.approx(10.6 / 0.16)
    assert epoch.substitution_rate == pytest.approx(15.0)
    assert Epoch(1, val_loss=10.6, train_loss=0.16, overfit_ratio=67.0).overfit_ratio == 67.0
    assert Epoch(1, blank_ratio=96.0, blank_reference=98.0).label_frames == pytest.approx(2.0)
    assert Epoch(1, blank_ratio=96.0, blank_reference=100.0).label_frames is None
    assert Epoch(1, blank_bias=-1.0, blank_bias_start=-3.0).blank_bias_drift == 2.0
    assert Epoch(1, train_loss=2.0).fit == 2.0
    assert Epoch(1, train_loss=2.0, train_eval_loss=1.5).fit == 1.5


def test_a_name_that_is_no_figure_is_an_error_and_an_unrecorded_figure_is_none() -> None:
    epoch = Epoch(1)
    assert epoch.val_wer is None
    with pytest.raises(AttributeError, match="no figure 'val_were'"):
        epoch.val_were  # noqa: B018
    with pytest.raises(AttributeError, match="does not change"):
        epoch.val_wer = 3.0
    assert epoch.value("nothing") is None


@pytest.mark.parametrize(
    ("fit", "plateau", "on", "above"),
    [
        (4.2, 4.2, True, False),
        (4.08, 4.2, True, False),
        (4.07, 4.2, False, False),
        (4.7, 4.2, True, True),
        (45.6, 3.9, True, True),
        (1.0, None, None, False),
        (None, 4.2, None, False),
    ],
)
def test_where_an_epoch_stands_beside_the_plateau(
    fit: float | None, plateau: float | None, on: bool | None, above: bool
) -> None:
    epoch = Epoch(1, train_eval_loss=fit, plateau_loss=plateau)
    assert (epoch.on_plateau, epoch.above_plateau) == (on, above)


def test_collapse_is_a_matter_of_deletions() -> None:
    assert Epoch(1, deletion_rate=90.0, blank_ratio=60.0).collapsed
    assert not Epoch(1, deletion_rate=89.9, blank_ratio=99.9).collapsed
    assert not Epoch(1).collapsed


def test_what_is_not_finite_is_named_and_derives_nothing() -> None:
    result: EpochResult = make_epoch(1, train={"loss": math.nan})
    epoch = Epoch.of(result)
    assert {"train_eval_loss", "overfit_ratio"} <= set(epoch.not_finite)
    assert epoch.overfit_ratio is None
    assert epoch.on_plateau is True  # as the training loop has it


def test_an_epoch_survives_copies_pickles_and_checkpoints() -> None:
    epoch = Epoch.of(make_epoch(4, module_gradients={"a": 1.0, "b": None}, module_weights={"a": 2.0, "b": 1.0}))
    for other in (
        copy.deepcopy(epoch),
        pickle.loads(pickle.dumps(epoch)),
        Epoch.from_state_dict(json.loads(json.dumps(epoch.state_dict()))),
    ):
        assert other == epoch
        assert hash(other) == hash(epoch)
    assert epoch != Epoch.of(make_epoch(5))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"epoch": "one"}, "'epoch' is \"one\", not a whole number"),
        ({"epoch": 1.5}, "'epoch' is 1.5, not a whole number"),
        ({"epoch": True}, "'epoch' is true, not a whole number"),
        ({"epoch": 1, "val_wer": "high"}, "'val_wer' is \"high\", not a number"),
        ({"epoch": 1, "val_wer": True}, "'val_wer' is true, not a number"),
        ({"epoch": 1, "head_loss": []}, "'head_loss' is [], not a number"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Epoch.from_row(row, "line 7")
    assert str(caught.value) == f"line 7: {message}"


def test_whole_floats_are_epochs_and_unknown_columns_are_left() -> None:
    epoch = Epoch.from_row({"epoch": 3.0, "remark": "x", "val_wer": 1}, "line 1")
    assert (epoch.epoch, epoch.val_wer) == (3, 1.0)
