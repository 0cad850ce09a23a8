"""A scripted training run that the checks play to a component, and epochs for an author's own tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ctckit.engine.step import without_gradient
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule
from ctckit.loss import Objective, with_losses
from ctckit.types import Auxiliary, Batch, Emissions, EpochResult, Hypothesis, Progress, Scores, StepResult

PHASES: Mapping[str, int] = {"warmup": 2, "main": 8, "end": 2}
BATCHES = 3
REFERENCE_TOKENS = 100
FRAMES = 1000
PLATEAU_LOSS = 4.0

Watching = Schedule | Penalty | Regularizer | Monitor


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens in a run: exactly one of the fields after ``at`` tells what.

    Attributes:
        at: when.
        enters: a phase begins.
        step: a step was taken.
        epoch: an epoch was judged.
    """

    at: Progress
    enters: bool = False
    step: StepResult | None = None
    epoch: EpochResult | None = None


def make_step(*, views: int = 1, seed: int = 0, classes: int = 5) -> tuple[Emissions, Batch]:
    """Return what a model with a ``frame_head`` emits for two clips of 7 and 5 frames, with losses, and the batch.

    Args:
        views: how often the batch holds each clip; every view is emitted differently.
        seed: of the logits.
        classes: with blank, at least 3.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths_B = torch.tensor([7, 5]).repeat(views)

    def drawn() -> Tensor:
        return torch.randn(7, 2 * views, classes, generator=generator).mul_(2.0).requires_grad_()

    main_TBC, frame_TBC = drawn(), drawn()
    batch = Batch(
        clip_ids=("clip-1", "clip-2") * views,
        features_BTF=torch.zeros(2 * views, 7, 1),
        lengths_B=lengths_B,
        targets_BS=torch.tensor([[1, 2, 2], [2, -1, -1]]).repeat(views, 1),
        target_lengths_B=torch.tensor([3, 1]).repeat(views),
    )
    emissions = Emissions(main_TBC, lengths_B, (Auxiliary("frame_head", frame_TBC, lengths_B, 1.0),))
    return with_losses(emissions, batch, Objective()), batch


def term_of(component: Regularizer, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
    """Return the term for emissions whose logits were changed since their losses were computed."""
    return component.term(with_losses(emissions, batch, Objective()), batch, at)


def make_progress(
    epoch: int = 1,
    *,
    batch: int = 0,
    batches: int = 10,
    epochs: int = 20,
    phase: str = "main",
) -> Progress:
    """Return a point in a run of one phase.

    Args:
        epoch: the epoch under way, from 1.
        batch: batches done in it.
        batches: batches that it has.
        epochs: epochs of the phase and of the run.
        phase: its name.
    """
    update = (epoch - 1) * batches + batch
    return Progress(epoch, phase, epoch, epochs, epochs, batch, batches, update, update * 100)


def make_epoch(
    epoch: int = 1,
    *,
    epochs: int = 20,
    phase: str = "main",
    train: Mapping[str, Any] | None = None,
    val: Mapping[str, Any] | None = None,
    **fields: Any,
) -> EpochResult:
    """Return a finished, unremarkable epoch in which some figures are set.

    Args:
        epoch: its number, from 1.
        epochs: epochs of the phase and of the run.
        phase: name of the phase.
        train: fields of its training ``Scores`` to set, as in ``{"loss": 0.5}``.
        val: the same for dev.
        **fields: fields of ``EpochResult`` to set.
    """
    scores = _scores(loss=2.0, deletions=30, emitted=72, blanks=880)
    result = EpochResult(
        # as many updates as rules need that count epochs
        at=make_progress(epoch, batch=100, batches=100, epochs=epochs, phase=phase),
        train_loss=1.9,
        train=replace(scores, **{"loss": 1.8, **(train or {})}),
        val=replace(scores, **(val or {})),
        auxiliary_losses={"frame_head": 2.5},
        plateau_loss=PLATEAU_LOSS,
        gradient_norm=1.5,
        learning_rate=1e-3,
        shift=-1.0,
        domain="logit",
        dropout=0.1,
        max_frames=None,
        cropped=0,
        seconds=1.0,
        samples=(Hypothesis("clip-1", ("a", "b"), ("a",), (0,), (2,), (-0.1,), 0, 1, 0),),
    )
    return replace(result, **fields)


def script() -> tuple[Event, ...]:
    """Write the run: stuck and all blank, then learning, overfitting, one odd epoch, and an ordinary end."""
    return tuple(_events())


def play(component: Watching, events: Sequence[Event]) -> list[str]:
    """Let a component live through events as the engine would; return what it answered, as text."""
    model = BlankBiasModel()
    answers = []
    for event in events:
        if isinstance(component, Monitor):
            if event.epoch is not None:
                answers.append(repr(list(component.observe(event.epoch))))
            continue
        if event.enters and isinstance(component, Penalty):
            component.prepare(model)
            answers.append(f"bias {model.bias.item()!r}")
        if event.step is not None:
            if isinstance(component, Penalty):
                answers.append(repr((component.shift(event.at), component.class_shifts(event.at))))
                component.observe_step(event.step)
                component.observe_emissions(without_gradient(make_step(seed=event.at.update)[0]))
            elif isinstance(component, Regularizer):
                emissions, batch = make_step(views=component.views, seed=event.at.update)
                answers.append(repr(component.term(emissions, batch, event.at).item()))
            else:
                answers.append(repr(component.learning_rate(event.at)))
        if event.epoch is not None:
            component.observe(event.epoch)
    return answers


class BlankBiasModel(Model):
    """The smallest model that has a bias of the blank, for penalties that prepare one."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        """Emit the bias as the blank's logit."""
        logits_TBC = features_BTF.transpose(0, 1).clone()
        logits_TBC[..., 0] = self.bias
        return Emissions(logits_TBC, lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Return the lengths as they are."""
        return lengths_B

    def blank_bias(self) -> Tensor:
        """Return the bias."""
        return self.bias


def _events() -> Iterator[Event]:
    total = sum(PHASES.values())
    epoch = update = 0
    for phase, epochs in PHASES.items():
        for phase_epoch in range(1, epochs + 1):
            epoch += 1
            at = Progress(epoch, phase, phase_epoch, epochs, total, 0, BATCHES, update, update * 100)
            if phase_epoch == 1:
                yield Event(at, enters=True)
            result = _epoch(epoch, at)
            for batch in range(BATCHES):
                at = replace(at, batch=batch, update=update, frames=update * 100)
                blank = max(0.05, 1.0 - 0.07 * epoch + 0.01 * batch)
                yield Event(at, step=StepResult(at, result.train_loss + 0.1 * batch, blank, 1.0 + batch))
                update += 1
            done = replace(at, batch=BATCHES, update=update, frames=update * 100)
            yield Event(done, epoch=replace(result, at=done))


def _epoch(epoch: int, at: Progress) -> EpochResult:
    plain = make_epoch()
    if epoch <= 3:  # on the unigram plateau, nothing emitted
        scores = _scores(loss=PLATEAU_LOSS, deletions=REFERENCE_TOKENS, emitted=0, blanks=FRAMES)
        return replace(plain, at=at, train=scores, val=scores, train_loss=PLATEAU_LOSS, samples=())
    if epoch <= 6:  # learning
        loss = 3.0 - 0.4 * (epoch - 3)
        scores = _scores(loss=loss, deletions=80 - 10 * epoch, emitted=20 + 10 * epoch, blanks=950 - 10 * epoch)
        return replace(plain, at=at, train=scores, val=scores, train_loss=loss, shift=-0.5)
    if epoch <= 10:  # overfitting: dev gets worse while training goes on
        train = _scores(loss=0.9 / (epoch - 5), deletions=2, emitted=98, blanks=850)
        val = _scores(loss=2.0 + 0.2 * (epoch - 6), deletions=30, emitted=130, blanks=700, insertions=50)
        return replace(plain, at=at, train=train, val=val, train_loss=0.1, dropout=None, max_frames=300)
    if epoch == 11:  # odd: no dev clip has a path, nothing is sampled, no head, no gradient
        val = replace(_scores(loss=math.inf, deletions=100, emitted=0, blanks=FRAMES), infeasible=10)
        return replace(plain, at=at, val=val, auxiliary_losses={}, gradient_norm=0.0, samples=(), shift=0.0)
    return replace(plain, at=at)


def _scores(*, loss: float, deletions: int, emitted: int, blanks: int, insertions: int = 0) -> Scores:
    return Scores(
        loss=loss,
        substitutions=0,
        deletions=deletions,
        insertions=insertions,
        reference_tokens=REFERENCE_TOKENS,
        hypothesis_tokens=emitted,
        utterances=10,
        wrong_utterances=10 if deletions else 0,
        empty_hypotheses=0 if emitted else 10,
        frames=FRAMES,
        blank_frames=blanks,
        raw_blank_frames=min(blanks + 20, FRAMES),
        blank_mass=blanks / FRAMES,
        unique_nonblank=min(emitted, 12),
        covered_labels=min(emitted, 10),
        reference_labels=12,
    )
