"""A plain PyTorch loop with nn.LSTM and nn.CTCLoss, and the lines that watch it.

python examples/own_loop.py                              # trains on the embedded digits
python examples/own_loop.py train.h5 dev.h5 --epochs 20  # on any corpus that `ctckit data validate` accepts
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

import ctckit
from ctckit.data import Alphabet, build_demo, open_corpus


class Recogniser(nn.Module):
    """Two bidirectional layers and a linear one."""

    def __init__(self, features: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, features_BTF: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return logits, [T, B, C]."""
        packed = pack_padded_sequence(features_BTF, lengths_B, batch_first=True, enforce_sorted=False)
        hidden_TBH, _ = pad_packed_sequence(self.lstm(packed)[0])
        return self.head(hidden_TBH)


def collate(clips: list) -> tuple:
    """Pad features and targets."""
    features, targets = zip(*clips, strict=True)
    lengths_B = torch.tensor([len(clip) for clip in features])
    target_lengths_B = torch.tensor([len(target) for target in targets])
    return pad_sequence(features, batch_first=True), lengths_B, pad_sequence(targets, True), target_lengths_B


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", nargs="*", type=Path, metavar="TRAIN.h5 DEV.h5")
    parser.add_argument("--out", default="runs/own_loop")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--clips", type=int, default=None, help="training clips at most")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.corpora:
            demo = build_demo(Path(folder))
            options.corpora = [demo.train, demo.dev]
        train, dev = map(open_corpus, options.corpora)
        alphabet = train.alphabet() or Alphabet.from_transcripts(map(train.transcript, range(len(train))))

        def known(tokens: tuple) -> list:  # what training never sees has no class to be scored by
            return [token for token in tokens if token in alphabet]

        clips = [
            [
                (torch.tensor(one.features(i)), torch.tensor(alphabet.encode(known(one.transcript(i)), one.ids[i])))
                for i in range(min(len(one), options.clips or len(one)))
            ]
            for one in (train, dev)
        ]
    torch.manual_seed(0)
    loaders = [DataLoader(part, 16, shuffle=part is clips[0], collate_fn=collate) for part in clips]
    model = Recogniser(train.feature_size, len(alphabet), options.hidden)
    optimizer = torch.optim.Adam(model.parameters(), options.lr)
    ctc = nn.CTCLoss()

    watcher = ctckit.watch(
        options.out, tokens=alphabet.tokens, model=model, optimizer=optimizer, epochs=options.epochs
    )
    with watcher:
        for _ in range(options.epochs):
            model.train()
            for features_BTF, lengths_B, targets_BS, target_lengths_B in loaders[0]:
                log_probs_TBC = model(features_BTF, lengths_B).log_softmax(-1)
                loss = ctc(log_probs_TBC, targets_BS, lengths_B, target_lengths_B)
                optimizer.zero_grad()
                loss.backward()
                watcher.train_step(loss, lengths=lengths_B, targets=targets_BS)
                optimizer.step()
            model.eval()
            for features_BTF, lengths_B, targets_BS, _ in loaders[1]:
                with torch.no_grad():
                    watcher.evaluate_batch(model(features_BTF, lengths_B), lengths_B, targets_BS)
            watcher.end_epoch()


if __name__ == "__main__":
    main()
