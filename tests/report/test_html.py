from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from histories import LEFT, SILENT, end_row, epoch_row, finding, run_row
from pages import page_of, tree_of, words

from ctckit.record.history import recorded
from ctckit.report.html import timeline

NASTY = "<script>alert('x')</script>&\"\x1b\ud800"


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
