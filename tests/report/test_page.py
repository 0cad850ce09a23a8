from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from histories import LEFT, SILENT, end_row, epoch_row, finding, run_row, write

from ctckit.cli import main
from ctckit.doctor.verdict import judge
from ctckit.record.history import recorded
from ctckit.report import plots
from ctckit.report.html import render, timeline
from ctckit.report.plots import Chart, Series

NASTY = "<script>alert('x')</script>&\"\x1b\ud800"


def page_of(rows: list[dict[str, Any]]) -> str:
    summary = recorded(rows, Path("runs/toy-1/history.jsonl"))
    return render(summary, judge(summary))


def tree_of(page: str) -> ElementTree.Element:
    """The page is written so that it is well-formed XML too."""
    return ElementTree.fromstring(page)


def words(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def sample(**changes: Any) -> dict[str, Any]:
    evidence = {"clip": "clip 7", "target": "A B C", "predicted": "A X C D"}
    return {
        "kind": "finding",
        "epoch": 4,
        "monitor": "m",
        **finding(rule="sample_prediction", evidence=evidence | changes),
    }


HISTORIES = {
    "left": LEFT,
    "no epochs": [run_row()],
    "no configuration": [{"kind": "run"}, *LEFT[1:3]],
    "one epoch": LEFT[:2],
    "interrupted": [*LEFT[:4], end_row("interrupted", 4)],
    "nulls": [run_row(plateau_loss=None), epoch_row(1, None, SILENT, val_wer=None, learning_rate=None, shift=None)],
    "gap": [*LEFT[:3], epoch_row(3, None, (1, 1, 1)), *LEFT[4:]],
    "events": [*LEFT[:5], sample(), {"kind": "finding", "epoch": 4, "monitor": "m", **finding()}, *LEFT[5:]],
}


@pytest.mark.parametrize("rows", HISTORIES.values(), ids=HISTORIES.keys())
def test_page_is_well_formed_and_self_contained(rows: list[dict[str, Any]]) -> None:
    page = page_of(rows)
    tree = tree_of(page)
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    for element in tree.iter():
        assert not {"src", "href", "action", "style"} & element.attrib.keys()
        assert not [name for name in element.attrib if name.startswith("on")]
        assert element.tag not in ("link", "img", "iframe", "object", "form")
    identifiers = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert len(identifiers) == len(set(identifiers))
    for table in tree.iter("table"):
        widths = {len(list(row)) for row in table.iter("tr")}
        assert len(widths) == 1, "every row of a table has as many cells"
        assert all(row[0].attrib.get("scope") for row in table.iter("tr"))


def test_page_is_deterministic() -> None:
    assert page_of(LEFT) == page_of(LEFT)


def test_nothing_from_the_data_becomes_markup() -> None:
    config = {"phases": {NASTY: {"epochs": 3}}, "recipe": NASTY}
    action = {"kind": "action", "epoch": 1, "monitor": NASTY, "action": NASTY, "value": NASTY}
    rows = [
        run_row(dropped=[NASTY], config=config, device=NASTY, plugins=[{"name": NASTY, "version": NASTY}]),
        epoch_row(1, 3.0, (1, 2, 3), phase=NASTY, domain=NASTY, **{f"{NASTY}_loss": 2.0}),
        {"kind": "finding", "epoch": 1, "monitor": NASTY, **finding(message=NASTY, rule=NASTY, severity=NASTY)},
        {**action, "finding": finding(evidence={NASTY: NASTY}, advice=NASTY, source=NASTY)},
        sample(clip=NASTY, target=NASTY, predicted=NASTY),
        {"kind": NASTY},
        end_row(NASTY, 1),
    ]
    page = page_of(rows)
    tree = tree_of(page)
    assert len(list(tree.iter("script"))) == 1
    assert "alert('x')" not in page
    assert "alert(&#39;x&#39;)" in page or "alert(&#x27;x&#x27;)" in page
    page.encode("utf-8")


def test_policy_lets_only_the_pages_own_script_run() -> None:
    import base64
    import hashlib

    tree = tree_of(page_of(LEFT))
    (script,) = tree.iter("script")
    digest = base64.b64encode(hashlib.sha256((script.text or "").encode()).digest()).decode()
    (policy,) = (meta.attrib["content"] for meta in tree.iter("meta") if "http-equiv" in meta.attrib)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


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


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([run_row(config={}), epoch_row(1, 0.5, (20, 20, 20))], "good"),
        (LEFT, "attention"),  # the target was missed
        (LEFT[:3], "neutral"),  # on the plateau, where every run begins
        ([run_row(), *(epoch_row(n, 4.3, SILENT, update=1000 * n) for n in range(1, 13))], "bad"),
        ([run_row()], "neutral"),
    ],
)
def test_the_banner_is_green_for_a_run_that_recognises_alone(rows: list[dict[str, Any]], shown: str) -> None:
    assert f'class="verdict tone-{shown}"' in page_of(rows)


