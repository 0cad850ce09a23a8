"""Histories of other programs: shapes of files, names of columns, units told and asked for, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnosed import FAILED_RUN, call, written

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


def test_two_runs_in_one_file_are_refused_and_stages_are_not(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    one = [{"epoch": n + 1, **row} for n, row in enumerate(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for pair in zip(one, one, strict=True) for row in pair))
    with pytest.raises(DataError, match="two runs in one file"):
        read_any(path)
    path.write_text("".join(json.dumps(row) + "\n" for row in one + one))
    run = read_any(path)
    assert [epoch.epoch for epoch in run.epochs] == list(range(1, 25))
    assert any("counted anew" in note for note in run.notes)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.csv", "a,b\n1,2,3\n", "line 2: has more cells than the header names"),
        ("h.csv", "a,b\n", "holds no epochs"),
        ("h.json", '{"a": {"b": 1}}', "neither a list of epochs nor an object of columns, but an object of a"),
        ("h.json", '["x"]', "but a list of str"),
        ("h.jsonl", '{"val_wer": 1}\n[2]\n', "line 2: not an object with the figures of an epoch"),
        ("h.jsonl", '{"val_wer": 1}\n{"val\n', "line 2: not JSON"),
        ("h.log", "epoch 1 loss 3\n", "JSON, JSON lines and CSV are read"),
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
        "val_wer: between 0.2 and 0.2, read as a share of one.",
        "blank_ratio: between 0.97 and 0.97, read as a share of one.",
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
    path.write_text("\n\n".join([*lines[:2], "{"]), encoding="utf-8")
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
