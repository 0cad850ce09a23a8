"""Figures from somebody's own logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ctckit
from ctckit.data import open_corpus
from ctckit.scoring import blank_first


def logits_of(path: list[int], classes: int) -> torch.Tensor:
    return 9.0 * torch.nn.functional.one_hot(torch.tensor(path), classes).float()


def test_figures_can_be_counted_by_hand() -> None:
    logits_TBC = torch.stack([logits_of([1, 1, 0, 2, 0, 0], 4), logits_of([0, 3, 0, 0, 0, 1], 4)], 1)
    scores = ctckit.measure(logits_TBC, [6, 5], [[1, 2], [3, 1]])
    assert (scores.deletions, scores.substitutions, scores.insertions) == (1, 0, 0)
    assert scores.wer == 25
    assert scores.frames == 11
    assert scores.blank_ratio == pytest.approx(100 * 7 / 11)
    assert scores.length_ratio == pytest.approx(3 / 4)
    assert scores.label_coverage == pytest.approx(100)
    assert scores.utterances == 2
    wanted = torch.nn.functional.ctc_loss(
        logits_TBC.log_softmax(-1), torch.tensor([[1, 2], [3, 1]]), [6, 5], [2, 2], reduction="sum"
    )
    assert scores.loss == pytest.approx(float(wanted) / 4, rel=1e-5)


@pytest.mark.parametrize("blank", [0, 1, 4])
@pytest.mark.parametrize("batch_first", [False, True])
def test_blank_may_be_anywhere_and_the_batch_first(blank: int, batch_first: bool) -> None:
    logits_TBC = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(blank))
    labels = [label for label in range(5) if label != blank]
    targets = [labels[:2], labels[1:], [labels[0]] * 3]
    moved = torch.cat([logits_TBC[..., [blank]], logits_TBC[..., labels]], -1)
    wanted = ctckit.measure(moved, [20, 15, 9], [[labels.index(one) + 1 for one in target] for target in targets])
    given = logits_TBC.transpose(0, 1) if batch_first else logits_TBC
    lengths = torch.tensor([20, 15, 9])
    assert ctckit.measure(given, lengths, targets, blank=blank, batch_first=batch_first) == wanted
    assert torch.equal(blank_first(logits_TBC, blank), moved)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": [[1]]}, "do not fit"),
        ({"lengths": [4]}, "do not fit"),
        ({"targets": [[1], [0]]}, "target 0 is the blank"),
        ({"targets": [[1], [7]]}, "target 7 is none of 3 classes"),
        ({"blank": 3}, "blank 3 is none of the 3 classes"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict, said: str) -> None:
    arguments = {"lengths": [4, 4], "targets": [[1], [2]], **changes}
    with pytest.raises(ValueError, match=said):
        ctckit.measure(torch.zeros(4, 2, 3), **arguments)


def test_a_loop_of_ones_own_sees_what_training_sees(tiny) -> None:
    """The plateau and the figures, by public names alone."""
    corpus = open_corpus(Path(tiny.dev))
    labels = sorted({token for index in range(len(corpus)) for token in corpus.transcript(index)})
    targets = [[labels.index(token) + 1 for token in corpus.transcript(index)] for index in range(len(corpus))]
    frames = corpus.frame_counts.tolist()
    plateau = ctckit.unigram_plateau(frames, targets, len(labels) + 1)
    logits = torch.zeros(max(frames), len(frames), len(labels) + 1)
    logits[..., 0] = 4
    scores = ctckit.measure(logits, frames, targets)
    assert scores.loss > plateau > 0
    assert scores.wer == 100
    assert scores.blank_ratio == 100
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(target) for target in targets], batch_first=True)
    lengths = torch.tensor(frames), torch.tensor([len(target) for target in targets])
    assert bool(ctckit.feasible(padded, *lengths).all())
    assert np.array_equal(ctckit.greedy(logits, lengths[0]).counts_B, np.zeros(len(frames)))
    assert (ctckit.align(logits, padded, lengths[0], lengths[1]).starts_BS[:, 0] >= 0).all()
