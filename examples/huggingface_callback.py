"""A Hugging Face Trainer that is watched: one callback, and the history that report, diagnose and compare read.

pip install 'ctckit[huggingface,demo]'
python examples/huggingface_callback.py  # trains on the embedded digits
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

from ctckit.data import Alphabet, build_demo, open_corpus
from ctckit.integrations.huggingface import CtcCallback
from ctckit.nn.functional import ctc_loss

PADDING = -100


class Recogniser(PreTrainedModel):
    """Two bidirectional layers and a linear one; any CTC model whose forward pass takes labels will do."""

    config_class = PretrainedConfig
    main_input_name = "features"

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(config.features, config.hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * config.hidden, config.vocab_size)
        self.post_init()

    def forward(self, features: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> dict:
        """Return the loss and logits, [B, T, C]."""
        logits_BTC = self.head(self.lstm(features)[0])
        loss = ctc_loss(
            logits_BTC.transpose(0, 1),
            labels.clamp(min=0),
            attention_mask.sum(-1),
            (labels != PADDING).sum(-1),
            blank=self.config.pad_token_id,
        )
        return {"loss": loss, "logits": logits_BTC}


def collate(clips: list) -> dict:
    """Pad features and labels; the mask has a column a frame."""
    pad = nn.utils.rnn.pad_sequence
    return {
        "features": pad([clip["features"] for clip in clips], True),
        "attention_mask": pad([torch.ones(len(clip["features"]), dtype=torch.long) for clip in clips], True),
        "labels": pad([clip["labels"] for clip in clips], True, PADDING),
    }


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/huggingface"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--clips", type=int, default=None, help="training clips at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demo = build_demo(Path(folder))
        corpora = [open_corpus(demo.train), open_corpus(demo.dev)]
        alphabet = Alphabet.from_transcripts(map(corpora[0].transcript, range(len(corpora[0]))))
        train, dev = [
            [
                {
                    "features": torch.tensor(one.features(i)),
                    "labels": torch.tensor(alphabet.encode(one.transcript(i), one.ids[i])),
                }
                for i in range(min(len(one), options.clips or len(one)))
            ]
            for one in corpora
        ]
        features = corpora[0].feature_size
    torch.manual_seed(0)
    Trainer(
        model=Recogniser(PretrainedConfig(features=features, hidden=128, vocab_size=len(alphabet), pad_token_id=0)),
        args=TrainingArguments(
            output_dir=str(options.out / "trainer"),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=16,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=train,
        eval_dataset=dev,
        data_collator=collate,
        callbacks=[CtcCallback(options.out, tokens=alphabet.tokens)],
    ).train()


if __name__ == "__main__":
    main()
