"""Every rule of the probes has a planted fault that fires it and a healthy case that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ctckit.cli import main
from ctckit.data import CorpusWriter

LABELS = ("ant", "bee", "cat", "dog")

BLIND = """
import torch, ctckit
class Blind(ctckit.Model):
    def __init__(self, input_size, num_classes):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(num_classes))
    def forward(self, features_BTF, lengths_B):
        frames, clips = features_BTF.shape[1], len(lengths_B)
        return ctckit.Emissions(self.bias.expand(frames, clips, -1), lengths_B)
    def output_lengths(self, lengths_B):
        return lengths_B
@ctckit.hookimpl
def ctckit_register(registry):
    registry.model("planted", Blind)
"""
"""A model whose forward never looks at its input."""


LOUD = BLIND.replace(
    "self.bias.expand", "(40.0 * features_BTF @ self.mix.t() + self.bias).transpose(0, 1).expand"
).replace(
    "        self.bias =",
    "        self.mix = torch.nn.Parameter(torch.randn(num_classes, input_size))\n        self.bias =",
)
"""A model whose first logits are out of scale."""


AVERAGING = """
import torch, ctckit
class Averaging(ctckit.Model):
    def __init__(self, input_size, num_classes):
        super().__init__()
        self.clip = torch.nn.Linear(input_size, 64)
        self.position = torch.nn.Embedding(64, 64)
        self.mix = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh())
        self.out = torch.nn.Linear(64, num_classes)
    def forward(self, features_BTF, lengths_B):
        frames_T = torch.arange(features_BTF.shape[1])
        real_BT1 = (frames_T < lengths_B[:, None])[:, :, None]
        mean_BF = (features_BTF * real_BT1).sum(1) / lengths_B[:, None]
        hidden_BTH = 20 * self.clip(mean_BF)[:, None] + self.position(frames_T.clamp(max=63))[None]
        return ctckit.Emissions(self.out(self.mix(hidden_BTH)).transpose(0, 1), lengths_B)
    def output_lengths(self, lengths_B):
        return lengths_B
@ctckit.hookimpl
def ctckit_register(registry):
    registry.model("planted", Averaging)
