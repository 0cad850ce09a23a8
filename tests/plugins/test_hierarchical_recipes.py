"""The figures of the recipes, against the founding document (docs/founding-document.md 2.1, 3.3, 4.3)."""

from __future__ import annotations

from ctckit import Component
from ctckit_hierarchical.adaptive import RECIPE as ADAPTIVE
from ctckit_hierarchical.fixed import RECIPE as FIXED
from ctckit_hierarchical.multistage import RECIPE as MULTISTAGE


def column(name: str) -> list[object]:
    return [getattr(phase, name) for phase in FIXED.phases.values()]


def test_hierarchical_fixed_is_section_4_3() -> None:
    assert list(FIXED.phases) == ["warmup", "exploration", "consolidation", "fine_tuning"]
    assert column("epochs") == [5, 20, 15, 10]
    assert column("dropout") == [0.1, 0.15, 0.25, 0.35]
    assert column("time_mask_prob") == [0.0, 0.1, 0.15, 0.05]
    assert column("weight_decay") == [1e-5, 1e-4, 1e-4, 1e-4]
    assert column("stage") == [2, 2, 2, 2]
    assert column("max_frames") == [None] * 4  # clipping is conditional: the monitor below
    schedules = [(p.schedule.name, p.schedule.params) for p in FIXED.phases.values()]
    assert schedules[0] == ("warmup", {"start_lr": 1e-6, "lr": 1e-3, "epochs": 5})
    assert [(n, p["lr"], p["factor"], p["patience"]) for n, p in schedules[1:]] == [
        ("plateau", 1e-3, 0.5, 8),
        ("plateau", 5e-4, 0.6, 5),
        ("plateau", 1e-4, 0.7, 4),
    ]
    penalties = [(p.penalty.name, p.penalty.params) for p in FIXED.phases.values() if p.penalty]
    assert penalties == [
        ("constant", {"value": -1.0, "domain": "logit"}),
        ("linear_decay", {"start": -3.0, "end": -1.5, "domain": "logit"}),
        ("constant", {"value": -0.5, "domain": "logit"}),
        ("constant", {"value": 0.0, "domain": "logit"}),
    ]
    documents = {"hidden_size": 512, "temporal_conv": True, "subsampling": 1}
    assert FIXED.model.params == {**documents, "auxiliary_weight": 1.0}  # the one addition
    assert (FIXED.batch_size, FIXED.gradient_clip, FIXED.seed, FIXED.target_wer) == (16, 5.0, 42, 30.0)
    clipping = {monitor.name: monitor.params for monitor in FIXED.monitors}["conditional_clipping"]
    assert clipping == {"max_frames": 300}


def test_hierarchical_multistage_is_the_strategy_that_failed() -> None:
    frame_level, full = MULTISTAGE.phases.values()
    assert (frame_level.epochs, full.epochs) == (30, 25)
    assert (frame_level.stage, full.stage) == (1, 2)
    assert (frame_level.max_frames, full.max_frames) == (250, 250)
    assert (frame_level.dropout, full.dropout) == (0.25, 0.3)
    assert frame_level.penalty is not None
    assert (frame_level.penalty.name, frame_level.penalty.params) == ("bias_init", {"bias": -8.0})
    assert full.penalty is None
    assert [(p.schedule.name, p.schedule.params["lr"]) for p in (frame_level, full)] == [
        ("constant", 5e-4),
        ("constant", 3e-4),
    ]


def test_hierarchical_adaptive_takes_off_before_it_regularises() -> None:
    takeoff, training = ADAPTIVE.phases.values()
    assert (takeoff.dropout, takeoff.time_mask_prob) == (0.0, 0.0)
    assert (training.dropout, training.time_mask_prob) == (0.2, 0.1)
    assert [(phase.schedule.name, phase.schedule.params) for phase in (takeoff, training)] == [
        ("constant", {"lr": 1e-3}),
        ("cosine", {"lr": 1e-3}),
    ]
    assert "end_takeoff" in [monitor.name for monitor in ADAPTIVE.monitors]
    assert takeoff.penalty is training.penalty is None
    assert takeoff.regularizers == training.regularizers == (Component("path_entropy", weight=0.2),)
    assert ADAPTIVE.batch_size == 4
    assert ADAPTIVE.model.params == {**FIXED.model.params, "subsampling": 4}
