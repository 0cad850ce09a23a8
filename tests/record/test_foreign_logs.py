"""Logs, event files, folders and standard input: each read as the epochs that it tells."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnosed import call

from ctckit.errors import DataError
from ctckit.record.foreign import read_any
from ctckit.record.history import Recorded

T = [5.0 * 0.8**n for n in range(12)]
V = [5.0 * 0.85**n for n in range(12)]
W = [93.0 * 0.93**n for n in range(12)]


def _each(line: str) -> Callable[[], str]:
    """A log that has these lines in every epoch."""
    return lambda: "".join(
        line.format(n=n, e=n + 1, t=T[n], v=V[n], w=W[n], s=W[n] / 100.0, u=100 * n) for n in range(12)
    )


LOGS: dict[str, Callable[[], str]] = {
    "ESPnet": _each(
        "[pc] 2024-01-01 00:00:00,1 (trainer:486) INFO: {e}epoch:train:1-375batch: iter_time=0.1, loss=99.0\n"
        "[pc] 2024-01-01 00:00:00,1 (trainer:243) INFO: {e}epoch results: [train] iter_time=0.1, loss_ctc={t}, "
        "loss={t}, optim0_lr0=4.9e-04, time=3 hours, 1 minute and 1.2 seconds, total_count=5, [valid] "
        "loss_ctc={v}, cer_ctc=nan, cer=0.9, wer={s}, loss={v}, time=3 seconds, [att_plot] time=0.2 seconds\n"
        "[pc] 2024-01-01 (trainer:184) INFO: 99/100epoch started. Estimated time to finish: 3 minutes\n"
    ),
    "SpeechBrain": _each(
        "epoch: {e}, lr: 1e-04 - train loss: {t} - valid loss: {v}, valid CER: 9, valid WER: {w}\n"
    ),
    "Keras": _each("Epoch {e}/50\n9/9 [====] - 12s 120ms/step - loss: {t} - val_loss: {v} - val_wer: {w}%\n"),
    "one line": _each("Epoch {e}/50 - loss: {t} - val_loss: {v} - val_wer: {w:.4f}%\n"),
    "brackets": _each("2024-01-01 10:00:00 INFO Epoch [{e}/50], Train Loss: {t}, Val Loss: {v}, Val WER: {s}\n"),
    "headings": _each("Epoch {e}\n Train Loss = {t}\n Validation:\n  loss: {v}\n  wer: {s}\nBest val WER: 0.1\n"),
    "steps that an epoch's line sums up": _each(
        "[ Sat Jan 27 01:36:04 2024 ] Epoch: {n}, Batch(0/10) done. Loss: 77.0  lr:0.0001\n"
        "[ Sat Jan 27 01:36:04 2024 ] \tMean training loss: {t}.\n[ Sat Jan 27 ] Dev loss: {v}\n"
        "[ Sat Jan 27 01:36:04 2024 ] Epoch {n}, dev {w:.4f}%\n"
    ),
    "fairseq": _each(
        "2024 | INFO | train | epoch {e:03d} | loss {t} | lr 0.1 | num_updates {u}\n"
        "2024 | INFO | valid | epoch {e:03d} | valid on 'valid' subset | loss {v} | wer {w} | num_updates {u}\n"
    ),
    "JSON within lines": _each(
        '2024 | INFO | train | {{"epoch": {e}, "train_loss": "{t}"}}\n'
        '2024 | INFO | valid | {{"epoch": {e}, "valid_loss": "{v}", "valid_wer": "{w}"}}\n'
    ),
    "dictionaries of Python": _each(
        "{{'loss': {t}, 'learning_rate': 1e-4, 'epoch': {e}.0}}\n"
        "{{'eval_loss': {v}, 'eval_wer': {s}, 'epoch': {e}.0}}\n"
    ),
    "a sole dev corpus with a name of its own": _each(
        "epoch: {e:8d} | lr: 0.1 | loss: {t} | train-WER: 9.0 | dev-clean-loss: {v} | dev-clean-TER: 1 | "
        "dev-clean-WER: {w} | timestamp: 2021-03-14 02:23:34\n"
    ),
    "Kaldi's scores": _each(
        "# epoch {n}\ntrain loss: {t}\nvalid loss: {v}\n"
        "[decode.py:1] %WER {w:.4f}% [1 / 100, 1 ins, 20 del, 3 sub ]\n"
        "[decode.py:2] %WER 19.35% [1 / 100, 1 ins, 1 del, 1 sub ]\n"
    ),
    "progress bars": _each(
        "Epoch {n}:  50%|##| 5/10 [00:01<00:01, loss=9.0, val_loss=9.0, val_wer=0.99]\r"
        "Epoch {n}: 100%|##| 10/10 [00:02<00:00, loss={t}, val_loss={v}, val_wer={s}]\r"
    ),
    "decimal commas": lambda: _each("Epoch {e}; loss: {t}; val_loss: {v}; val_wer: {w:.4f} %\n")().replace(
        ".", ","
    ),
    "names and numbers alone": _each("epoch {e} train loss {t} val loss {v} val wer {s}\n"),
}


def same(run: Recorded) -> None:
    assert len(run.epochs) == 12, run.notes
    for n, epoch in enumerate(run.epochs):
        assert epoch.train_loss == pytest.approx(T[n], abs=1e-4)
        assert epoch.val_loss == pytest.approx(V[n], abs=1e-4)
        assert epoch.val_wer == pytest.approx(W[n], abs=1e-2)


@pytest.mark.parametrize("log", LOGS)
def test_each_log_reads_as_the_same_epochs(tmp_path: Path, log: str) -> None:
    (tmp_path / "train.log").write_text("Start with lr=0.1, batch_size: 8\n" + LOGS[log]())
    same(read_any(tmp_path / "train.log"))


def test_lightnings_lines_tell_the_epochs_that_were_among_the_best(tmp_path: Path) -> None:
    (tmp_path / "nemo.log").write_text(
        "[NeMo I 2024-01-01 00:00:00 exp_manager:1] hello\n"
        "Epoch 0, global step 100: 'val_wer' reached 0.9 (best 0.9), saving model to 'a--val_wer=0.9.ckpt'\n"
        "Epoch 1, global step 200: 'val_wer' was not in top 1\n"
        "Epoch 2, global step 300: val_wer reached 0.5 (best 0.5), saving model to 'b.ckpt' as top 1\n"
    )
    run = read_any(tmp_path / "nemo.log")
    assert [(epoch.epoch, epoch.val_wer, epoch.value("update")) for epoch in run.epochs] == [
        (1, 90, 100),
        (3, 50, 300),
    ]
    assert any("1 lines say that a score was not among the best" in note for note in run.notes)


def test_kinds_of_errors_come_from_kaldis_scores(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(LOGS["Kaldi's scores"]())
    run = read_any(tmp_path / "x.log")
    assert (run.epochs[0].deletion_rate, run.epochs[0].insertion_rate) == (20.0, 1.0)
    assert any("12 further scores" in note for note in run.notes)


def test_a_test_score_and_the_best_so_far_are_not_those_of_dev(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(
        "".join(f"Epoch {n} test WER: 0.1, best WER: 0.2, val_loss: 3\n" for n in (1, 2))
    )
    assert all(epoch.val_wer is None for epoch in read_any(tmp_path / "x.log").epochs)


def _events(folder: Path, points: list[tuple[str, float, int]]) -> Path:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for tag, value, step in points:
            writer.add_scalar(tag, value, step)
    return folder


def test_event_files_by_epoch_by_step_and_with_an_epoch_of_their_own(tmp_path: Path) -> None:
    by_epoch = [
        point
        for n in range(12)
        for point in (("Loss/train", T[n], n), ("Loss/val", V[n], n), ("WER/val", W[n] / 100.0, n))
    ]
    same(read_any(_events(tmp_path / "a", by_epoch)))
    mixed = [
        point
        for n in range(12)
        for point in (
            *(("train/loss", T[n], 3 * n + k) for k in range(3)),
            ("val/loss", V[n], n),
            ("val/wer", W[n], n),
        )
    ]
    same(read_any(_events(tmp_path / "b", mixed)))
    with_epochs = [
        point
        for n in range(12)
        for step, tags in (
            (90 * n + 40, {"train_loss": T[n]}),
            (90 * n + 89, {"val_loss": V[n], "val_wer": W[n] / 100.0}),
        )
        for point in ((tag, value, step) for tag, value in {**tags, "epoch": float(n)}.items())
    ]
    folder = _events(tmp_path / "c" / "version_0", with_epochs)
    same(read_any(folder.parent))
    same(read_any(next(folder.iterdir())))
    by_side = tmp_path / "d"
    _events(by_side / "train", [("epoch_loss", T[n], n) for n in range(12)])
    _events(
        by_side / "validation",
        [(tag, x[n], n) for n in range(12) for tag, x in (("epoch_loss", V), ("epoch_wer", W))],
    )
    same(read_any(by_side))


def test_an_event_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    points = [point for n in range(12) for point in (("Loss/train", T[n], n), ("WER/val", W[n], n))]
    file = next(_events(tmp_path / "a", points).iterdir())
    assert not [note for note in read_any(file).notes if "ends within" in note]
    file.write_bytes(file.read_bytes()[:-3])
    run = read_any(file.parent)
    assert len(run.epochs) == 12
    (note,) = (note for note in run.notes if "ends within a record" in note)
    assert "24 whole ones are read" in note  # 24 scalars and the version of the format, less the one cut off


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing", None)
    with pytest.raises(DataError, match=r"pip install 'ctckit\[tensorboard\]'"):
        read_any(path)


def test_a_damaged_event_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "events.out.tfevents.1").write_bytes(b"no record " * 9)
    with pytest.raises(DataError, match="without scalars"):
        read_any(tmp_path)


def _csv() -> str:
    return "epoch,train_loss,val_loss,val_wer\n" + "".join(f"{n},{T[n]},{V[n]},{W[n]}\n" for n in range(12))


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _state(epochs: int) -> str:
    log: list[dict[str, Any]] = []
    for n in range(epochs):
        log += [
            {"epoch": n + 1.0, "loss": T[n], "step": n},
            {"epoch": n + 1.0, "eval_loss": V[n], "eval_wer": W[n] / 100.0, "step": n},
        ]
    return json.dumps({"log_history": log})


@pytest.mark.parametrize(
    "files",
    [
        {"lightning_logs/version_0/metrics.csv": _csv, "lightning_logs/version_0/hparams.yaml": lambda: "a: 1"},
        {
            "checkpoint-9/trainer_state.json": lambda: _state(5),
            "checkpoint-12/trainer_state.json": lambda: _state(12),
        },
        {"trainer_state.json": lambda: _state(12), "checkpoint-5/trainer_state.json": lambda: _state(5)},
        {"exp/asr/train.log": LOGS["ESPnet"], "exp/asr/config.yaml": lambda: "a: 1"},
        {"training_history.json": lambda: json.dumps({"train_loss": T, "val_loss": V, "val_wer": W}), "x.log": str},
    ],
    ids=["Lightning", "checkpoints", "transformers", "ESPnet", "JSON"],
)
def test_a_folder_is_searched_and_what_was_taken_is_said(
    tmp_path: Path, files: dict[str, Callable[[], str]]
) -> None:
    for name, make in files.items():
        _put(tmp_path / name, make())
    run = read_any(tmp_path)
    same(run)
    assert any(note.startswith("Taken from") for note in run.notes)


def test_several_histories_are_listed_and_none_says_what_is_there(tmp_path: Path) -> None:
    both = [_put(tmp_path / "two" / f"version_{n}" / "metrics.csv", _csv()) for n in (0, 1)]
    with pytest.raises(DataError, match="holds 2 histories; give one of them") as caught:
        read_any(tmp_path / "two")
    assert all(str(path) in str(caught.value) for path in both)
    _put(tmp_path / "none" / "model.bin", "x")
    with pytest.raises(DataError, match=r"no history in it .* there is model\.bin"):
        read_any(tmp_path / "none")


@pytest.mark.parametrize("text", [_csv(), _state(12), LOGS["SpeechBrain"]()], ids=["CSV", "JSON", "log"])
def test_standard_input_is_told_by_its_content(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    run = read_any(Path("-"))
    same(run)
    assert run.name == "standard input"


def test_columns_units_and_runs_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    path = _put(tmp_path / "m.csv", _csv().replace("val_wer", "cer_dev,other").replace("\n", ",1\n"))
    found = json.loads(call(path, "--column", "val_wer=other", "--unit", "val_wer=share", "--json").stdout)
    assert found["last"]["val_wer"] == 100.0
    assert {"figure": "val_wer", "column": "other", "unit": "share", "told_by": "as asked for"} in found["columns"]
    for option, message in (
        (("--column", "val_wr=other"), "'val_wr' is no figure; did you mean 'val_wer'?"),
        (("--column", "val_wer=othr"), "no such column; did you mean 'other'?"),
        (("--column", "val_wer"), "write FIGURE=COLUMN"),
        (("--unit", "val_wr=share"), "'val_wr', which is not there; there is val_wer"),
        (("--run", "x"), "no run is named 'x'"),
    ):
        refused = call(path, *option)
        assert refused.exit_code in (2, 3)
        assert message in refused.output
        assert refused.output.strip().count("\n") == 0
