from __future__ import annotations

from typing import Any

from ctckit import ClipLength, Finding, Hypothesis, Sample, StopPhase
from ctckit.testing import check_component
from ctckit_hierarchical.monitors import ConditionalClipping, EndTakeoff, SamplePredictions, SuccessTable


def test_the_success_table_speaks_at_the_end_of_each_phase(make_epoch: Any) -> None:
    table = SuccessTable()
    assert table.observe(make_epoch(19, phase_epochs=20)) == []
    assert table.observe(make_epoch(20, phase_epochs=20, phase="elsewhere")) == []
    (finding,) = table.observe(
        make_epoch(20, phase_epochs=20, reference_labels=966, unique_nonblank=300, blank_frames=70, substitutions=5)
    )
    assert isinstance(finding, Finding)
    assert finding.evidence["val_wer"] == 70.0
    assert (finding.evidence["val_wer_hit"], finding.evidence["blank_ratio_hit"]) == (True, True)
    assert finding.evidence["unique_nonblank_hit"] is True
    assert finding.severity == "info"


def test_each_miss_is_named(make_epoch: Any) -> None:
    (finding,) = SuccessTable().observe(
        make_epoch(
            20,
            phase_epochs=20,
            deletions=9,
            reference_labels=966,
            unique_nonblank=299,
            blank_frames=71,
            loss=4.1,
        )
    )
    assert isinstance(finding, Finding)
    assert {name: hit for name, hit in finding.evidence.items() if name.endswith("_hit")} == {
        "val_wer_hit": False,
        "blank_ratio_hit": False,
        "unique_nonblank_hit": False,
        "overfit_ratio_hit": False,
    }
    assert finding.severity == "warning"
    assert finding.message.count("missed") == 4


def test_the_table_is_the_documents_and_silent_on_other_corpora_unless_asked_for(make_epoch: Any) -> None:
    small = make_epoch(20, reference_labels=10, unique_nonblank=10)
    assert SuccessTable().observe(small) == []
    assert SuccessTable(always=True).observe(small)


def test_a_degenerate_net_hits_nothing(make_epoch: Any) -> None:
    fine = {"reference_labels": 966, "unique_nonblank": 400, "blank_frames": 0, "substitutions": 5}
    for figures in (
        {**fine, "train_loss": 3.99, "plateau_loss": 4.0},  # on the plateau, with 0 % blanks
        {**fine, "unique_nonblank": 1},
        {**fine, "deletions": 10, "substitutions": 0},  # collapsed
    ):
        (finding,) = SuccessTable().observe(make_epoch(20, phase_epochs=20, **figures))
        assert isinstance(finding, Finding)
        assert finding.message.count("missed") == 4, figures
        assert finding.severity == "warning"


def test_a_phase_that_ends_early_gets_its_report_in_the_next(make_epoch: Any) -> None:
    table = SuccessTable()
    fine = {"reference_labels": 966, "unique_nonblank": 400}
    assert table.observe(make_epoch(7, phase_epochs=20, phase="exploration", **fine)) == []
    resumed = SuccessTable()
    resumed.load_state_dict(table.state_dict())
    (finding,) = resumed.observe(make_epoch(8, phase_epochs=20, phase="consolidation", **fine))
    assert isinstance(finding, Finding)
    assert finding.message.startswith("phase exploration against the founding document's table")
    resumed.load_state_dict({})  # a checkpoint of ctckit 0.1.0


def test_label_counts_are_scaled_to_the_corpus(make_epoch: Any) -> None:
    for emitted, hit in ((31, False), (32, True)):  # 300 of 966 is 31.06 of 100
        (finding,) = SuccessTable(always=True).observe(
            make_epoch(20, reference_labels=100, unique_nonblank=emitted)
        )
        assert isinstance(finding, Finding)
        assert finding.evidence["unique_nonblank_hit"] is hit


def test_a_sample_is_shown_every_ten_epochs(make_epoch: Any) -> None:
    sample = Hypothesis("clip-7", ("A", "B", "C"), ("A", "C"), (0, 4), (1, 5), (-0.1, -0.2), 0, 1, 0)
    monitor = SamplePredictions()
    assert monitor.observe(make_epoch(9, samples=(sample,))) == []
    assert monitor.observe(make_epoch(10, samples=(sample,))) == [Sample("clip-7", ("A", "B", "C"), ("A", "C"))]


def test_clipping_needs_its_phase_and_both_conditions(make_epoch: Any) -> None:
    monitor = ConditionalClipping(act=True)
    holds = {"phase": "consolidation", "loss": 2.9, "train_loss": 0.9}
    (action,) = monitor.observe(make_epoch(**holds))
    assert isinstance(action, ClipLength)
    assert action.max_frames == 300
    assert action.finding.rule == "overfit_on_length"
    assert monitor.observe(make_epoch(**{**holds, "phase": "exploration"})) == []
    assert monitor.observe(make_epoch(**{**holds, "loss": 3.1})) == []
    assert monitor.observe(make_epoch(**{**holds, "train_loss": 1.0})) == []
    assert monitor.observe(make_epoch(**holds, max_frames=300)) == []


def test_clipping_is_harmful_and_only_noted_unless_asked_for(make_epoch: Any) -> None:
    monitor = ConditionalClipping()
    holds = {"phase": "consolidation", "loss": 2.9, "train_loss": 0.9}
    (note,) = monitor.observe(make_epoch(**holds))
    assert isinstance(note, Finding)
    assert (note.rule, note.severity) == ("overfit_on_length", "info")


def test_the_takeoff_ends_with_the_plateau_and_in_its_own_phase_only(make_epoch: Any) -> None:
    monitor = EndTakeoff(patience=2)

    def told(loss: float, phase: str = "takeoff") -> list[object]:
        return list(monitor.observe(make_epoch(1, phase=phase, train_loss=loss, plateau_loss=4.0)))

    assert told(3.9) == []  # within 3 % of the plateau
    assert told(3.8) == []
    assert told(3.95) == []  # back on it: the count begins anew
    assert told(3.8) == []
    (action,) = told(3.7)
    assert isinstance(action, StopPhase)
    assert action.finding.rule == "plateau_left"
    assert told(3.0, phase="training") == []


def test_the_takeoff_keeps_its_contract() -> None:
    check_component(EndTakeoff())
    check_component(EndTakeoff(patience=3))
