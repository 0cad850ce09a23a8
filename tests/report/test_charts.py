from __future__ import annotations

import json

from histories import LEFT, epoch_row, run_row
from pages import page_of, tree_of, words


def test_charts_have_titles_descriptions_and_data_for_the_cursor() -> None:
    tree = tree_of(page_of(LEFT))
    (main_element,) = tree.iter("main")
    axis = json.loads(main_element.attrib["data-axis"])
    assert axis["epochs"] == [1, 2, 3, 4, 5, 6]
    figures = list(tree.iter("figure"))
    titles = [words(figure.find("figcaption/h3")) for figure in figures]
    assert titles == [
        "Losses",
        "Word errors and their kinds",
        "Blank share",
        "What is emitted",
        "Distinct labels",
        "Learning rate",
        "Blank shift",
        "Overfit ratio",
        "Gradient norm",
        "Time",
    ]
    for figure in figures:
        svg = figure.find("svg")
        assert svg is not None
        assert words(svg.find("title"))
        assert words(svg.find("desc"))
        points = json.loads(figure.attrib["data-points"])
        assert len(points) == len(figure.findall("ul/li"))
        assert all(len(series) == 6 for series in points)
    legend = [words(item) for item in figures[0].findall("ul/li")]
    assert legend == ["auxiliary: frame_head", "training (training mode)", "training", "dev", "unigram plateau"]
    assert json.loads(figures[0].attrib["data-points"])[-1] == [4.31] * 6
    bands = [group for group in figures[0].iter("g") if "band" in group.attrib.get("class", "").split()]
    assert [words(band.find("title")) for band in bands] == ["warmup: epochs 1 to 2", "main_phase: epochs 3 to 6"]
    marks = [group for group in figures[0].iter("g") if "mark" in group.attrib.get("class", "").split()]
    assert [words(mark.find("title")) for mark in marks] == ["left the plateau in epoch 3", "best epoch 4"]


MONITORED = {
    "entropy": 1.25,
    "coverage_rare": 12.5,
    "coverage_medium": None,
    "coverage_frequent": 87.5,
    "train_infeasible": 3,
    "module_gradients": {"front<end>": 1e-6, "head": 2.5, "unused": None},
    "blank_bias": -7.25,
    "blank_bias_start": -8.0,
}


def test_what_the_monitors_measure_is_shown_where_it_was_recorded() -> None:
    page = page_of([run_row(), *(epoch_row(n, 2.0, (100, 100, 50), **MONITORED) for n in (1, 2))])
    root = tree_of(page)
    titles = [words(title) for title in root.iter("{http://www.w3.org/2000/svg}title")] or [
        words(title) for title in root.iter("title")
    ]
    assert {"Coverage by frequency", "Entropy of the frames"} <= set(titles)
    text = words(root)
    for shown in (
        "12 %, \u2013, 88 %",
        "-8.00 to -7.25",
        "front<end> 1e-06",
        "front<end>, gradients",
        "bias of the blank",
    ):
        assert shown in text, shown
    before = page_of(LEFT)
    assert "Labels of the references emitted at least once, in thirds" not in before
    assert "Entropy of the frames" not in before
