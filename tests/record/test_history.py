from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from histories import LEFT, epoch_row, run_row, write

from ctckit import DataError
from ctckit.record.history import CUT, History, read_history, read_rows


def test_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/history\.jsonl: cannot be read: .*; give the folder of a run$"):
        read_history(tmp_path / "nowhere")


def test_a_history_without_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        read_history(write(tmp_path / "run", []))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"kind": "epo', "line 2: not JSON: "),
        ("", "line 2: not JSON: "),
        ("[1]", "line 2: not a row of a history"),
        ('{"epoch": 1}', "line 2: not a row of a history"),
        (json.dumps({"kind": "resume"}), "line 2: 'epoch' is null, not a whole number"),
        (json.dumps(epoch_row(1, 4.0, (0, 0, 0), val_wer="high")), "line 2: 'val_wer' is \"high\", not a number"),
        (json.dumps({"kind": "finding", "epoch": 1, "evidence": [1]}), "line 2: 'evidence' is"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = write(tmp_path / "run", [run_row()])
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataError) as caught:
        read_history(folder)
    assert message in str(caught.value)
    assert str(folder / "history.jsonl") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_history_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: starts with a row 'epoch', not 'run'"):
        read_history(write(tmp_path / "run", LEFT[1:]))


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(b'{"kind": "run\xff"}\n')
    with pytest.raises(DataError, match=r"not UTF-8 \(byte 13\)"):
        read_history(tmp_path)


@pytest.mark.parametrize("separator", ["\u2028", "\x85"])
def test_line_separators_inside_a_row_do_not_split_it(tmp_path: Path, separator: str) -> None:
    summary = read_history(write(tmp_path / "run", [run_row(dropped=[f"a{separator}b"])]))
    assert summary.dropped == (f"a{separator}b",)


def test_the_history_itself_may_be_given(tmp_path: Path) -> None:
    folder = write(tmp_path / "toy-1", LEFT)
    assert read_history(folder / "history.jsonl") == read_history(folder)
    assert read_history(folder).name == "toy-1"


def test_missing_columns_and_nulls_are_no_figures(tmp_path: Path) -> None:
    row: dict[str, Any] = epoch_row(1, 4.0, (0, 0, 0), gradient_norm=None)
    del row["blank_mass"]
    (epoch,) = read_history(write(tmp_path / "run", [run_row(), row])).epochs
    assert epoch.gradient_norm is None
    assert epoch.blank_mass is None
    assert epoch.auxiliary_losses == {"frame_head": 4.0}


def test_rows_of_unknown_kinds_are_counted(tmp_path: Path) -> None:
    rows = [run_row(), {"kind": "average"}, {"kind": "average"}]
    assert read_history(write(tmp_path / "run", rows)).unknown_rows == {"average": 2}


def test_history_rows_survive_and_infinities_become_null(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append("run", seed=1)
    size = history.size
    history.append("epoch", clip="a\u2028b", val_loss=math.inf, nested={"x": [math.nan, 1.5]})
    assert read_rows(history.path)[1] == {
        "kind": "epoch",
        "clip": "a\u2028b",
        "val_loss": None,
        "nested": {"x": [None, 1.5]},
    }
    history.truncate(size)
    assert read_rows(history.path) == [{"kind": "run", "seed": 1}]
    with pytest.raises(DataError, match="was changed"):
        history.truncate(size + 1)


def test_a_broken_history_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"kind": "run"}\n{"kind": \n')
    with pytest.raises(DataError, match=r"history\.jsonl, line 2: not JSON"):
        read_rows(path)
    path.write_text('{"kind": "run"}\n{"kind": ')  # killed while writing
    assert [row["kind"] for row in read_rows(path)] == ["run", CUT]
    assert "line 2 is cut off" in read_history(path).notes[0]
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "absent.jsonl")


def test_what_a_phase_was_spared_is_not_owed(tmp_path: Path) -> None:
    """Two epochs of warmup and four of the main phase are planned."""
    rows = [run_row(), epoch_row(1, 4.0, (500, 400, 0)), epoch_row(2, 3.0, (500, 400, 0), phase="main_phase")]
    assert read_history(write(tmp_path / "spared", rows)).planned_epochs == 5
    assert read_history(write(tmp_path / "within", rows[:2])).planned_epochs == 6
    assert read_history(write(tmp_path / "unknown", [run_row(config={}), *rows[1:]])).planned_epochs is None
