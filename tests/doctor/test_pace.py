from __future__ import annotations

import json
from pathlib import Path

import pytest
from diagnosed import QUICK, SLOW, an4, call


@pytest.mark.parametrize("until", [16, 25, 40, 50])
def test_a_run_that_will_not_get_there_in_time_is_told_what_is_really_wrong(tmp_path: Path, until: int) -> None:
    result = call(an4(tmp_path / "slow", SLOW, until), "--json")
    assert result.exit_code == 10
    found = json.loads(result.stdout)
    assert (found["state"], found["since"], found["slow"], found["stalled"]) == ("ESCAPING", 7, True, False)
    assert "too slowly for its plan" in found["headline"]
    assert 60 <= found["outlook"]["val_wer"] <= 80  # it ended at 72.9 %
    assert found["advice"][0]["change"] == "--set model.temporal_conv=true"
    assert not [one for one in found["advice"] if "blank share" in one["change"] + one["why"]]
    assert ("over" if until == 50 else f"the plan of 50 ends at {found['outlook']['val_wer']:.0f} %") in found[
        "why"
    ]


def test_a_flat_line_arrives_nowhere(tmp_path: Path) -> None:
    flat = [(7, 2.5, 90.0, 60.0), (30, 2.2, 89.97, 60.0)]
    found = json.loads(call(an4(tmp_path / "flat", flat, 25), "--json").stdout)
    assert (found["slow"], found["outlook"]["needed"]) == (True, None)
    assert found["why"].endswith("; word errors hardly fall.")
    assert not [one for one in found["advice"] if "more epochs" in one["change"]]


@pytest.mark.parametrize("until", [11, 13, 16, 18, 25, 50])
def test_a_run_that_will_get_there_is_left_alone(tmp_path: Path, until: int) -> None:
    result = call(an4(tmp_path / "quick", QUICK, until), "--json")
    found = json.loads(result.stdout)
    assert (found["state"], found["slow"]) == ("HEALTHY" if until >= 19 else "ESCAPING", False)
    assert result.exit_code == 0
    changes = [one["change"].split(",")[0] for one in found["advice"]]
    # 29 % of errors, most of them deletions, are not to be left at that; a sweep costs no training
    assert changes[:1] == (["ctckit sweep RUN --store"] if until >= 19 else [])


def test_a_plan_that_ends_on_the_way_was_too_short(tmp_path: Path) -> None:
    run = an4(tmp_path / "short", QUICK, 8, phases={"main": {"epochs": 8}})
    found = json.loads(call(run, "--json").stdout)
    assert (found["state"], found["slow"]) == ("ESCAPING", False)
    assert [one["change"] for one in found["advice"]] == ["more epochs (--set phases.NAME.epochs=N)"]


def test_without_a_plan_nobody_is_late(tmp_path: Path) -> None:
    run = an4(tmp_path / "planless", SLOW, 40, phases={})
    found = json.loads(call(run, "--json").stdout)
    assert (found["slow"], found["outlook"], found["advice"]) == (False, None, [])
