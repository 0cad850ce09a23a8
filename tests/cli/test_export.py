"""``ctckit export``, and what the files are worth without ctckit and with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import ctckit
from ctckit.data import open_corpus
from ctckit.export import parity

PACKED = '''
import torch
from torch import nn
import ctckit

(__import__("pathlib").Path(__file__).with_name("ran")).touch()


class Packed(ctckit.Model):
    """What everybody writes: a BiLSTM on packed sequences, whose export torch.export refuses."""

    def __init__(self, input_size: int, num_classes: int, hidden_size: int = 16):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden_size, num_classes)

    def forward(self, features_BTF, lengths_B):
        packed = nn.utils.rnn.pack_padded_sequence(features_BTF, lengths_B.cpu(), True, False)
        frames = features_BTF.shape[1]
        hidden_BTH, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], True, total_length=frames)
        return ctckit.Emissions(self.head(hidden_BTH).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B):
        return lengths_B


@ctckit.hookimpl
def ctckit_register(registry):
    registry.model("packed", Packed)
'''


@pytest.fixture(scope="module")
def packed(cli: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run whose model is in a plugin file, and that file."""
    folder = tmp_path_factory.mktemp("packed")
    file = folder / "packed.py"
    file.write_text(PACKED)
    settings = ["model=packed", "data.deltas=1", "data.normalize=clip_mean", "batch_size=8"]
    settings += ["phases.warmup.epochs=1", "phases.warmup.schedule.epochs=1", "phases.exploration.epochs=22"]
    settings += ["phases.*.stage=none", "phases.exploration.schedule.lr=0.01", "phases.consolidation.epochs=1"]
    settings += ["phases.fine_tuning.epochs=1", "phases.*.penalty=none", "phases.*.dropout=none"]
    done = cli(
        "train", "--plugin", file, "--plugin", "hierarchical_fixed", "--data", tiny.train, "--dev", tiny.dev,
        "--test", tiny.test, "--threads=1", "--out", folder / "run", *(f"--set={one}" for one in settings)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "ran").unlink()
    return folder / "run", file


def clip_of(corpus: Path, number: int) -> np.ndarray[Any, Any]:
    opened = open_corpus(corpus)
    return np.asarray(opened.features(number), np.float32)


