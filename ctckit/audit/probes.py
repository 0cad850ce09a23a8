"""Short trainings that ask one question each, before the long one: the measuring side of ``audit --probe``.

Every probe trains a copy of the model, for a bounded number of steps and seconds, without dropout and with plain
CTC on every head that the model has: it is model, features and labels that are asked, not the recipe's penalties.
The seed and the number of threads decide the outcome, unless time runs out. torch's random state is left as it was.
What the figures mean is judged in ``ctckit/audit/probe_verdicts.py``.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from ctckit import ops
from ctckit.audit.probe_records import OverfitBatch, PairingContrast, PermutedLabels, RateRange
from ctckit.edits import edit_counts
from ctckit.engine.step import train_step
from ctckit.errors import TrainingError
from ctckit.interfaces import Model
from ctckit.loss import Objective, naming_diverged
from ctckit.types import Batch, Emissions

PROBES: Final = ("learning_rate_range", "overfit_one_batch", "permuted_labels")
"""In the order in which they are run."""

FIRST_RATE: Final = 1e-5
LAST_RATE: Final = 10.0
RANGE_STEPS: Final = 90
"""15 a decade: with fewer the loss lags behind the rate, and the range comes out too high."""

DIVERGED_STEPS: Final = 3
"""Steps in a row above the limit that count as divergence; a single one is a jump."""

OVERFIT_STEPS: Final = 300
OVERFIT_LOOK: Final = 10
OVERFIT_LOSS: Final = 0.15
"""Share of the batch's plateau at which, without a token error, it counts as learnt by heart."""

PAIRING_STEPS: Final = 800
PAIRING_LOOK: Final = 50
RELATED: Final = 3.5
"""Standard errors from which a contrast is no chance: 16 looks at permuted labels exceed it once in 250 times."""

TELLING: Final = 0.02
"""Share of the plateau that a contrast must have too: clips of a pair differ by a frame or so, and the length alone
gives a contrast that is sure and tiny."""

MEMORISED: Final = 0.75
"""Share of the plateau below which a network has learnt something about the clips that it was trained on."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the probes work on.

    Attributes:
        model: as the run would start with it; never changed.
        one: the batch to be learnt by heart: distinct transcripts, each with a path in each clip.
        one_plateau: unigram plateau of it, nats per token.
        known: batches to train on.
        known_plateau: unigram plateau of them.
        unseen: by corpus, batches in which clips 2k and 2k + 1 are a pair, each with a path for both transcripts.
        weight_decay: of AdamW.
        gradient_clip: largest L2 norm of the gradient.
        seed: of the order of batches and frames, and of whatever the model draws.
    """

    model: Model
    one: Batch
    one_plateau: float
    known: tuple[Batch, ...]
    known_plateau: float
    unseen: Mapping[str, tuple[Batch, ...]]
    weight_decay: float
    gradient_clip: float
    seed: int


def learning_rate_range(bench: Bench, seconds: float) -> RateRange:
    """Train on one batch while the learning rate grows exponentially, until the loss goes up for good.

    The range test of Smith (arXiv 1506.01186, section 3.3), on one fixed batch so that no difference between
    batches is taken for progress. The steepest descent of CTC is that from near-uniform output to the plateau.
    The loss has diverged where it exceeds its minimum by a whole plateau: by all that there is to learn.
    """
    began = time.monotonic()
    growth = (LAST_RATE / FIRST_RATE) ** (1.0 / (RANGE_STEPS - 1))
    rates: list[float] = []
    losses: list[float] = []
    diverged = None
    complete = True
    with _trainee(bench) as (model, optimizer):
        for step in range(RANGE_STEPS):
            if time.monotonic() - began > seconds:
                complete = False
                break
            rates.append(FIRST_RATE * growth**step)
            try:
                losses.append(_step(bench, model, optimizer, bench.one, rates[-1]))
            except TrainingError:
                diverged = rates[-1]
                break
            limit = min(losses) + bench.one_plateau
            if len(losses) > DIVERGED_STEPS and min(losses[-DIVERGED_STEPS:]) > limit:
                diverged = rates[-DIVERGED_STEPS]
                break
    return RateRange(
        losses=tuple(losses),
        lowest=min(losses, default=math.inf),
        steepest=_steepest(rates, losses, bench.one_plateau),
        diverged=diverged,
        largest=rates[-1] if rates else 0.0,
        complete=complete,
        seconds=time.monotonic() - began,
    )


