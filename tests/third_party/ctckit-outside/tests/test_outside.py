"""The plugin's own tests, as its author would write them."""

from functools import partial

import pytest

from ctckit.testing import check_plugin, make_epoch, make_progress, parametrize_with_checks
from ctckit_outside.components import BlankTarget, StalledLabels, TriStage
from ctckit_outside.model import SeparableConvolutions


@parametrize_with_checks(
    [
        partial(SeparableConvolutions, channels=8),
        TriStage(lr=1e-3),
        BlankTarget(),
        StalledLabels(),
    ]
)
def test_contract(component, check):
    check(component)


def test_plugin():
    assert {report.name for report in check_plugin("outside")} >= {"tri_stage", "blank_target", "stalled_labels"}


def test_the_rate_is_held_in_the_middle():
    assert TriStage(lr=1.0).learning_rate(make_progress(epoch=5, epochs=20)) == 1.0
    assert TriStage(lr=1.0).learning_rate(make_progress(epoch=20, batch=10, epochs=20)) == pytest.approx(0.05)


def test_it_ends_the_phase_with_a_checkpoint():
    monitor = StalledLabels(patience=2)
    stalled = [monitor.observe(make_epoch(number, val={"covered_labels": 3})) for number in (1, 2, 3)]
    assert [len(outcomes) for outcomes in stalled] == [0, 0, 3]


def test_a_corpus_is_there(tiny_corpus):
    assert tiny_corpus.train.is_file()
