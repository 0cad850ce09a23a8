"""The loss that the model itself starts with, beside what a start should cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ctckit import ops
from ctckit.data import Alphabet, Corpus, FeaturePipeline, encode_targets
from ctckit.errors import DataError
from ctckit.interfaces import Model
from ctckit.plateau import uniform_loss, unigram_plateau
from ctckit.types import PLATEAU_MARGIN, TARGET_PADDING, Finding, Severity

CLIPS: Final = 8

FIT_CLIPS: Final = 512
"""Clips from which normalisation is estimated for the audit; training takes them all."""

EXCESS: Final = 0.5
"""Nats per output frame above uniform output from which logits are no longer those of a start. Independent logits
of deviation s cost about s^2 / 2 a frame, so that this is a deviation of 1."""


def check_initial_loss(
    corpus: Corpus, alphabet: Alphabet, model: Model, pipeline: FeaturePipeline
) -> Iterator[Finding]:
    """Run the freshly built model forward once, on a few clips evenly spaced over the lengths.

    As training does at its first step, without dropout. Uniform output costs ``T log C`` less the log of the number
    of paths; a bias that prefers the blank brings a start down towards the unigram
    plateau, which nothing that ignores its input gets below. Clips that cannot be read are left to the check of
    features.

    Args:
        corpus: to train on.
        alphabet: of the model.
        model: freshly built; not changed, nor is the random state.
        pipeline: fitted here, from a part of the corpus, if it is not yet.
    """
    targets = encode_targets(corpus, alphabet)
    out = model.output_lengths(torch.from_numpy(corpus.frame_counts)).numpy()
    usable = np.flatnonzero((targets.lengths > 0) & (targets.needed_frames <= out))
    if not len(usable):
        return
    usable = usable[np.argsort(corpus.frame_counts[usable], kind="stable")]
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, CLIPS).round().astype(np.int64))].tolist()
    try:
        if not pipeline.fitted:
            pipeline.fit(corpus, FIT_CLIPS)
        features = [torch.from_numpy(pipeline(corpus.features(index))) for index in chosen]
    except DataError:
        return
    finally:
        corpus.close()
    labels = [torch.from_numpy(targets[index]) for index in chosen]
    loss, frames = _loss(model, features, labels)
    tokens = sum(map(len, labels))
    listed = [label.tolist() for label in labels]
    uniform = uniform_loss(out[chosen].tolist(), listed, len(alphabet))
    plateau = unigram_plateau(out[chosen].tolist(), listed, len(alphabet))
    excess = (loss - uniform) * tokens / frames
    severity: Severity = "info"
    advice = ""
    if not loss < uniform + EXCESS * frames / tokens:  # a loss that is not a number belongs here too
        severity = "warning"
        advice = (
            "are features or the first weights out of scale? see data.normalize, and the model's initialisation"
        )
    elif loss < (1.0 - PLATEAU_MARGIN) * plateau:
        severity = "warning"
        advice = "nothing that knows no input gets below the plateau: is the model trained already?"
    yield Finding(
        "untrained_loss",
        severity,
        f"the untrained model costs {loss:.1f} nats per token on {len(chosen)} clips; uniform output costs "
        f"{uniform:.1f} there, their plateau is {plateau:.2f}",
        {
            "loss": loss,
            "uniform_loss": uniform,
            "plateau_loss": plateau,
            "excess_per_frame": excess,
            "clips": len(chosen),
        },
        advice,
        "docs/founding-document.md C2, C5 (loss at the start)",
    )


def _loss(model: Model, features: list[Tensor], labels: list[Tensor]) -> tuple[float, int]:
    """Return nats per token of the main head, and the output frames that they come from."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    features_BTF = pad_sequence(features, batch_first=True)
    lengths_B = torch.tensor([len(clip) for clip in features])
    targets_BS = pad_sequence(labels, batch_first=True, padding_value=TARGET_PADDING)
    target_lengths_B = torch.tensor([len(label) for label in labels])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        fresh = copy.deepcopy(model).train()
        fresh.set_dropout(0.0)
        emissions = fresh(features_BTF.to(device), lengths_B.to(device))
        logits_TBC = emissions.logits_TBC.detach().cpu()
    try:
        losses_B = ops.ctc_loss(logits_TBC, targets_BS, emissions.lengths_B.cpu(), target_lengths_B)
    except ValueError:  # logits that are not numbers
        return math.nan, int(emissions.lengths_B.sum())
    return float(losses_B.double().sum() / target_lengths_B.sum()), int(emissions.lengths_B.sum())
