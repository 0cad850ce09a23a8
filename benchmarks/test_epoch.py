"""A whole epoch against the loop that most people write, with the same model.

The plain loop: a dataset that reads one clip at a time from HDF5, shuffled batches padded to their longest clip,
``F.log_softmax`` and ``F.ctc_loss``, AdamW, and after it a greedy decode of dev in Python. Epochs of the two are
taken in turn, so that a machine that slows down slows both. Both do the training epoch and score dev; ctckit also
scores its sample of the training corpus.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from turns import interleaved

from ctckit.assemble import assemble
from ctckit.config import nest, resolve
from ctckit.data import FeaturePipeline, open_corpus, split_corpus
from ctckit.edits import edit_counts
from ctckit.engine import loop
from ctckit.engine.run import Run
from ctckit.plugin_host import load_plugins

AN4 = Path(os.environ.get("CTCKIT_AN4", Path(__file__).parents[2] / "shared" / "data" / "an4" / "an4_train.h5"))

SETTINGS = {
    "an4": {"data.deltas": 2, "data.normalize": "clip_mean", "batch_size": 8, "model.hidden_size": 128},
    "digits": {"batch_size": 16, "model.hidden_size": 64},
}


class PlainClips(Dataset[Any]):
    """Reads and prepares one clip at a time, from a file with one group a clip."""

    def __init__(self, path: Path, pipeline: FeaturePipeline, tokens: tuple[str, ...]) -> None:
        self.file = h5py.File(path)
        self.names = list(self.file)
        self.pipeline = pipeline
        self.classes = {token: index for index, token in enumerate(tokens)}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        group = self.file[self.names[index]]
        features = torch.from_numpy(self.pipeline(np.asarray(group["features"], np.float32)))
        return features, torch.tensor([self.classes[token] for token in group.attrs["transcript"].split()])


def pad(clips: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    features, targets = zip(*clips, strict=True)
    return (
        torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
        torch.tensor([len(clip) for clip in features]),
        torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        torch.tensor([len(target) for target in targets]),
    )


def plain_epoch(
    model: Any, optimizer: Any, train: DataLoader[Any], dev: DataLoader[Any], aux_weight: float
) -> float:
    model.train()
    for features, lengths, targets, target_lengths in train:
        emissions = model(features, lengths)

        def loss_of(
            logits: torch.Tensor, out_lengths: torch.Tensor, wanted: Any = (targets, target_lengths)
        ) -> Any:
            return F.ctc_loss(F.log_softmax(logits, -1), wanted[0], out_lengths, wanted[1], zero_infinity=True)

        loss = loss_of(emissions.logits_TBC, emissions.lengths_B)
        for head in emissions.auxiliary:
            loss = loss + aux_weight * loss_of(head.logits_TBC, head.lengths_B)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    model.eval()
    errors = tokens = 0
    with torch.no_grad():
        for features, lengths, targets, target_lengths in dev:
            emissions = model(features, lengths)
            log_probs = F.log_softmax(emissions.logits_TBC, -1)
            F.ctc_loss(log_probs, targets, emissions.lengths_B, target_lengths, zero_infinity=True)
            best = log_probs.argmax(-1)
            for index in range(features.shape[0]):
                decoded, previous = [], 0
                for frame in range(int(emissions.lengths_B[index])):
                    label = int(best[frame, index])
                    if label not in (0, previous):
                        decoded.append(str(label))
                    previous = label
                wanted = [str(label) for label in targets[index, : int(target_lengths[index])].tolist()]
                errors += sum(edit_counts(wanted, decoded))
                tokens += len(wanted)
    return errors / tokens


def make_run(train: Path, dev: Path, settings: dict[str, Any], folder: Path) -> Run:
    registry, sources = load_plugins(["hierarchical_fixed"])
    extra = {"model.subsampling": 4, "model.auxiliary_weight": 1.0, "data.train": train, "data.dev": dev}
    config = resolve(registry.recipes["hierarchical_fixed"].value, [("benchmark", nest({**settings, **extra}))])
    return assemble(config, registry, sources, folder, torch.device("cpu")).run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Both sides are fastest with one thread on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corpora(name: str, folder: Path) -> tuple[Path, Path]:
    if name == "digits":
        from ctckit.data import build_demo

        paths = build_demo(folder)
        return paths.train, paths.dev
    if not AN4.exists():
        pytest.skip(f"no AN4 features at {AN4}; set CTCKIT_AN4 to a file with one group a clip")
    split_corpus(open_corpus(AN4), "speaker", folder / "train.h5", folder / "dev.h5", count=8)
    return folder / "train.h5", folder / "dev.h5"


def regroup(path: Path) -> Path:
    """Write a corpus as one gzipped group a clip."""
    corpus, grouped = open_corpus(path), path.with_suffix(".grouped.h5")
    with h5py.File(grouped, "w") as file:
        for index in range(len(corpus)):
            group = file.create_group(f"{index:06d}")
            group.create_dataset("features", data=corpus.features(index).astype(np.float16), compression="gzip")
            group.attrs["transcript"] = " ".join(corpus.transcript(index))
    return grouped


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["digits", "an4"])
def test_epoch_against_the_plain_loop(name: str, tmp_path: Path, table: Any, benchmark: Any) -> None:
    train, dev = corpora(name, tmp_path)
    settings = SETTINGS[name]
    run = make_run(train, dev, settings, tmp_path / "run")
    pipeline = FeaturePipeline.from_state_dict(run.identity["pipeline"])
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    clips = [
        DataLoader(
            PlainClips(regroup(path), pipeline, run.tokens),
            batch_size=settings["batch_size"],
            shuffle=path == train,
            collate_fn=pad,
        )
        for path in (train, dev)
    ]

    def plain() -> None:
        plain_epoch(model, optimizer, clips[0], clips[1], 1.0)

    def ours() -> None:
        loop.start_epoch(run)
        for _ in loop.train_epoch(run):
            pass
        loop.judge(run)

    times = interleaved({"ours": ours, "plain": plain}, rounds=5)
    ratio = times["ours"] / times["plain"]
    note = ", ".join(f"{who} {value / 1e3:.2f} s" for who, value in times.items())
    table.add(f"epoch, {name}: share of the plain loop's", ratio, goal=0.8, note=note, more_is_better=False)
    benchmark.extra_info["interleaved_ms"] = times
    benchmark.pedantic(ours, rounds=1)
