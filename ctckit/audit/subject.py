"""What is audited: the corpora of a training to come, and the model and schedules for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ctckit.assemble import Assembled
from ctckit.components import Components, build_model
from ctckit.config import Config
from ctckit.data import Alphabet, Corpus, FeaturePipeline
from ctckit.engine.run import ActivePhase
from ctckit.interfaces import Model
from ctckit.registry import Registry
from ctckit.types import Progress


@dataclass(frozen=True, slots=True)
class Subject:
    """What is audited.

    Attributes:
        corpora: by name; ``train`` first, ``dev`` and ``test`` as far as there are.
        alphabet: of the model.
        model: as it would be trained.
        pipeline: from stored features to the model's input, not necessarily fitted.
        infeasible: ``error`` or ``drop``, what training does with clips without a path.
        learning_rates: that the schedules plan, one an epoch.
    """

    corpora: Mapping[str, Corpus]
    alphabet: Alphabet
    model: Model
    pipeline: FeaturePipeline
    infeasible: str
    learning_rates: Sequence[float]


def audit_subject(
    config: Config, registry: Registry, components: Components, corpora: Mapping[str, Corpus]
) -> Subject:
    """Put together what the audit looks at, without what training would refuse.

    Args:
        config: of the training to come.
        registry: filled by the plugins.
        components: of the configuration.
        corpora: by name; ``train`` first.
    """
    train = corpora["train"]
    alphabet = train.alphabet() or Alphabet.from_transcripts(train.transcript(index) for index in range(len(train)))
    pipeline = FeaturePipeline(train.feature_size, deltas=config.data.deltas, normalize=config.data.normalize)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config, registry, pipeline.output_size, len(alphabet))
    return Subject(
        corpora=corpora,
        alphabet=alphabet,
        model=model,
        pipeline=pipeline,
        infeasible=config.data.infeasible,
        learning_rates=planned_learning_rates(components.phases),
    )


def assembled_subject(assembled: Assembled) -> Subject:
    """Put together what the audit looks at from a run that is ready to train."""
    run = assembled.run
    return Subject(
        corpora=assembled.corpora,
        alphabet=assembled.alphabet,
        model=run.model,
        pipeline=assembled.pipeline,
        infeasible=run.config.data.infeasible,
        learning_rates=planned_learning_rates(run.phases),
    )


def planned_learning_rates(phases: Mapping[str, ActivePhase]) -> tuple[float, ...]:
    """Return the largest learning rate of every epoch, of its start and its end, as far as no metric changes it."""
    total = sum(phase.settings.epochs for phase in phases.values())
    rates: list[float] = []
    for name, phase in phases.items():
        for epoch in range(1, phase.settings.epochs + 1):
            at = (
                Progress(len(rates) + 1, name, epoch, phase.settings.epochs, total, batch=batch, batches=1)
                for batch in (0, 1)
            )
            rates.append(max(phase.schedule.learning_rate(moment) for moment in at))
    return tuple(rates)
