"""The callback in a real Lightning Trainer, where lightning is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ctckit.errors import DataError
from ctckit.record.history import read_history

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed: make test-integrations")

from ctckit.integrations.lightning import CtcCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours

LABELS = 4


def clips(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        labels_S = torch.randint(0, LABELS, (int(torch.randint(1, 4, (), generator=draw)),), generator=draw)
        columns = [column for label in labels_S.tolist() for column in (label, label, LABELS)]
        features_TF = torch.eye(LABELS + 1)[torch.tensor(columns)]
        made.append((features_TF + 0.05 * torch.randn(len(columns), LABELS + 1, generator=draw), labels_S))
    return made


def collate(batch: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    pad = nn.utils.rnn.pad_sequence
    features, targets = zip(*batch, strict=True)
    return pad(features, True), torch.tensor([len(one) for one in features]), pad(targets, True, -1)


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """The blank is the last class."""

    def __init__(self, *, tells: bool, batch_first: bool = True) -> None:
        super().__init__()
        self.tells, self.first = tells, batch_first
        self.lstm = nn.LSTM(LABELS + 1, 24, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, LABELS + 1)

    def shared(self, batch: Any) -> dict[str, Tensor]:
        features_BTF, lengths_B, targets_BS = batch
        logits_BTC = self.head(self.lstm(features_BTF)[0])
        loss = nn.functional.ctc_loss(
            logits_BTC.log_softmax(-1).transpose(0, 1),
            targets_BS.clamp(min=0),
            lengths_B,
            (targets_BS >= 0).sum(-1),
            blank=LABELS,
        )
        return {"loss": loss, "logits": logits_BTC, "lengths": lengths_B, "targets": targets_BS}

    def training_step(self, batch: Any, number: int) -> Any:
        out = self.shared(batch)
        return out if self.tells else out["loss"]

    def validation_step(self, batch: Any, number: int, dataloader_idx: int = 0) -> Any:
        return self.shared(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def fit(folder: Path, module: Any, *, epochs: int = 2, validation: Any = None, **options: Any) -> CtcCallback:
    callback = CtcCallback(folder / "run", blank=-1, batch_first=True, quiet=True)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **options,
    )
    validation = validation or DataLoader(clips(16, 1), 8, collate_fn=collate)
    trainer.fit(module, DataLoader(clips(48, 0), 8, collate_fn=collate), validation)
    trainer.validate(module, validation, verbose=False)
    return callback


@pytest.mark.parametrize("tells", [True, False])
def test_a_module_is_watched_from_the_plateau_to_recognising(tmp_path: Path, tells: bool) -> None:
    callback = fit(tmp_path, Module(tells=tells), epochs=10, gradient_clip_val=0.1)
    recorded = read_history(tmp_path / "run")
    assert [epoch.epoch for epoch in recorded.epochs] == list(range(1, 11))
    first, last = recorded.epochs[0], recorded.epochs[-1]
    assert recorded.planned_epochs == 10
    assert last.on_plateau is False
    assert last.val_wer is not None
    assert last.val_wer < 30.0
    assert (first.update, first.utterances, first.clips) == (6, 16, 48 if tells else None)
    assert first.gradient_norm is not None
    assert first.gradient_norm > 0.1  # before clipping
    assert set(first.module_gradients) == {"lstm", "head"}
    assert recorded.ending is not None
    assert callback.watcher is not None
    assert callback.watcher.diagnosis is not None


def test_accumulated_gradients_are_one_update_and_the_loss_is_whole(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", Module(tells=True), accumulate_grad_batches=3)
    told = read_history(tmp_path / "whole" / "run").epochs[0]
    torch.manual_seed(0)
    fit(tmp_path / "loss", Module(tells=False), accumulate_grad_batches=3)
    given = read_history(tmp_path / "loss" / "run").epochs[0]
    assert whole.watcher is not None
    assert told.update == given.update == 2
    assert given.train_loss == pytest.approx(told.train_loss, rel=0.5)


def test_other_loaders_and_no_loader(tmp_path: Path) -> None:
    both = [DataLoader(clips(count, 1), 8, collate_fn=collate) for count in (16, 4)]
    fit(tmp_path / "both", Module(tells=True), validation=both)
    assert [epoch.utterances for epoch in read_history(tmp_path / "both" / "run").epochs] == [16, 16]
    fit(tmp_path / "none", Module(tells=True), limit_val_batches=0)
    epochs = read_history(tmp_path / "none" / "run").epochs
    assert [(epoch.utterances, epoch.clips) for epoch in epochs] == [(None, 48), (None, 48)]
    assert epochs[0].on_plateau is not None


def test_a_validation_step_that_returns_nothing_is_told_what_to_return(tmp_path: Path) -> None:
    class Silent(Module):
        def validation_step(self, batch: Any, number: int) -> None:
            return None

    with pytest.raises(DataError, match="return a dictionary with 'logits', 'lengths' and 'targets'"):
        fit(tmp_path, Silent(tells=False), num_sanity_val_steps=0)
    recorded = read_history(tmp_path / "run")
    assert not recorded.epochs
    assert recorded.ending is not None
    assert recorded.ending["reason"] == "interrupted"