"""
"""A model that sees the average of a clip and counts frames."""


CROWDED = BLIND.replace(
    "self.bias.expand(frames, clips, -1)",
    "(features_BTF.mean(1) @ self.mix.t() + self.bias).expand(frames, clips, -1)",
).replace(
    "        self.bias =",
    "        self.mix = torch.nn.Parameter(torch.zeros(num_classes, input_size))\n        self.bias =",
)
"""A model that sees its input and gives every frame of a clip the same: it cannot put labels in order."""


def write(path: Path, count: int = 120, seed: int = 0, *, permuted: bool = False) -> Path:
    """Each label is a bump in a column of its own, three frames long, with two frames of silence after it."""
    random = np.random.default_rng(seed)
    transcripts = [[LABELS[i] for i in random.integers(0, len(LABELS), 4)] for _ in range(count)]
    shown = [transcripts[i] for i in random.permutation(count)] if permuted else transcripts
    with CorpusWriter(path, len(LABELS) + 1, dtype="float32") as writer:
        for number, (labels, transcript) in enumerate(zip(transcripts, shown, strict=True)):
            columns = [column for label in labels for column in [LABELS.index(label)] * 3 + [len(LABELS)] * 2]
            features = np.eye(len(LABELS) + 1)[columns] + 0.1 * random.standard_normal(
                (len(columns), len(LABELS) + 1)
            )
            writer.add(f"{path.stem}-{number:03d}", features.astype(np.float32), transcript)
    return path


def probe(train: Path, *options: object, dev: Path | None = None) -> dict[str, dict[str, Any]]:
    """Findings of the audit with probes by rule; of several with one rule, the first."""
    arguments = ["audit", train, "--probe", "--probe-seconds", 600, "--threads", 1, "--device", "cpu", "--json"]
    arguments += [*options, *(["--dev", dev] if dev else [])]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    outcome = json.loads(result.stdout)
    assert result.exit_code == {"clean": 0, "warnings": 10, "errors": 11}[outcome["verdict"]]
    assert all("\n" not in one["message"] for one in outcome["findings"])
    return {one["rule"]: one for one in reversed(outcome["findings"])}


SMALL = ("--set", "model.hidden_size=16", "--set", "batch_size=8")


def planted(tmp_path: Path, source: str) -> tuple[object, ...]:
    (tmp_path / "planted.py").write_text(source)
    return (
        "--plugin",
        tmp_path / "planted.py",
        "--set",
        "model.name=planted",
        *SMALL[2:],
        "--set",
        "phases.*.stage=none",
    )


def test_a_healthy_corpus_and_model_pass_every_probe(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    train, dev = write(tmp_path / "train.h5"), write(tmp_path / "dev.h5", 40, seed=1)
    found = probe(train, *SMALL, dev=dev)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    probed = {"learning_rate_range", "overfit_one_batch", "shuffled_inputs", "permuted_labels", "untrained_loss"}
    assert {rule: found[rule]["severity"] for rule in probed} == dict.fromkeys(probed, "info")
    assert "probe_inconclusive" not in found
    assert all("seconds" in found[rule]["evidence"] for rule in probed - {"untrained_loss", "shuffled_inputs"})


FAULTS: list[tuple[str, str, str | None, bool, tuple[str, ...], set[str]]] = [
    ("blind", "error", BLIND, False, (), {"overfit_one_batch", "input_ignored"}),
    ("averaging", "warning", AVERAGING, False, (), {"order_ignored"}),
    ("crowded", "error", CROWDED, False, (), {"overfit_one_batch"}),
    ("permuted", "warning", None, True, (), {"permuted_labels"}),
    ("fast", "warning", None, False, ("--set", "phases.*.schedule.lr=10"), {"learning_rate_range"}),
    ("slow", "warning", None, False, ("--set", "phases.*.schedule.lr=2e-5"), {"learning_rate_range"}),
    ("loud", "warning", LOUD, False, (), {"untrained_loss"}),
]


@pytest.mark.parametrize(
    ("severity", "model", "permuted", "options", "rules"),
    [case[1:] for case in FAULTS],
    ids=[case[0] for case in FAULTS],
)
def test_each_planted_fault_fires_its_probe(
    tmp_path: Path, severity: str, model: str | None, permuted: bool, options: tuple[str, ...], rules: set[str]
) -> None:
    train = write(tmp_path / "train.h5", permuted=permuted)
    found = probe(train, *(planted(tmp_path, model) if model else SMALL), *options)
    assert {rule: found[rule]["severity"] for rule in rules} == dict.fromkeys(rules, severity)
    assert all(found[rule]["advice"] for rule in rules)


def test_the_same_seed_gives_the_same_findings(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", 40)

    def figures() -> dict[str, dict[str, Any]]:
        found = probe(train, *SMALL)
        return {rule: {**one["evidence"], "seconds": 0} for rule, one in found.items()}

    assert figures() == figures()


def test_out_of_time_is_said_and_not_judged(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["audit", str(write(tmp_path / "train.h5")), "--probe", "--probe-seconds", "1e-9", *SMALL]
    )
    assert result.exit_code == 0, result.output
    for name in ("learning_rate_range", "overfit_one_batch", "permuted_labels"):
        assert f"{name}: inconclusive, as time ran out" in result.stdout
    assert "--probe-seconds" in result.stdout


def test_too_few_clips_are_said(tmp_path: Path) -> None:
    found = probe(write(tmp_path / "train.h5", 12), *SMALL)
    assert found["overfit_one_batch"]["severity"] == "info"
    assert "train has too few clips" in found["probe_inconclusive"]["message"]
    found = probe(write(tmp_path / "one.h5", 1), *SMALL)
    assert "fewer than two clips" in found["probe_inconclusive"]["message"]
    assert "overfit_one_batch" not in found


def test_a_corpus_of_another_width_is_said(tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "dev.h5", 3, dtype="float32") as writer:
        for number in range(40):
            writer.add(f"dev-{number:02d}", np.zeros((20 + number, 3), np.float32), [LABELS[number % 4]])
    corpora = [str(write(tmp_path / "train.h5")), "--dev", str(tmp_path / "dev.h5")]
    result = CliRunner().invoke(main, ["audit", *corpora, "--probe", "--probe-seconds", "1e-9", *SMALL])
    assert "permuted_labels: not run: features of dev are 3 wide, those of train 5" in result.stdout
    assert "dev has too few clips" not in result.stdout
