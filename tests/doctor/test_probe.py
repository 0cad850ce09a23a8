"""Every rule of the probes has a planted fault that fires it and a healthy case that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ctckit.audit.probe_clips import Lengths, batches_of, known_clips, one_batch, pairs
from ctckit.audit.probe_records import OverfitBatch, PairingContrast, PermutedLabels, RateRange
from ctckit.audit.probe_verdicts import judge_overfit, judge_permuted_labels, judge_rate_range, probe_rate
from ctckit.cli import main
from ctckit.data import CorpusWriter, Targets
from ctckit.types import Finding

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


RANGE = RateRange((9.0, 8.0, 4.0), 4.0, 1e-3, 0.1, 0.2, complete=True, seconds=1.0)
LEARNT = OverfitBatch(8, 1e-3, 100, 40.0, 0.2, 3.0, 0.0, 8.0, 5.0, "", complete=True, seconds=1.0)
CONTRAST = PairingContrast(100, 0.5, 6.0, related=True)
PAIRED = PermutedLabels(
    128, 1e-3, 200, 2.0, 4.0, memorised=True, unseen={"train": CONTRAST}, failure="", complete=True, seconds=1.0
)


def rules(findings: Any) -> list[tuple[str, str]]:
    found: list[Finding] = list(findings)
    return [(one.rule, one.severity) for one in found]


@pytest.mark.parametrize(
    ("change", "planned", "rule", "severity"),
    [
        ({}, [1e-3], "learning_rate_range", "info"),
        ({}, [1.1e-4], "learning_rate_range", "info"),
        ({}, [0.9e-4], "learning_rate_range", "warning"),
        ({}, [1e-3, 0.1], "learning_rate_range", "warning"),
        ({"diverged": None}, [10.0], "learning_rate_range", "info"),
        ({"diverged": None, "complete": False}, [1e-3], "probe_inconclusive", "info"),
        ({"steepest": None}, [1e-3], "probe_inconclusive", "info"),
        ({"steepest": None}, [0.2], "learning_rate_range", "warning"),
    ],
)
def test_rate_range(change: dict[str, Any], planned: list[float], rule: str, severity: str) -> None:
    assert rules(judge_rate_range(replace(RANGE, **change), planned)) == [(rule, severity)]


def test_other_probes_train_fast_and_away_from_divergence() -> None:
    assert probe_rate(RANGE) == pytest.approx(2e-3)
    assert probe_rate(replace(RANGE, diverged=5e-3)) == pytest.approx(5e-4)
    assert probe_rate(replace(RANGE, steepest=None)) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [("overfit_one_batch", "info"), ("shuffled_inputs", "info")]),
        ({"reordered_loss": 0.3}, [("overfit_one_batch", "info"), ("order_ignored", "warning")]),
        ({"reordered_loss": 0.3, "clips": 2}, [("overfit_one_batch", "info"), ("shuffled_inputs", "info")]),
        ({"loss": 2.9, "token_error_rate": 90.0}, [("overfit_one_batch", "error")]),
        (
            {"loss": 2.9, "token_error_rate": 90.0, "exchanged_loss": 2.95},
            [("overfit_one_batch", "error"), ("input_ignored", "error")],
        ),
        ({"token_error_rate": 30.0}, [("overfit_one_batch", "error")]),
        (
            {"loss": 2.9, "exchanged_loss": 2.9, "token_error_rate": 90.0, "complete": False},
            [("probe_inconclusive", "info")],
        ),
        ({"failure": "the loss is not finite"}, [("overfit_one_batch", "error")]),
    ],
)
def test_overfit_and_shuffled_inputs(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert rules(judge_overfit(replace(LEARNT, **change))) == expected


CHANCE = PairingContrast(100, 0.01, 0.5, related=False)
BETWEEN = PairingContrast(100, 0.1, 3.0, related=False)


@pytest.mark.parametrize(
    ("unseen", "memorised", "expected"),
    [
        ({"train": CONTRAST, "dev": CONTRAST}, False, ["info", "info"]),
        ({"train": CHANCE}, True, ["warning"]),
        ({"train": CHANCE}, False, ["inconclusive"]),
        ({"train": BETWEEN}, True, ["inconclusive"]),
        ({"train": CONTRAST, "dev": CHANCE}, True, ["info", "warning"]),
        ({"train": CHANCE, "dev": CHANCE}, True, ["warning", "inconclusive"]),
        ({}, True, ["inconclusive"]),
    ],
)
def test_permuted_labels(unseen: dict[str, PairingContrast], memorised: bool, expected: list[str]) -> None:
    found = judge_permuted_labels(replace(PAIRED, unseen=unseen, memorised=memorised))
    assert [
        "inconclusive" if rule == "probe_inconclusive" else severity for rule, severity in rules(found)
    ] == expected


@st.composite
def corpora(draw: st.DrawFn) -> Lengths:
    labels = draw(st.lists(st.lists(st.integers(1, 4), max_size=5), min_size=1, max_size=60))
    frames = np.array([draw(st.integers(1, 12)) for _ in labels], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, labels)]).astype(np.int64)
    values = np.array([label for clip in labels for label in clip], dtype=np.int64)
    return Lengths(frames, (frames + 1) // 2, Targets(values, offsets))


@given(corpora(), st.integers(2, 40))
def test_chosen_clips_have_paths_where_they_are_needed(lengths: Lengths, most: int) -> None:
    needed, out, frames = lengths.targets.needed_frames, lengths.output_frames, lengths.frames
    one = one_batch(lengths)
    assert len({lengths.targets[index].tobytes() for index in one}) == len(one) <= 8
    if len(one):
        assert needed[one].max() <= out[one].min()
        assert needed[one].min() > 0
    known = known_clips(lengths, most)
    assert len(known) <= most
    assert (needed[known] > 0).all()
    chosen = pairs(lengths, known, frozenset({1, 2, 3}), most)
    assert len(chosen) <= most
    assert len(set(chosen.tolist())) == len(chosen)
    assert not set(chosen.tolist()) & set(known.tolist())
    for a, b in chosen.reshape(-1, 2):
        assert max(needed[a], needed[b]) <= min(out[a], out[b])
        assert not np.array_equal(lengths.targets[a], lengths.targets[b])
        assert not {4} & {*lengths.targets[a].tolist(), *lengths.targets[b].tolist()}
    # a batch keeps the order only of clips that come longest first, and pairs must stay together
    for indices in (one, known, chosen):
        assert (np.diff(frames[indices]) <= 0).all()
    cut = batches_of(chosen, frames, 5, 24)
    assert [index for batch in cut for index in batch.tolist()] == chosen.tolist()
    for batch in cut:
        assert len(batch) % 2 == 0
        assert len(batch) <= 4
        assert len(batch) == 2 or len(batch) * frames[batch].max() <= 24
