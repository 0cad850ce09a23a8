"""The callback in a real Trainer, where transformers is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ctckit.errors import ConfigError
from ctckit.record.history import read_history

transformers = pytest.importorskip("transformers", reason="transformers is not installed: make test-integrations")
pytest.importorskip("accelerate", reason="accelerate is not installed: make test-integrations")

from ctckit.integrations.huggingface import CtcCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours

LABELS = 4
BLANK = 2


class Tiny(transformers.PreTrainedModel):  # type: ignore[misc]
    """Labels are bumps in a column; one frame in two is kept."""

    config_class = transformers.Wav2Vec2Config
    main_input_name = "input_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(LABELS + 1, 24, bidirectional=True, batch_first=True)
        self.lm_head = nn.Linear(48, LABELS + 1)
        self.post_init()

    def _get_feat_extract_output_lengths(self, lengths_B: Tensor) -> Tensor:
        return (lengths_B + 1) // 2

    def forward(self, input_values: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
        logits_BTC = self.lm_head(self.lstm(input_values)[0][:, ::2])
        loss = None
        if labels is not None:
            real_BS = labels >= 0
            loss = nn.functional.ctc_loss(
                logits_BTC.log_softmax(-1).transpose(0, 1),
                labels[real_BS],
                self._get_feat_extract_output_lengths(attention_mask.sum(-1)),
                real_BS.sum(-1),
                blank=BLANK,
                reduction="sum",
            )
        return {"loss": loss, "logits": logits_BTC}


def clips(count: int, seed: int) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        labels_S = torch.randint(0, LABELS, (int(torch.randint(1, 4, (), generator=draw)),), generator=draw)
        classes = [int(label) + (label >= BLANK) for label in labels_S]
        columns = [column for label in classes for column in (label, label, label, label, BLANK, BLANK)]
        features_TF = torch.eye(LABELS + 1)[torch.tensor(columns)] + 0.05 * torch.randn(
            len(columns), LABELS + 1, generator=draw
        )
        made.append({"input_values": features_TF, "labels": torch.tensor(classes)})
    return made


def collate(batch: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    pad = nn.utils.rnn.pad_sequence
    return {
        "input_values": pad([one["input_values"] for one in batch], True),
        "attention_mask": pad([torch.ones(len(one["input_values"]), dtype=torch.long) for one in batch], True),
        "labels": pad([one["labels"] for one in batch], True, -100),
    }


def trainer(folder: Path, callback: CtcCallback, model: Any = None, **options: Any) -> Any:
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder / "hf"),
            "num_train_epochs": 4,
            "per_device_train_batch_size": 8,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "report_to": [],
            "learning_rate": 0.02,
            "disable_tqdm": True,
            "use_cpu": True,
            "logging_steps": 2,
            "remove_unused_columns": False,
            **options,
        }
    )
    return transformers.Trainer(
        model=model or Tiny(transformers.Wav2Vec2Config(pad_token_id=BLANK, vocab_size=LABELS + 1)),
        args=arguments,
        train_dataset=clips(48, 0),
        eval_dataset=clips(16, 1),
        data_collator=collate,
        callbacks=[callback],
    )


def test_a_trainer_is_watched_from_the_plateau_to_recognising(tmp_path: Path) -> None:
    callback = CtcCallback(tmp_path / "run", quiet=True)
    made = trainer(tmp_path, callback, num_train_epochs=12, gradient_accumulation_steps=2)
    made.train()
    recorded = read_history(tmp_path / "run")
    assert [epoch.epoch for epoch in recorded.epochs] == list(range(1, 13))
    first, last = recorded.epochs[0], recorded.epochs[-1]
    assert recorded.planned_epochs == 12
    assert first.on_plateau is True
    assert last.on_plateau is False
    assert last.val_wer is not None
    assert last.val_wer < 20.0
    assert (first.utterances, first.clips, first.update) == (16, 48, 3)
    assert set(last.module_gradients) == {"lstm", "lm_head"}
    logged = [row["grad_norm"] for row in made.state.log_history if "grad_norm" in row]
    assert first.gradient_norm == pytest.approx(logged[0], rel=1e-3)
    assert recorded.ending is not None
    # the model's loss is a sum over the batch, and the training loss is per token nevertheless
    evaluated = made.evaluate()
    assert len(read_history(tmp_path / "run").epochs) == 12
    tokens = sum(len(clip["labels"]) for clip in clips(16, 1))
    assert evaluated["eval_loss"] * 2 / tokens == pytest.approx(last.val_loss, rel=1e-3)


def test_evaluation_in_steps_ends_epochs_and_what_is_evaluated_twice_counts_once(tmp_path: Path) -> None:
    callback = CtcCallback(tmp_path / "run", quiet=True)
    made = trainer(tmp_path, callback, eval_strategy="steps", eval_steps=4, max_steps=8, eval_on_start=True)
    made.eval_dataset = {"one": clips(16, 1), "other": clips(5, 2)}
    made.train()
    epochs = read_history(tmp_path / "run").epochs
    assert [(epoch.update, epoch.utterances) for epoch in epochs] == [(4, 16), (8, 16)]


def test_a_real_wav2vec2_is_measured_as_it_measures_itself(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(
        vocab_size=5,
        pad_token_id=0,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        mask_time_prob=0.0,
        ctc_loss_reduction="sum",
    )
    draw = torch.Generator().manual_seed(0)
    data = [
        {"input_values": torch.randn(200 + 40 * n, generator=draw), "labels": torch.tensor([1, 2, 3][: 1 + n % 3])}
        for n in range(6)
    ]
    callback = CtcCallback(tmp_path / "run", quiet=True)
    made = trainer(tmp_path, callback, transformers.Wav2Vec2ForCTC(config), num_train_epochs=1)
    made.train_dataset = made.eval_dataset = data
    made.train()
    (epoch,) = read_history(tmp_path / "run").epochs
    evaluated = [row["eval_loss"] for row in made.state.log_history if "eval_loss" in row]
    assert epoch.val_loss == pytest.approx(evaluated[0] / epoch.reference_tokens, rel=1e-3)
    assert epoch.blank_reference is not None
    assert epoch.on_plateau is not None


def test_frames_that_nobody_tells_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Tiny, "_get_feat_extract_output_lengths")
    monkeypatch.setattr(Tiny, "_get_feat_extract_output_lengths", None, raising=False)
    monkeypatch.setattr(nn.functional, "ctc_loss", lambda log_probs, *args, **options: log_probs.sum())
    plain = Tiny.forward

    def forward(self: Any, input_values: Tensor, attention_mask: Tensor, labels: Any = None) -> Any:
        return {"loss": self.lm_head.weight.sum(), "logits": self.lm_head(self.lstm(input_values)[0][:, ::2])}

    assert plain is not forward
    monkeypatch.setattr(Tiny, "forward", forward)
    with pytest.raises(ConfigError, match=re.escape("give lengths=FUNCTION")):
        trainer(tmp_path, CtcCallback(tmp_path / "run", quiet=True)).train()
    callback = CtcCallback(
        tmp_path / "told", quiet=True, lengths=lambda inputs, _: (inputs["attention_mask"].sum(-1) + 1) // 2
    )
    trainer(tmp_path, callback, num_train_epochs=1).train()
    assert len(read_history(tmp_path / "told").epochs) == 1
