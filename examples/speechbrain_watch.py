"""A SpeechBrain Brain that is watched: four lines of it, marked below.

pip install speechbrain 'ctckit[demo]'
python examples/speechbrain_watch.py  # trains on the embedded digits
"""

import argparse
import tempfile
from pathlib import Path

import speechbrain as sb
import torch
from torch import nn
from torch.utils.data import DataLoader

import ctckit
from ctckit.data import Alphabet, build_demo, open_corpus


class Recogniser(nn.Module):
    """Two bidirectional layers and a linear one."""

    def __init__(self, features: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, features_BTF: torch.Tensor) -> torch.Tensor:
        """Return logits, [B, T, C]."""
        return self.head(self.lstm(features_BTF)[0])


class Watched(sb.Brain):
    """As any Brain; lengths are frames, where SpeechBrain's own batches have shares of the longest."""

    watcher: ctckit.Watcher

    def compute_forward(self, batch: tuple, stage: sb.Stage) -> torch.Tensor:
        """Return logits, [B, T, C]."""
        return self.modules.model(batch[0].to(self.device))

    def compute_objectives(self, predictions: torch.Tensor, batch: tuple, stage: sb.Stage) -> torch.Tensor:
        """Return the loss, and let dev batches be scored."""
        _, lengths_B, targets = batch
        if stage == sb.Stage.VALID:
            self.watcher.evaluate_batch(predictions, lengths_B, targets)  # watched
        log_probs_TBC = predictions.log_softmax(-1).transpose(0, 1)
        counts = torch.tensor([len(target) for target in targets])
        return nn.functional.ctc_loss(log_probs_TBC, torch.cat(targets), lengths_B, counts)

    def on_fit_batch_end(self, batch: tuple, outputs: torch.Tensor, loss: torch.Tensor, should_step: bool) -> None:
        """Take in a step; its gradients are gone by now, so that their norms are not measured."""
        self.watcher.train_batch(loss, lengths=batch[1], targets=batch[2])  # watched
        if should_step:
            self.watcher.update()  # watched

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """End an epoch after its dev batches."""
        if stage == sb.Stage.VALID:
            self.watcher.end_epoch()  # watched


def collate(clips: list) -> tuple:
    """Pad features; targets stay a tensor a clip."""
    features, targets = zip(*clips, strict=True)
    return nn.utils.rnn.pad_sequence(features, True), torch.tensor([len(clip) for clip in features]), targets


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="runs/speechbrain")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--clips", type=int, default=None, help="training clips at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demo = build_demo(Path(folder))
        corpora = [open_corpus(demo.train), open_corpus(demo.dev)]
        alphabet = Alphabet.from_transcripts(map(corpora[0].transcript, range(len(corpora[0]))))
        clips = [
            [
                (torch.tensor(one.features(i)), torch.tensor(alphabet.encode(one.transcript(i), one.ids[i])))
                for i in range(min(len(one), options.clips or len(one)))
            ]
            for one in corpora
        ]
        features = corpora[0].feature_size
    torch.manual_seed(0)
    train, dev = [DataLoader(part, 16, shuffle=part is clips[0], collate_fn=collate) for part in clips]
    brain = Watched(
        modules={"model": Recogniser(features, len(alphabet))},
        opt_class=lambda parameters: torch.optim.Adam(parameters, 1e-2),
        run_opts={"device": "cpu", "noprogressbar": True},
    )
    with ctckit.watch(
        options.out, tokens=alphabet.tokens, batch_first=True, model=brain.modules.model, epochs=options.epochs
    ) as watcher:
        brain.watcher = watcher
        brain.fit(range(1, options.epochs + 1), train, dev)


if __name__ == "__main__":
    main()