def test_onnx_recognises_alone(cli: Any, trained: Path, tiny: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    done = cli("export", trained, "--out", out, "--json", "--exporter", "trace")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["clips"] == 12
    assert outcome["tokens"] > 12
    assert outcome["largest_difference"] < 1e-3
    properties = {one.key: one.value for one in onnx.load(out).metadata_props}
    tokens = json.loads(properties["tokens"])
    features = clip_of(tiny.test, 3)
    session = onnxruntime.InferenceSession(out)
    given = {"features": features[None], "lengths": np.array([len(features)])}
    log_probs, lengths = session.run(None, given)
    assert np.exp(log_probs).sum(-1) == pytest.approx(1.0, abs=1e-4)
    best = log_probs[0, : lengths[0]].argmax(-1)
    found = [tokens[now] for before, now in zip([0, *best], best, strict=False) if now not in (0, before)]
    (own,) = ctckit.load(trained)([features])
    assert tuple(found) == own.tokens


def test_labels_leave_out_blanks_and_repetitions(cli: Any, trained: Path, tiny: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    assert cli("export", trained, "--out", out, "--output", "labels", "--exporter", "trace").returncode == 0
    features = clip_of(tiny.test, 5)
    batch = np.stack([features, np.full_like(features, 9.0)])
    labels, _ = onnxruntime.InferenceSession(out).run(
        None, {"features": batch, "lengths": np.array([len(features), 1])}
    )
    (own,) = ctckit.load(trained)([features])
    tokens = ctckit.load(trained).tokens
    assert tuple(tokens[label] for label in labels[0] if label) == own.tokens
    assert tuple(np.flatnonzero(labels[0])) == own.starts


def test_torch_export_takes_the_hierarchical_model(cli: Any, trained: Path, tmp_path: Path) -> None:
    done = cli("export", trained, "--out", tmp_path / "m.onnx", "--exporter", "export", "--clips", 5)
    assert done.returncode == 0, done.stderr
    assert "by torch.export; onnxruntime: the same" in done.stdout


def test_packed_sequences_are_traced(cli: Any, packed: tuple[Path, Path], tmp_path: Path) -> None:
    run, file = packed
    done = cli("export", run, "--out", tmp_path / "m.onnx", "--plugin", file)
    assert done.returncode == 0, done.stderr
    assert "traced; onnxruntime: the same" in done.stdout


def test_safetensors_are_taken_back(cli: Any, trained: Path, tiny: Any, tmp_path: Path) -> None:
    out = tmp_path / "exported" / "model.safetensors"
    done = cli("export", trained, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "read back: the same" in done.stdout
    clips = [clip_of(tiny.test, number) for number in range(12)]
    expected = ctckit.load(trained)(clips)
    assert ctckit.load(out)(clips) == expected
    assert ctckit.load(out.parent)(clips) == expected  # as a folder that was downloaded
    scores = [
        json.loads(cli("evaluate", one, "--data", tiny.dev, "--json").stdout)["loss"] for one in (trained, out)
    ]
    assert scores[0] == scores[1]


def test_a_plugin_file_is_asked_for_and_runs_only_unchanged(
    cli: Any, packed: tuple[Path, Path], tiny: Any, tmp_path: Path
) -> None:
    run, file = packed
    kept = run / "plugins" / "packed.py"
    assert kept.read_bytes() == file.read_bytes()
    ran = file.with_name("ran")
    ran.unlink(missing_ok=True)
    for verb in (["evaluate"], ["decode"], ["sweep"], ["export", "--out", tmp_path / "m.safetensors"]):
        done = cli(verb[0], run, *verb[1:])
        assert done.returncode == 4, (verb, done.stderr)
        assert "packed.py" in done.stderr
        assert f"--plugin {kept} " in done.stderr
    with pytest.raises(ctckit.PluginError, match="its code runs only where you say so"):
        ctckit.load(run)
    assert not ran.exists()
    changed = tmp_path / "packed.py"
    changed.write_text(PACKED + "\n# changed\n")
    done = cli("evaluate", run, "--plugin", changed)
    assert done.returncode == 4
    assert "is not the file that the run was trained with" in done.stderr
    assert f"the run keeps that as --plugin {kept}" in done.stderr
    assert json.loads(cli("evaluate", run, "--plugin", kept, "--plugin", file, "--json").stdout)["wer"] < 60
    assert not (tmp_path / "ran").exists()
    other = tmp_path / "other.py"
    other.write_text(PACKED + "\n# another\n")
    assert "was not trained with" in cli("evaluate", run, "--plugin", file, "--plugin", other).stderr
    moved = tmp_path / "moved.py"
    shutil.copy(file, moved)
    done = cli("evaluate", run, "--plugin", moved, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wer"] < 60
    assert cli("compare", run, run, "--plugin", file, "--data", tiny.test, "--resamples", 100).returncode == 0
    refused = cli("compare", run, run, "--plugin", file, "--plugin", other, "--data", tiny.test)
    assert "none of the runs was trained with it" in refused.stderr


def test_a_graph_that_differs_is_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from ctckit.cli import main
    from ctckit.export import onnx as exporting

    right = exporting.runner_of

    def wrong(path: Path) -> parity.Runner:
        run = right(path)

        def shifted(features_BTF: Any, lengths_B: Any) -> Any:
            found, lengths = run(features_BTF, lengths_B)
            # wrong in batches alone, as a graph is that was traced for one clip
            return (np.roll(found, 1, axis=1), lengths) if len(found) > 1 else (found, lengths)

        return shifted

    monkeypatch.setattr(exporting, "runner_of", wrong)
    out = tmp_path / "m.onnx"
    done = CliRunner().invoke(main, ["export", str(trained), "--out", str(out), "--exporter", "trace"])
    assert done.exit_code == 5, done.output
    assert "log-probabilities differ by" in done.output
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(cli: Any, trained: Path, tmp_path: Path) -> None:
    assert "end it in .onnx or .safetensors" in cli("export", trained, "--out", tmp_path / "m.bin").stderr
    missing = cli("export", trained, "--out", tmp_path / "m.onnx", "--data", tmp_path / "none.h5")
    assert missing.returncode == 3
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for name in ("m.onnx", "m.safetensors"):
        unwritable = cli("export", trained, "--out", tmp_path / "file" / name, "--exporter", "trace", "--clips", 2)
        assert unwritable.returncode == 5
        assert f"{name}: cannot be written: " in unwritable.stderr


@pytest.mark.parametrize("damage", ["cut", "text", "foreign", "format"])
def test_a_damaged_safetensors_file_is_one_line(cli: Any, trained: Path, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    out = tmp_path / "m.safetensors"
    assert cli("export", trained, "--out", out, "--clips", 2).returncode == 0
    if damage == "cut":
        out.write_bytes(out.read_bytes()[:-100])
    elif damage == "text":
        out.write_text("no tensors")
    elif damage == "foreign":
        save_file(load_file(out), out)
    else:
        save_file(load_file(out), out, {"ctckit": '{"format": 99}'})
    with pytest.raises(ctckit.CheckpointError, match="safetensors"):
        ctckit.load(out)
