"""Histories of other programs: shapes of files, names of columns, units told and asked for, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnosed import FAILED_RUN, call, history, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctckit.doctor.verdict import judge
from ctckit.errors import DataError
from ctckit.record.foreign import figure_of, read_any
from ctckit.record.history import Recorded

ROWS = [
    {"train_loss": 5.0 * 0.8**n, "val_loss": 5.0 * 0.85**n, "val_wer": 93.0 * 0.93**n, "lr": 1e-3}
    for n in range(12)
]


def _columns() -> dict[str, list[float]]:
    return {name: [row[name] for row in ROWS] for name in ROWS[0]}


def _trainer_state() -> dict[str, Any]:
    log: list[dict[str, Any]] = []
    for n, row in enumerate(ROWS):
        # two training entries an epoch, then the evaluation, as transformers' Trainer writes them
        log.append({"epoch": n + 0.5, "loss": row["train_loss"] + 0.1, "learning_rate": 1e-3, "step": 100 * n + 50})
        log.append({"epoch": n + 1.0, "loss": row["train_loss"] - 0.1, "grad_norm": 2.0, "step": 100 * n + 100})
        log.append(
            {"epoch": n + 1.0, "eval_loss": row["val_loss"], "eval_wer": row["val_wer"], "step": 100 * n + 100}
        )
    return {"global_step": 1200, "log_history": log}


SHAPES: dict[str, tuple[str, Callable[[], str]]] = {
    "rows": ("h.json", lambda: json.dumps(ROWS)),
    "rows with whole floats as epochs": (
        "h.json",
        lambda: json.dumps([{"epoch": float(n + 1), **row} for n, row in enumerate(ROWS)]),
    ),
    "columns": ("h.json", lambda: json.dumps(_columns())),
    "columns beside a configuration and final scores": (
        "h.json",
        lambda: json.dumps(
            {"config": {"batch_size": 8}, "epochs": list(range(1, 13)), **_columns(), "test_wer": 40.0}
        ),
    ),
    "under a key": ("h.json", lambda: json.dumps({"config": {}, "history": ROWS})),
    "by stage": ("h.json", lambda: json.dumps({"stage1": ROWS[:5], "stage2": ROWS[5:]})),
    "keyed by epoch": ("h.json", lambda: json.dumps({str(n + 1): row for n, row in enumerate(ROWS)})),
    "nested": (
        "h.json",
        lambda: json.dumps(
            [
                {"train": {"loss": row["train_loss"]}, "val": {"loss": row["val_loss"], "wer": row["val_wer"]}}
                for row in ROWS
            ]
        ),
    ),
    "other names": (
        "h.json",
        lambda: json.dumps(
            [
                {"loss": row["train_loss"], "dev_loss": row["val_loss"], "Dev/WER": f"{row['val_wer']:.6f}%"}
                for row in ROWS
            ]
        ),
    ),
    "JSON lines": ("h.jsonl", lambda: "".join(json.dumps(row) + "\n" for row in ROWS)),
    "transformers' trainer_state.json": ("trainer_state.json", lambda: json.dumps(_trainer_state())),
    "CSV": (
        "metrics.csv",
        lambda: "\n".join([",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]) + "\n",
    ),
    "CSV with semicolons and a byte order mark": (
        "metrics.csv",
        lambda: "\ufeff" + "\n".join([";".join(ROWS[0]), *(";".join(map(str, row.values())) for row in ROWS)]),
    ),
    "training and validation in rows of their own, as Lightning's logger has them": (
        "metrics.csv",
        lambda: (
            "epoch,step,train_loss_epoch,val_loss,val_wer\n"
            + "".join(
                f"{n},{n * 10},{row['train_loss']},,\n{n},{n * 10},,{row['val_loss']},{row['val_wer']}\n"
                for n, row in enumerate(ROWS)
            )
        ),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_reads_as_the_same_epochs(tmp_path: Path, shape: str) -> None:
    name, text = SHAPES[shape]
    (tmp_path / name).write_text(text(), encoding="utf-8")
    run = read_any(tmp_path / name)
    assert run.foreign
    assert len(run.epochs) == 12
    for epoch, row in zip(run.epochs, ROWS, strict=True):
        assert epoch.val_loss == pytest.approx(row["val_loss"])
        assert epoch.val_wer == pytest.approx(row["val_wer"], rel=1e-5)
        assert epoch.train_loss == pytest.approx(row["train_loss"])


@pytest.mark.parametrize(
    ("column", "figure"),
    [
        ("val_wer", "val_wer"),
        ("wer", "val_wer"),
        ("valid_cer", "val_wer"),
        ("Validation WER", "val_wer"),
        ("eval/loss", "val_loss"),
        ("cv_loss", "val_loss"),
        ("trn_loss", "train_loss"),
        ("train_wer", "train_wer"),
        ("unique_non_blank_tokens", "unique_nonblank"),
        ("blank_rate", "blank_ratio"),
        ("dev_blank_ratio", "blank_ratio"),
        ("lr", "learning_rate"),
        ("lr-AdamW", "learning_rate"),
        ("valWER", "val_wer"),
        ("WER/val", "val_wer"),
        ("Word Error Rate (%)", "val_wer"),
        ("loss/train_epoch", "train_loss"),
        ("Average Validation Loss", "val_loss"),
        ("blank%", "blank_ratio"),
        ("uniqueNonBlank", "unique_nonblank"),
        ("best_val_wer", None),
        ("train_val_gap", None),
        ("global_step", "update"),
        ("test_wer", None),
        ("wall_time", None),
        ("loss_scale", None),
    ],
)
def test_columns_are_recognised_by_their_words(column: str, figure: str | None) -> None:
    assert figure_of(column) == figure


def test_a_figure_under_its_own_name_comes_before_other_names_and_words_before_characters(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text(
        json.dumps([{"cer": 4.0, "dev_wer": 30.0, "val_loss": 1.0, "loss": 9.0, "train_loss": 2.0}] * 2)
    )
    run = read_any(path)
    assert (run.epochs[0].val_wer, run.epochs[0].train_loss) == (30.0, 2.0)
    assert any("dev_wer as val_wer" in note for note in run.notes)
    assert any("cer, loss" in note for note in run.notes)


def _numbered_rows() -> list[dict[str, Any]]:
    return [{"epoch": n + 1, **row} for n, row in enumerate(ROWS)]


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("order", ["in turn", "one after another"])
def test_two_runs_in_one_file_are_refused_until_one_is_chosen(tmp_path: Path, order: str) -> None:
    one = _numbered_rows()
    other = [{**row, "val_wer": 95.0} for row in one]
    in_turn = [row for pair in zip(one, other, strict=True) for row in pair]
    path = _lines(tmp_path / "h.jsonl", in_turn if order == "in turn" else one + other)
    with pytest.raises(DataError, match="two runs in one file, or stages of one"):
        read_any(path)
    assert [epoch.val_wer for epoch in read_any(path, run="1").epochs] == [row["val_wer"] for row in one]
    assert {epoch.val_wer for epoch in read_any(path, run="2").epochs} == {95.0}
    assert [epoch.epoch for epoch in read_any(path, run="all").epochs] == list(range(1, 25))
    for wrong in ("3", "0", "first"):
        with pytest.raises(DataError, match=f"no run is named '{wrong}'.*--run 1 to --run 2"):
            read_any(path, run=wrong)


@pytest.mark.parametrize("column", ["run", "seed", "experiment_name", "Model"])
def test_runs_that_a_column_names_are_chosen_by_its_values(tmp_path: Path, column: str) -> None:
    rows = [
        {column: name, **row, "val_wer": wer}
        for row in _numbered_rows()
        for name, wer in (("a", 40.0), ("b", 50.0))
    ]
    path = _lines(tmp_path / "h.jsonl", rows)
    with pytest.raises(
        DataError, match=f"holds 2 runs, told apart by {column}; choose one with --run a or --run b"
    ):
        read_any(path)
    run = read_any(path, run="b")
    assert (len(run.epochs), {epoch.val_wer for epoch in run.epochs}) == (12, {50.0})
    assert any("'b' was taken" in note for note in run.notes)
    with pytest.raises(DataError, match="no run is named 'c'; there is a, b"):
        read_any(path, run="c")


def test_a_name_that_changes_with_the_epoch_is_no_run(tmp_path: Path) -> None:
    rows = [{"name": f"checkpoint-{row['epoch']}", **row} for row in _numbered_rows()]
    assert len(read_any(_lines(tmp_path / "h.jsonl", rows)).epochs) == 12


def test_objects_that_hold_runs_are_told_from_stages(tmp_path: Path) -> None:
    rows = _numbered_rows()
    for content in ({"seed1": rows, "seed2": rows}, {"runs": {"a": {"history": rows}, "b": {"history": rows}}}):
        path = written(tmp_path / "h.json", content)
        with pytest.raises(DataError, match="holds 2 runs"):
            read_any(path)
    assert len(read_any(written(tmp_path / "h.json", {"seed1": rows, "seed2": rows}), run="seed2").epochs) == 12


def test_a_resumption_replaces_what_came_after_it(tmp_path: Path) -> None:
    rows = _numbered_rows()
    again = [{**row, "val_wer": 1.5 * row["val_wer"]} for row in rows[5:]]
    run = read_any(_lines(tmp_path / "h.jsonl", rows[:8] + again))
    assert [epoch.epoch for epoch in run.epochs] == list(range(1, 13))
    assert run.epochs[5].val_wer == again[0]["val_wer"]
    assert any("as after a resumption: 3 rows that came twice left out" in note for note in run.notes)
    header = ",".join(rows[0])
    table = [header, *(",".join(map(str, row.values())) for row in rows[:8])]
    (tmp_path / "m.csv").write_text(
        "\n".join([*table, header, *(",".join(map(str, row.values())) for row in rows[6:])])
    )
    assert len(read_any(tmp_path / "m.csv").epochs) == 12


def test_the_score_of_the_best_weights_after_training_is_no_epoch(tmp_path: Path) -> None:
    state = _trainer_state()
    last = state["log_history"][-1]
    state["log_history"].append({**last, "eval_wer": 1.0})
    run = _read(tmp_path / "trainer_state.json", state)
    assert (len(run.epochs), run.epochs[-1].val_wer) == (12, last["eval_wer"])


def test_several_scores_of_an_epoch_after_growing_updates_are_no_runs(tmp_path: Path) -> None:
    rows = [{**row, "epoch": n // 4, "step": 10 * n + 10} for n, row in enumerate(_numbered_rows())]
    assert len(read_any(_lines(tmp_path / "h.jsonl", rows)).epochs) == 12


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.csv", "a,b\n1,2,3\n", "line 2: has more cells than the header names"),
        ("h.csv", "a,b\n", "holds no epochs"),
        ("h.json", '{"a": {"b": 1}}', "neither a list of epochs nor an object of columns, but an object of a"),
        ("h.json", '["x"]', "but a list of str"),
        ("h.json", '{"a": 1, "x": [1, 2, 3]}', "there is x in 3 rows; if x is one of them, say --column val_wer=x"),
        ("h.json", '[{"val_wer": 1}, {"val', "the file ends in the middle"),
        ("h.csv", "1,2\n3,4\n", "the first line holds numbers (1, 2)"),
        ("h.csv", "epoch;val_wer\n1;1.234,5\n", "without separators of thousands"),
        ("h.csv", "epoch;val_wer\n1;12,5\n2;12.5\n", "has both 12,5 and 12.5"),
        ("h.csv", "val_wer,val_wer\n1,2\n", "two columns are named 'val_wer'"),
        ("h.csv", " \n", "is empty"),
        ("h.csv", 'epoch,val_wer,text\n1,90,"a\n2,80,b\n', "not a table: unexpected end of data"),
        ("h.csv", "# seed 1\n# lr 1\nepoch,val_wer\n1,2,3\n", "line 4: has more cells"),
        ("h.json", '[{"val_wer": 50}, 3]', "a list of dict and int"),
        ("h.json", '{"log_history": []}', "holds no epochs yet"),
        ("h.json", '[{"val_wer": -1}, {"val_wer": 50}]', "no rate is negative"),
        ("h.json", '[{"val_wer": 50, "blank_ratio": 120}]', "more than 100 %"),
        ("h.json", "PK\x03\x04...", "a zip archive"),
        ("h.log", "a\0b", "binary"),
        ("h.log", "epoch=1 acc=0.5\n", "its figures are acc; if acc is one that tells, say --column val_wer=acc"),
        ("h.jsonl", '{"val_wer": 1}\n[2]\n', "line 2: not an object with the figures of an epoch"),
        ("h.jsonl", '{"val_wer": 1}\n{"val\n', "line 2: not JSON"),
        ("h.log", "Dear all,\nnothing here\n", "text of 2 lines, the first 'Dear all,'"),
        ("h.json", '[{"val_wer": 12, "epoch": "first"}]', "'epoch'"),
    ],
)
def test_what_cannot_be_read_is_described(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_any(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_are_as_good_as_rows(tmp_path: Path) -> None:
    rows = FAILED_RUN[2:]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for content in (columns, {"history": rows}, {"config": {}, "epochs": columns}):
        found = json.loads(call(written(tmp_path / "h.json", content), "--json").stdout)
        assert (found["state"], found["since"]) == ("OVERFIT", 30)


@pytest.mark.parametrize(
    ("rows", "unit"),
    [
        # word errors as shares beside blanks in per cent
        ([{"val_wer": 0.87, "blank_ratio": 95.65, "overfit_ratio": 67.0, "val_loss": 10.6}] * 3, "share"),
        # one epoch above 150 % does not turn the others into per cent
        ([{"val_wer": wer, "val_loss": 2.0} for wer in (3.2, 0.95, 0.9, 0.88)], "share"),
        ([{"val_wer": wer, "val_loss": 2.0} for wer in (87.0, 4.2, 3.1, 2.5)], "percent"),
    ],
)
def test_a_unit_is_told_from_its_own_column(tmp_path: Path, rows: list[dict[str, Any]], unit: str) -> None:
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    factor = 100.0 if unit == "share" else 1.0
    assert found["last"]["val_wer"] == pytest.approx(factor * rows[-1]["val_wer"])
    assert any("val_wer" in note and "share" in note for note in found["notes"]) == (unit == "share")
    if "blank_ratio" in rows[0]:
        assert found["last"]["blank_ratio"] == rows[0]["blank_ratio"]
        assert found["state"] == "OVERFIT"


def test_a_unit_that_may_be_either_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "h.json", [{"val_wer": wer} for wer in (1.9, 1.6, 1.4, 1.3)])
    asked = call(path)
    assert asked.exit_code == 3
    assert "--unit val_wer=percent or --unit val_wer=share" in asked.output
    for unit, value in (("percent", 1.3), ("share", 130.0)):
        told = json.loads(call(path, "--unit", f"val_wer={unit}", "--json").stdout)
        assert told["last"]["val_wer"] == pytest.approx(value)
    assert "write FIGURE=share" in call(path, "--unit", "val_wer=%").output
    assert "which is not there" in call(path, "--unit", "train_wer=share").output


def test_shares_of_one_are_understood_and_said(tmp_path: Path) -> None:
    rows = [{"train_loss": 0.5, "val_loss": 0.8, "wer": 0.2, "blank_ratio": 0.97, "extra": 1}] * 3
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    assert found["evidence"]["val_wer"] == 20.0
    assert "wer as val_wer" in found["notes"][0]
    assert "extra" in found["notes"][1]
    assert found["notes"][2:] == [
        "val_wer: between 0.2 and 0.2, read as a share of one (no value exceeds 1).",
        "blank_ratio: between 0.97 and 0.97, read as a share of one (no value exceeds 1).",
    ]
    assert {"figure": "val_wer", "column": "wer", "unit": "share", "told_by": "no value exceeds 1"} in found[
        "columns"
    ]


def test_epochs_that_start_again_are_counted_on(tmp_path: Path) -> None:
    rows = [{"epoch": n, "stage": stage, "train_loss": 1.0, "val_wer": 30.0} for stage in (1, 2) for n in (1, 2)]
    found = json.loads(call(written(tmp_path / "h.json", rows), "--json").stdout)
    assert found["epochs"] == 4
    assert "counted anew" in found["notes"][0]


def test_epochs_counted_from_0_are_read_as_from_1(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text(json.dumps([{"epoch": n, **row} for n, row in enumerate(ROWS)]))
    recorded = read_any(path)
    assert [epoch.epoch for epoch in recorded.epochs] == list(range(1, 13))
    assert any("counted from 0" in note for note in recorded.notes)
    assert judge(recorded).diagnosis is not None


@pytest.mark.parametrize("first", [0, 1])
def test_a_single_epoch_can_be_judged(tmp_path: Path, first: int) -> None:
    path = tmp_path / "h.json"
    path.write_text(json.dumps([{"epoch": first, "train_loss": 2.0, "val_wer": 50.0}]))
    judge(read_any(path))


def test_json_lines_end_at_line_feeds_alone_and_are_counted_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    lines = [
        json.dumps({"epoch": n + 1, "note": "a\u2028b", **row}, ensure_ascii=False) for n, row in enumerate(ROWS)
    ]
    path.write_text("\n\n".join(lines), encoding="utf-8")
    assert len(read_any(path).epochs) == len(ROWS)
    path.write_text("\n\n".join([*lines[:2], "{", ""]), encoding="utf-8")
    with pytest.raises(DataError, match="line 5: not JSON"):
        read_any(path)


def test_a_unit_is_refused_for_what_is_no_share(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text(json.dumps(ROWS))
    with pytest.raises(DataError, match="'val_loss', which is no share; these are: val_wer"):
        read_any(path, {"val_loss": "share"})


@pytest.mark.parametrize(
    ("header", "cell"), [("val_wer_pct", "0.{n}"), ("Val WER (%)", "0.{n}"), ("val_wer", "0.{n} %")]
)
def test_a_unit_that_the_file_states_is_taken(tmp_path: Path, header: str, cell: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"epoch,{header}\n" + "".join(f"{n},{cell.format(n=n)}\n" for n in range(1, 6)))
    assert [epoch.val_wer for epoch in read_any(path).epochs] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_row_that_sums_up_a_training_is_no_epoch(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    state = _trainer_state()
    running = _read(path, state)
    state["log_history"].append({"epoch": 12.0, "step": 1200, "train_loss": 1.7, "train_runtime": 60.0})
    finished = _read(path, state)
    assert [epoch.figures for epoch in finished.epochs] == [epoch.figures for epoch in running.epochs]
    assert any("train_runtime" in note for note in finished.notes)


def _read(path: Path, content: object) -> Recorded:
    path.write_text(json.dumps(content))
    return read_any(path)


def test_epochs_without_scores_on_dev_are_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [
        f"{n},{1 / n},{30 / n if n % 5 == 0 else 'nan'},{1.5 / n if n % 5 == 0 else 'NaN'}" for n in range(1, 13)
    ]
    path.write_text("epoch,train_loss,val_wer,val_loss\n" + "\n".join(rows))
    recorded = read_any(path)
    assert [epoch.epoch for epoch in recorded.epochs if epoch.val_wer is not None] == [5, 10]
    assert not any(epoch.not_finite for epoch in recorded.epochs)
    path.write_text("epoch,train_loss,val_wer\n1,2.0,90\n2,nan,91\n")
    assert read_any(path).epochs[1].not_finite == ("train_loss",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("huge.json", f'[{{"epoch": 1, "val_wer": 50, "train_loss": {"9" * 400}}}]'),
        ("digits.json", f'[{{"epoch": {"9" * 5000}, "val_wer": 50}}]'),
        ("field.csv", f"epoch,val_wer,decoded\n1,50,{'a' * 200_000}\n"),
    ],
)
def test_numbers_and_cells_of_any_length_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert [epoch.val_wer for epoch in read_any(tmp_path / name).epochs] == [50.0]


def test_nesting_beyond_reading_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.json: not JSON: nested too deeply"):
        read_any(path)


def test_a_cut_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + '\n{"train_lo')
    run = read_any(path)
    assert len(run.epochs) == 12
    assert any("Line 13 is cut off" in note for note in run.notes)


def _csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    head = delimiter.join(rows[0])
    return "\n".join([head, *(delimiter.join(str(cell) for cell in row.values()) for row in rows)]) + "\n"


FURTHER: dict[str, tuple[str, Callable[[], str | bytes]]] = {
    "by split": (
        "h.csv",
        lambda: (
            "epoch,split,loss,wer\n"
            + "".join(
                f"{n},train,{r['train_loss']},\n{n},dev,{r['val_loss']},{r['val_wer']}\n"
                for n, r in enumerate(ROWS)
            )
        ),
    ),
    "a row a figure": (
        "h.csv",
        lambda: (
            "epoch,metric,value\n" + "".join(f"{n},{k},{x}\n" for n, r in enumerate(ROWS) for k, x in r.items())
        ),
    ),
    "decimal commas": ("h.csv", lambda: _csv(ROWS, ";").replace(".", ",")),
    "bars, and a name that says nothing": ("h.dat", lambda: _csv(ROWS, "|")),
    "below remarks, with epochs in words": (
        "h.csv",
        lambda: (
            "# seed 1\n# lr 0.1\n" + _csv([{"epoch": f"Epoch {n + 1}/12", **row} for n, row in enumerate(ROWS)])
        ),
    ),
    "UTF-16 with carriage returns": ("h.csv", lambda: _csv(ROWS).replace("\n", "\r\n").encode("utf-16")),
    "columns below one another": ("h.txt", lambda: _csv(ROWS, "   ")),
    "columns by side": (
        "h.json",
        lambda: json.dumps(
            {
                "train": {"loss": _columns()["train_loss"]},
                "val": {"loss": _columns()["val_loss"], "wer": _columns()["val_wer"]},
                "lr_by_step": [1.0] * 99,
            }
        ),
    ),
    "rows by side": (
        "h.json",
        lambda: json.dumps(
            {
                "train": [{"epoch": n, "loss": r["train_loss"]} for n, r in enumerate(ROWS)],
                "dev": [{"epoch": n, "loss": r["val_loss"], "wer": r["val_wer"]} for n, r in enumerate(ROWS)],
            }
        ),
    ),
    "deep below keys": ("h.json", lambda: json.dumps({"config": {"x": 1}, "result": {"fit": {"per_epoch": ROWS}}})),
    "pandas' columns by index": (
        "h.json",
        lambda: json.dumps({k: {str(n): x for n, x in enumerate(c)} for k, c in _columns().items()}),
    ),
    "pandas' split": (
        "h.json",
        lambda: json.dumps({"columns": list(ROWS[0]), "data": [[*r.values()] for r in ROWS]}),
    ),
    "steps and values": (
        "h.json",
        lambda: json.dumps({k: [[n, x] for n, x in enumerate(c)] for k, c in _columns().items()}),
    ),
    "epochs named": ("h.json", lambda: json.dumps({f"epoch_{n + 1}": row for n, row in enumerate(ROWS)})),
    "indented objects one after another": ("h.json", lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS)),
    "as Python prints it": ("h.txt", lambda: repr(ROWS)),
    "numbers as text": ("h.json", lambda: json.dumps([{k: str(x) for k, x in row.items()} for row in ROWS])),
    "a table in a model's card": (
        "README.md",
        lambda: (
            "# Model\n\n| Training Loss | Epoch | Step | Validation Loss | Wer |\n|:---:|:---:|:---:|:---:|:---:|\n"
            + "".join(
                f"| {r['train_loss']} | {n + 1}.0 | {n}00 | {r['val_loss']} | {r['val_wer']} |\n"
                for n, r in enumerate(ROWS)
            )
            + "\n### Versions\n- Transformers 4\n"
        ),
    ),
    "training after validation, as Lightning writes an epoch": (
        "metrics.csv",
        lambda: (
            "epoch,step,train_loss_step,train_loss_epoch,val_loss,val_wer\n"
            + "".join(
                f"{n},{9 * n + 4},99,,,\n{n},{9 * n + 8},,,{r['val_loss']},{r['val_wer']}\n"
                f"{n},{9 * n + 8},,{r['train_loss']},,\n"
                for n, r in enumerate(ROWS)
            )
        ),
    ),
}


@pytest.mark.parametrize("shape", FURTHER)
def test_further_shapes_read_as_the_same_epochs(tmp_path: Path, shape: str) -> None:
    name, make = FURTHER[shape]
    content = make()
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    same_as_rows(read_any(tmp_path / name))


def same_as_rows(run: Recorded) -> None:
    assert len(run.epochs) == 12, run.notes
    for epoch, row in zip(run.epochs, ROWS, strict=True):
        assert epoch.val_loss == pytest.approx(row["val_loss"], abs=1e-4)
        assert epoch.val_wer == pytest.approx(row["val_wer"], abs=1e-2)
        assert epoch.train_loss == pytest.approx(row["train_loss"], abs=1e-4)


def test_a_column_that_is_named_is_taken(tmp_path: Path) -> None:
    rows = [{"a": row["train_loss"], "b": row["val_loss"], "val_wer": 5.0, "c": row["val_wer"]} for row in ROWS]
    columns = {"train_loss": "a", "val_loss": "b", "val_wer": "c"}
    for name, text in (("h.json", json.dumps(rows)), ("h.csv", _csv(rows)), ("h.txt", _csv(rows, "\t"))):
        (tmp_path / name).write_text(text)
        same_as_rows(read_any(tmp_path / name, columns=columns))
    with pytest.raises(DataError, match="--column val_wer=d: no such column; there is a, b, c, val_wer"):
        read_any(tmp_path / "h.json", columns={"val_wer": "d"})


@given(
    wers=st.lists(st.integers(3, 98).map(lambda n: n + 0.3), min_size=2, max_size=12),
    share=st.booleans(),
    names=st.sampled_from(
        [("train_loss", "val_loss", "val_wer"), ("loss", "dev_loss", "Dev WER"), ("tr/loss", "cv/loss", "wer")]
    ),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_shape_the_diagnosis_is_that_of_ones_own(
    tmp_path: Path, wers: list[float], share: bool, names: tuple[str, ...]
) -> None:
    figures = [(3.0 * 0.9**n, 3.2 * 0.95**n, wer) for n, wer in enumerate(wers)]
    keys = ("train_loss", "val_loss", "val_wer")
    own = history(
        tmp_path / "run",
        [{"kind": "run"}]
        + [{"kind": "epoch", "epoch": n, **dict(zip(keys, row, strict=True))} for n, row in enumerate(figures, 1)],
    )
    rows = [
        {"epoch": n, names[0]: a, names[1]: b, names[2]: wer / 100.0 if share else f"{wer!r}%"}
        for n, (a, b, wer) in enumerate(figures, 1)
    ]
    wanted = judge(read_any(own))
    contents = {
        "h.csv": _csv(rows),
        "h.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "h.json": json.dumps({name: [row[name] for row in rows] for name in rows[0]}),
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
        found = judge(read_any(tmp_path / name))
        assert (found.severity, found.headline) == (wanted.severity, wanted.headline)
        assert found.evidence == wanted.evidence[:-1]  # ours says in the end how the run ended
        assert [one.message for one in found.findings] == [one.message for one in wanted.findings]