def overfit_one_batch(bench: Bench, rate: float, seconds: float) -> OverfitBatch:
    """Train on one batch until it is known by heart, then give the network wrong inputs.

    The wrong inputs are the same clips with features exchanged in a ring, and with frames in random order.
    """
    began = time.monotonic()
    batch, plateau = bench.one, bench.one_plateau
    steps = 0
    failure = ""
    complete = True
    generator = torch.Generator().manual_seed(bench.seed)
    with _trainee(bench) as (model, optimizer):
        start = loss = errors = exchanged = reordered = math.nan
        try:
            start = loss = _mean_loss(model, batch)
            errors = _token_error_rate(model, batch)
            while steps < OVERFIT_STEPS and not (loss <= OVERFIT_LOSS * plateau and errors == 0.0):
                if time.monotonic() - began > seconds:
                    complete = False
                    break
                for _ in range(OVERFIT_LOOK):
                    _step(bench, model, optimizer, batch, rate)
                    steps += 1
                loss = _mean_loss(model, batch)
                errors = _token_error_rate(model, batch)
            exchanged = _mean_loss(model, _exchanged(batch))
            reordered = _mean_loss(model, _reordered(batch, generator))
        except TrainingError as error:
            failure = str(error)
    return OverfitBatch(
        clips=len(batch.clip_ids),
        rate=rate,
        steps=steps,
        start_loss=start,
        loss=loss,
        plateau_loss=plateau,
        token_error_rate=errors,
        exchanged_loss=exchanged,
        reordered_loss=reordered,
        failure=failure,
        complete=complete,
        seconds=time.monotonic() - began,
    )


def permuted_labels(bench: Bench, rate: float, seconds: float) -> PermutedLabels:
    """Train on some clips and compare, on others, their own transcripts with permuted ones.

    Unseen clips i and j of equal length give ``L(x_i, y_j) + L(x_j, y_i) - L(x_i, y_i) - L(x_j, y_j)``. What a
    transcript costs by itself cancels, so that it is 0 for a network that ignores its input and, over many
    pairs, for one that learnt labels that have nothing to do with the features. It is the comparison with a
    training on permuted labels, for the price of one training, and each clip is its own control.

    Ends as soon as every corpus shows a contrast, or the clips trained on are learnt and none has come.
    """
    began = time.monotonic()
    steps = 0
    failure = ""
    complete = True
    generator = torch.Generator().manual_seed(bench.seed)
    unseen: dict[str, PairingContrast] = {}
    with _trainee(bench) as (model, optimizer):
        loss = math.nan
        memorised = False
        try:
            for batch in _rounds(bench.known, generator):
                if steps % PAIRING_LOOK == 0 and steps:
                    least = TELLING * bench.known_plateau
                    unseen = {name: _contrast(model, batches, least) for name, batches in bench.unseen.items()}
                    loss = _mean_loss(model, *bench.known)
                    memorised = loss <= MEMORISED * bench.known_plateau
                    if memorised or steps >= PAIRING_STEPS or all(one.related for one in unseen.values()):
                        break
                if time.monotonic() - began > seconds:
                    complete = False
                    break
                _step(bench, model, optimizer, batch, rate)
                steps += 1
        except TrainingError as error:
            failure = str(error)
    return PermutedLabels(
        clips=sum(len(batch.clip_ids) for batch in bench.known),
        rate=rate,
        steps=steps,
        loss=loss,
        plateau_loss=bench.known_plateau,
        memorised=memorised,
        unseen=unseen,
        failure=failure,
        complete=complete,
        seconds=time.monotonic() - began,
    )


