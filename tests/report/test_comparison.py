"""The curves of several runs side by side, in text and on a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from histories import LEFT, SILENT, epoch_row, run_row
from hypothesis import given
from hypothesis import strategies as st

from ctckit.record.history import recorded
from ctckit.report.comparison import (
    COLUMNS,
    Compared,
    charts,
    compared_by,
    curves,
    differing_settings,
    lines,
    render,
    some_epochs,
    write_comparison,
)

STUCK = [run_row(config={"recipe": "toy", "gradient_clip": 1.0}), *(epoch_row(n, 4.3, SILENT) for n in range(1, 4))]
"""Three epochs, all of them on the plateau; the other run has six."""


def compared(name: str, rows: list[dict[str, Any]]) -> Compared:
    return Compared(name, {"WER %": "12.00"}, recorded(rows, Path(name) / "history.jsonl"))


BOTH = (compared("runs/left", LEFT), compared("runs/stuck", STUCK))


def test_values_of_json_are_those_of_the_history() -> None:
    assert BOTH[0].recorded is not None
    found = curves(BOTH[0].recorded)
    assert set(found) == {"epoch", "val_wer", "train_eval_loss", "val_loss", "blank_ratio", "on_plateau"}
    rows = [row for row in LEFT if row["kind"] == "epoch"]
    assert all(found[key] == [row[key] for row in rows] for key in found)


def test_text_has_each_run_at_the_same_epochs() -> None:
    found = lines(BOTH)
    assert found[0].split() == ["epoch", "1", "2", "3", "4", "5", "6"]
    where = found.index("WER on dev, %")
    assert found[where + 1].split() == ["runs/left", "99.00", "99.00", "82.00", "31.20", "34.00", "35.00"]
    assert found[where + 2].split() == ["runs/stuck", "99.00", "99.00", "99.00", "-", "-", "-"]
    where = found.index("On the unigram plateau")
    assert found[where + 1].split() == ["runs/left", "yes", "yes", "no", "no", "no", "no"]
    assert found[where + 2].split() == ["runs/stuck", "yes", "yes", "yes", "-", "-", "-"]
    assert len({len(line) for line in found if line.startswith("  ")}) == 1


def test_a_checkpoint_alone_has_no_curves() -> None:
    alone = Compared("best.pt", {"WER %": "12.00"}, None)
    assert lines([alone, alone]) == []
    assert lines([BOTH[0], alone]) == lines(BOTH[:1])
    assert charts([alone]) == ([], [])
    assert "best.pt" in render([BOTH[0], alone], "")


@given(st.integers(1, 5000))
def test_some_epochs_span_the_run(last: int) -> None:
    chosen = some_epochs(last)
    assert (chosen[0], chosen[-1]) == (1, last)
    assert len(chosen) == min(last, COLUMNS)
    assert sorted(set(chosen)) == chosen


def test_charts_lay_runs_of_different_length_over_one_another() -> None:
    epochs, drawn = charts(BOTH)
    assert epochs == [1, 2, 3, 4, 5, 6]
    charts_by = {chart.key: chart for chart in drawn}
    assert list(charts_by) == [figure.name for figure in compared_by(BOTH)]
    assert set(charts_by) == {"train_eval_loss", "val_loss", "val_wer", "blank_ratio"}
    left, stuck = charts_by["val_wer"].series
    assert (left.name, stuck.name) == ("runs/left", "runs/stuck")
    assert left.style != stuck.style
    assert stuck.values == (99.0, 99.0, 99.0, None, None, None)
    plateau = charts_by["train_eval_loss"].series[-1]
    assert (plateau.name, plateau.values) == ("unigram plateau", (4.31,) * 6)
    assert charts_by["blank_ratio"].series[-1].values == (91.0,) * 6


def test_plateaus_that_differ_say_whose_they_are() -> None:
    other = compared("runs/other", [run_row(plateau_loss=5.5), *(epoch_row(n, 4.0, SILENT) for n in (1, 2))])
    _, drawn = charts([BOTH[0], other])
    (chart,) = [chart for chart in drawn if chart.key == "val_loss"]
    references = {series.name: series.values[0] for series in chart.series if series.style.startswith("reference")}
    assert references == {"unigram plateau of runs/left": 4.31, "unigram plateau of runs/other": 5.5}


def test_a_net_above_the_plateau_is_not_said_to_be_on_it() -> None:
    above = compared("runs/above", [run_row(), epoch_row(1, 45.6, (0, 10, 900)), epoch_row(2, 4.3, SILENT)])
    found = lines([above, BOTH[0]])
    where = found.index("On the unigram plateau")
    assert found[where + 1].split()[:3] == ["runs/above", "above", "yes"]


def test_settings_that_differ_are_listed_and_others_are_not() -> None:
    assert dict(differing_settings(BOTH)) == {
        "phases.warmup.epochs": ["2", "-"],
        "phases.main_phase.epochs": ["4", "-"],
        "gradient_clip": ["5", "1"],
        "target_wer": ["30", "-"],
    }


def test_the_page_is_well_formed_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    nasty = "<script>alert('x')</script>&\""
    runs = [compared(nasty, LEFT), BOTH[1]]
    page = render(runs, f"caption {nasty}")
    tree = ElementTree.fromstring(page)
    assert len(list(tree.iter("script"))) == 1
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    identifiers = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert len(identifiers) == len(set(identifiers))
    main = tree.find(".//main")
    assert main is not None
    assert json.loads(main.attrib["data-axis"])["epochs"] == [1, 2, 3, 4, 5, 6]
    figures = list(tree.iter("figure"))
    assert len(figures) == len(compared_by(runs))
    for figure in figures:
        points = json.loads(figure.attrib["data-points"])
        assert len(points) == len(list(figure.iter("output")))
        assert all(len(series) == 6 for series in points)
    assert "left the plateau in epoch 3" in page
    path = tmp_path / "compared.html"
    write_comparison(runs, f"caption {nasty}", path)
    assert path.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    "rows", [[run_row()], [run_row(plateau_loss=None), epoch_row(1, None, SILENT, val_wer=None)]]
)
def test_runs_with_next_to_nothing_are_drawn(rows: list[dict[str, Any]]) -> None:
    runs = [compared("a", rows), compared("b", rows)]
    ElementTree.fromstring(render(runs, ""))
    lines(runs)
