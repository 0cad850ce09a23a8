"""Corpora for the audit, healthy and edited, what it finds in them, and a model with a flaw to order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from click.testing import CliRunner, Result

import ctckit
from ctckit.cli import main

Clip = tuple[Any, str]
Corpus = dict[str, Clip]

WORDS = ("ant", "bee", "cat", "dog", "eel")
SMALL = ("--set", "model.hidden_size=8")


def features(seed: int, frames: int = 40, width: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def healthy(count: int = 40, seed: int = 0) -> Corpus:
    random = np.random.default_rng(seed)
    return {
        f"{seed}-clip{n:02d}": (features(1000 * seed + n + 100), " ".join(random.permutation(WORDS)[:4]))
        for n in range(count)
    }


def write(path: Path, clips: Corpus) -> Path:
    with h5py.File(path, "w") as file:
        for name, (array, transcript) in clips.items():
            group = file.create_group(name)
            group["features"] = array
            group.attrs["transcript"] = transcript
    return path


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["audit", *map(str, arguments), *SMALL])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def audit(tmp_path: Path, train: Corpus, *options: str, dev: Corpus | None = None) -> dict[str, dict[str, Any]]:
    """Findings by rule; of several with one rule, the gravest."""
    arguments: list[object] = [write(tmp_path / "train.h5", train), *options]
    if dev is not None:
        arguments += ["--dev", write(tmp_path / "dev.h5", dev)]
    result = call(*arguments, "--json")
    outcome = json.loads(result.stdout)
    assert result.exit_code == {"clean": 0, "warnings": 10, "errors": 11}[outcome["verdict"]]
    assert all(
        set(one) == {"rule", "severity", "message", "evidence", "advice", "source"} for one in outcome["findings"]
    )
    return {one["rule"]: one for one in reversed(outcome["findings"])}


def edited(**changes: Clip) -> Corpus:
    return {**healthy(), **changes}


class Plain(ctckit.Model):
    """A model that keeps its contract, with a flaw to order."""

    def __init__(self, flaw: str) -> None:
        super().__init__()
        self.flaw = flaw
        self.linear = torch.nn.Linear(3, 5)

    def forward(self, features_BTF: torch.Tensor, lengths_B: torch.Tensor) -> ctckit.Emissions:
        logits = self.linear(features_BTF).transpose(0, 1)
        if self.flaw == "probabilities":
            logits = logits.softmax(-1)
        if self.flaw == "log_probabilities":
            logits = logits.log_softmax(-1)
        if self.flaw == "finite":
            logits = logits * float("nan")
        if self.flaw == "padding":
            logits = logits + features_BTF.shape[1]
        if self.flaw == "width":
            logits = logits[..., 1:]
        if self.flaw == "lengths":
            lengths_B = lengths_B - 1
        return ctckit.Emissions(logits, lengths_B)

    def output_lengths(self, lengths_B: torch.Tensor) -> torch.Tensor:
        return lengths_B