@contextmanager
def _trainee(bench: Bench) -> Iterator[tuple[Model, torch.optim.Optimizer]]:
    devices = [parameter.device for parameter in bench.model.parameters() if parameter.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(bench.seed)
        model = copy.deepcopy(bench.model).train()
        model.set_dropout(0.0)
        yield model, torch.optim.AdamW(model.parameters(), weight_decay=bench.weight_decay)


def _step(bench: Bench, model: Model, optimizer: torch.optim.Optimizer, batch: Batch, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    outcome = train_step(model, optimizer, batch, objective=Objective(), gradient_clip=bench.gradient_clip)
    return outcome.loss


@torch.no_grad()
def _emissions(model: Model, batch: Batch) -> Emissions:
    model.eval()
    emissions: Emissions = model(batch.features_BTF, batch.lengths_B)
    model.train()
    return emissions


@torch.no_grad()
def _losses(emissions: Emissions, batch: Batch, transcripts: Batch) -> Tensor:
    """Return the loss of each clip of ``batch`` with the transcript in its place in ``transcripts``, [B]."""
    logits_TBC, lengths_B = emissions.logits_TBC, emissions.lengths_B
    with naming_diverged("main", logits_TBC, lengths_B, batch):
        return ops.ctc_loss(logits_TBC, transcripts.targets_BS, lengths_B, transcripts.target_lengths_B).double()


def _mean_loss(model: Model, *batches: Batch) -> float:
    total = sum(float(_losses(_emissions(model, batch), batch, batch).sum()) for batch in batches)
    return total / sum(int(batch.target_lengths_B.sum()) for batch in batches)


def _contrast(model: Model, batches: Sequence[Batch], least: float) -> PairingContrast:
    differences = []
    tokens = 0
    for batch in batches:
        partner_B = torch.arange(len(batch.clip_ids), device=batch.lengths_B.device) ^ 1
        crossed = replace(
            batch, targets_BS=batch.targets_BS[partner_B], target_lengths_B=batch.target_lengths_B[partner_B]
        )
        emissions = _emissions(model, batch)
        excess_B = _losses(emissions, batch, crossed) - _losses(emissions, batch, batch)
        differences.append(excess_B.view(-1, 2).sum(1))
        tokens += int(batch.target_lengths_B.sum())
    difference_P = torch.cat(differences)
    error = float(difference_P.std()) / math.sqrt(len(difference_P))
    contrast = float(difference_P.sum()) / tokens
    deviations = float(difference_P.mean()) / error if error > 0.0 else 0.0
    return PairingContrast(
        pairs=len(difference_P),
        contrast=contrast,
        deviations=deviations,
        related=deviations >= RELATED and contrast >= least,
    )


def _token_error_rate(model: Model, batch: Batch) -> float:
    emissions = _emissions(model, batch)
    with naming_diverged("main", emissions.logits_TBC, emissions.lengths_B, batch):
        paths = ops.greedy(emissions.logits_TBC, emissions.lengths_B)
    errors = 0
    for target_S, tokens, path_S, count in zip(
        batch.targets_BS.tolist(),
        batch.target_lengths_B.tolist(),
        paths.tokens_BS.tolist(),
        paths.counts_B.tolist(),
        strict=True,
    ):
        errors += sum(edit_counts(list(map(str, target_S[:tokens])), list(map(str, path_S[:count]))))
    return 100.0 * errors / int(batch.target_lengths_B.sum())


def _exchanged(batch: Batch) -> Batch:
    return replace(batch, features_BTF=batch.features_BTF.roll(1, 0), lengths_B=batch.lengths_B.roll(1, 0))


def _reordered(batch: Batch, generator: torch.Generator) -> Batch:
    features_BTF = batch.features_BTF.clone()
    for row, frames in enumerate(batch.lengths_B.tolist()):
        order_T = torch.randperm(frames, generator=generator).to(features_BTF.device)
        features_BTF[row, :frames] = features_BTF[row, order_T]
    return replace(batch, features_BTF=features_BTF)


def _rounds(batches: Sequence[Batch], generator: torch.Generator) -> Iterator[Batch]:
    while True:
        for place in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[place]


def _steepest(rates: Sequence[float], losses: Sequence[float], plateau: float) -> float | None:
    """Rate in the middle of the steepest fall over five steps; None where that is next to nothing."""
    until = losses.index(min(losses)) + 1 if losses else 0  # what a diverged loss does is no progress
    falls = [losses[at] - losses[at + 4] for at in range(until - 4)]
    if not falls or max(falls) < 0.1 * plateau:
        return None
    return rates[falls.index(max(falls)) + 2]
