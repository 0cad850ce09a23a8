"""The table of an ablation against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ctckit.ablation.outcome import Course, Outcome
from ctckit.ablation.plan import Plan, Variant
from ctckit.ablation.scoring import Scored, Utterance
from ctckit.ablation.table import COLUMNS, as_json, as_markdown, build_table, cells, write_table
from ctckit.errors import DataError

PLAN = Plan(seeds=(1, 2), variants={"none": Variant(), "path": Variant(description="in the path domain")})
COURSE = Course(
    epochs=9,
    updates=90,
    seconds=300.0,
    left_plateau=4,
    left_plateau_update=40,
    best_epoch=8,
    best_dev_wer=20.0,
    state="HEALTHY",
)


def scored(*utterances: tuple[int, int, int], blank_ratio: float = 90.0) -> Scored:
    """Substitutions, deletions, insertions of utterances of ten tokens."""
    rows = tuple(Utterance(f"clip-{number}", *one, tokens=10) for number, one in enumerate(utterances))
    return Scored("test.h5", "test", "f" * 64, "best", 1, blank_ratio, 92.0, rows)


def outcome(variant: str, seed: int, scores: Scored | None, **changes: object) -> Outcome:
    first = {"data": {"train": "t", "dev": "d"}, "seed": seed, "torch": "2", "device": "cpu"}
    run = Outcome(variant, seed, "ended", "finished", COURSE, scores, first)
    return replace(run, **changes)  # type: ignore[arg-type]


def four() -> list[Outcome]:
    return [
        outcome("none", 1, scored((1, 2, 0), (0, 4, 1))),  # 8 of 20
        outcome("none", 2, scored((1, 1, 0), (0, 4, 0), blank_ratio=96.0)),  # 6 of 20
        outcome("path", 1, scored((1, 0, 0), (0, 1, 0))),  # 2 of 20
        outcome("path", 2, scored((0, 1, 0), (0, 2, 1))),  # 4 of 20
    ]


def test_figures_are_means_over_the_seeds() -> None:
    table = build_table(PLAN, four())
    none, path = table.rows
    assert (table.utterances, table.tokens) == (2, 20)
    assert none.wer is not None
    assert path.wer is not None
    assert path.difference is not None
    assert (none.wer.value, path.wer.value) == (35.0, 15.0)
    assert path.difference.value == -20.0
    assert (none.difference, none.better) == (None, None)
    # better in every utterance with every seed
    assert path.better == 1.0
    assert path.difference.high < 0.0
    shown = dict(zip(COLUMNS, cells(none), strict=True))
    assert shown["each seed"] == "40.00 / 30.00"
    assert shown["S/D/I %"] == "5.0/27.5/2.5"
    assert shown["blank % (1-U/T)"] == "93.0 (92.0)"
    assert shown["plateau left: epoch (update)"] == "4 (40) / 4 (40)"
    assert shown["updates"] == "90 / 90"
    assert shown["minutes"] == "5.0 / 5.0"
    assert shown["state"] == "HEALTHY / HEALTHY"
    assert table.notes == ()


def test_a_difference_is_over_the_seeds_that_both_have() -> None:
    runs = four()
    runs[3] = replace(runs[3], scored=None, status="failed", reason="the network has diverged")
    path = build_table(PLAN, runs).rows[1]
    assert path.wer is not None
    assert path.difference is not None
    assert (path.wer.value, path.difference.value) == (10.0, -30.0)
    runs[0] = replace(runs[0], scored=None, status="unfinished")
    path = build_table(PLAN, runs).rows[1]
    assert path.wer is not None
    assert (path.wer.value, path.difference, path.better) == (10.0, None, None)


def test_what_does_not_compare_is_noted() -> None:
    runs = four()
    runs[0] = replace(runs[0], course=replace(COURSE, updates=80), provenance={**runs[0].provenance, "torch": "3"})
    runs[1] = replace(runs[1], scored=replace(scored((0, 10, 0), (0, 10, 0)), checkpoint="last", part="dev"))
    runs[2] = replace(runs[2], scored=None, status="failed", reason="the network has diverged")
    runs[3] = replace(runs[3], scored=None, status="unfinished")
    notes = "\n".join(build_table(PLAN, runs).notes)
    assert "not trained to the end yet: path (seed 2)" in notes
    assert "path (seed 1) failed: the network has diverged" in notes
    assert "the last one was scored: none (seed 2)" in notes
    assert "equally many updates" in notes
    assert "the runs differ in torch: 2, 3" in notes
    assert "on which the best epoch was chosen" in notes
    of_time = PLAN.model_copy(update={"minutes": 5.0})
    assert "equally many updates" not in "\n".join(build_table(of_time, runs).notes)


def test_runs_on_different_corpora_are_refused() -> None:
    runs = four()
    runs[2] = replace(runs[2], provenance={"data": {"train": "another", "dev": "d"}})
    with pytest.raises(DataError, match=r"none \(seed 1\) and path \(seed 1\) were trained with different train"):
        build_table(PLAN, runs)
    runs = four()
    runs[3] = replace(runs[3], scored=scored((0, 0, 0), (0, 0, 0), (0, 0, 0)))
    with pytest.raises(DataError, match="scored on different corpora or tokens"):
        build_table(PLAN, runs)
    runs[3] = replace(runs[3], scored=replace(scored((0, 0, 0), (0, 0, 0)), fingerprint="0" * 64))
    with pytest.raises(DataError, match="scored on different corpora or tokens"):
        build_table(PLAN, runs)


def test_an_empty_table_says_so(tmp_path: Path) -> None:
    runs = [Outcome(name, seed, "not run", "", None, None, {}) for name in PLAN.variants for seed in PLAN.seeds]
    table = build_table(PLAN, runs)
    assert "no run has ended yet" in as_markdown(table)
    assert "not trained yet: none, path" in as_markdown(table)
    assert "| none |" not in as_markdown(table)
    runs[1] = replace(four()[1], scored=None, status="unfinished")
    begun = as_markdown(build_table(PLAN, runs))
    assert "| none | - | not run / unfinished |" in begun
    assert "not trained yet: path\n" in begun
    assert "not trained to the end yet: none (seed 1), none (seed 2)" in begun
    assert len(as_json(build_table(PLAN, runs))["variants"]) == 2


def test_a_budget_below_one_epoch_is_noted() -> None:
    runs = [replace(one, scored=None, course=None, reason="out of time") for one in four()]
    page = as_markdown(build_table(PLAN, runs))
    assert page.startswith("no epoch was done\n")
    assert "| none | - | no epoch / no epoch |" in page
    assert "the budget ended before the first epoch, give more minutes: none (seed 1), none (seed 2), " in page


def test_files_hold_the_table(tmp_path: Path) -> None:
    table = build_table(PLAN, four())
    write_table(table, tmp_path)
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {len(COLUMNS) + 1}
    assert "- path: in the path domain" in lines
    stored = json.loads((tmp_path / "ablation.json").read_text())
    assert stored == as_json(table)
    assert [run["wer"] for run in stored["variants"][1]["runs"]] == [10.0, 20.0]