def test_moments_and_phases() -> None:
    tree = tree_of(page_of(LEFT))
    tables = list(tree.iter("table"))
    heads = [words(cell) for cell in tables[0].findall("thead/tr/th")]
    assert heads == [
        "measure",
        "epoch 1first",
        "epoch 2last on the plateau",
        "epoch 3off the plateau",
        "epoch 4best",
        "epoch 6last",
    ]
    phases = [[words(cell) for cell in row] for row in tables[1].findall("tbody/tr")]
    assert phases[0][:5] == ["warmup", "1\u20132", "2", "2 of 2", "4.400 to 4.300"]
    assert phases[0][5] == "collapsed"
    assert phases[1][5] == "31.2 %"


def test_findings_of_one_rule_are_one_entry() -> None:
    rows = [{"kind": "finding", "epoch": epoch, "monitor": "m", **finding()} for epoch in (1, 2, 3, 5)]
    events = recorded([run_row(), *rows], Path("history.jsonl")).events
    assert [[event.epoch for event in entry.events] for entry in timeline(events)] == [[1, 2, 3, 5]]
    assert timeline(events)[0].when == "1, 2, 3, 5"


def test_samples_mark_what_differs() -> None:
    tree = tree_of(page_of([*LEFT[:5], sample()]))
    (entry,) = (element for element in tree.iter("dl") if element.attrib.get("class") == "sample")
    off = [words(token) for token in entry.iter("span") if token.attrib["class"] == "token off"]
    assert off == ["B", "X", "D"]
    assert "sample_prediction" not in [words(element) for element in tree.iter("ol")]


def test_lines_break_where_a_value_is_missing() -> None:
    chart = Chart("k", "T", "u", "n", (Series("s", (1.0, 2.0, None, 4.0), "a"),))
    svg = plots.draw(chart, [1, 2, 3, 4], [], [])
    assert len(re.findall('class="line s-a"', svg)) == 1
    assert len(re.findall('class="dot s-a"', svg)) == 1


def test_stack_adds_up() -> None:
    layers = plots.stack(("low", "high"), ("d", "e"), ((10.0, 10.0), (30.0, 30.0)))
    svg = plots.draw(Chart("k", "T", "u", "n", layers, floor=0.0), [1, 2], [], [])
    tops = [float(top) for top in re.findall(r'class="area s-."\s+d="M[\d.]+ ([\d.]+)L', svg)]
    bottom, full = plots.HEIGHT - plots.BOTTOM, plots.HEIGHT - plots.TOP - plots.BOTTOM
    assert tops == pytest.approx([bottom - full * 10.0 / 40.0, bottom - full], abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 4.31, [0, 1, 2, 3, 4, 5]),
        (87.6, 100.0, [87.5, 90, 92.5, 95, 97.5, 100]),
        (0.0, 0.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 0.0, [-3, -2, -1, 0]),
    ],
)
def test_linear_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert plots.linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(("low", "high"), [(5.0, 5.0), (-1.0, -1.0), (1e-6, 1e-6), (1e300, 1e300), (-0.4, 1e6)])
def test_linear_ticks_cover_anything(low: float, high: float) -> None:
    ticks = plots.linear_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert ticks[0] < ticks[-1]
    assert len(ticks) < 12


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e-3), (0.5, 12.0), (3.0, 3.0), (1e-30, 1e30)])
def test_log_ticks_cover(low: float, high: float) -> None:
    ticks = plots.log_ticks(low, high)
    assert ticks[0] <= low * 1.000001
    assert ticks[-1] >= high * 0.999999
    assert len(ticks) <= 9


def test_command_writes_the_page_and_prints_the_verdict(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    outcome = CliRunner().invoke(main, ["report", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.output.splitlines()
    assert lines[0] == str(folder / "report.html")
    assert lines[1] == "HEALTHY since epoch 5 (2 epochs): labels are recognised."
    assert "  Left the unigram plateau in epoch 3; best WER 31.2 % in epoch 4." in lines
    assert (
        words(tree_of((folder / "report.html").read_text(encoding="utf-8")).find("body/main/header/h1")) == "toy-1"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "report.html"]


def test_command_prints_json(tmp_path: Path) -> None:
    folder, page = write(tmp_path / "toy-1", LEFT), tmp_path / "page.html"
    outcome = CliRunner().invoke(main, ["report", str(folder), "-o", str(page), "--json"])
    told = json.loads(outcome.output)
    assert (told["report"], told["state"], told["left_plateau"]) == (str(page), "HEALTHY", 3)
    assert page.is_file()


def test_command_fails_in_one_line(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert outcome.exit_code == 3
    assert outcome.output.count("\n") == 1


def test_a_page_that_cannot_be_written_names_its_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    (folder / "taken.html").mkdir()
    outcome = CliRunner().invoke(main, ["report", str(folder), "-o", str(folder / "taken.html")])
    assert outcome.exit_code == 3
    assert f"{folder / 'taken.html'}: cannot be written" in outcome.output
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "taken.html"]


def test_report_needs_no_torch_and_the_command_imports_lazily(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    program = (
        "import sys\n"
        "import ctckit.cli.report\n"
        "early = {'torch', 'jinja2', 'numpy'} & set(sys.modules)\n"
        "assert not early, early\n"
        "from ctckit.cli import main\n"
        f"main(['report', {str(folder)!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'h5py', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
