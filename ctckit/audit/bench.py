"""What the probes work on: clips chosen and read, and the model where the first phase begins with it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ctckit.audit import probe_clips, probe_verdicts, probes
from ctckit.audit.initial_loss import FIT_CLIPS
from ctckit.audit.subject import Subject
from ctckit.components import build_components
from ctckit.config import Config
from ctckit.data import BatchPlan, Loader, encode_targets
from ctckit.engine.run import ActivePhase
from ctckit.engine.threads import fastest_threads
from ctckit.errors import DataError
from ctckit.interfaces import Model
from ctckit.plateau import unigram_plateau
from ctckit.registry import Registry
from ctckit.types import Batch, Finding

PROBE_BYTES = 256 << 20
"""Features that the probes hold of each corpus at most, so that a corpus of long clips gives fewer of them."""


def probe(
    config: Config,
    registry: Registry,
    subject: Subject,
    device: torch.device,
    *,
    threads: int | None,
    seconds: float,
    progress: Callable[[str], None],
) -> tuple[Finding, ...]:
    """Run the probes on what the audit looks at: short trainings of the model as the first phase begins with it.

    Args:
        config: of the training to come.
        registry: filled by the plugins.
        subject: of `audit_subject`; its pipeline is fitted if it is not yet.
        device: to train on.
        threads: of the CPU; None measures which number is fastest. torch's own number is restored.
        seconds: that all probes may take together; what one leaves goes to the next.
        progress: told the name of the probe that begins.

    Raises:
        ConfigError, PluginError: as in training.
    """
    progress("reading clips")
    try:
        bench = _bench(config, registry, subject, device)
    except DataError as error:
        return tuple(probe_verdicts.skipped(probes.PROBES, str(error)))
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        elif device.type == "cpu" and before > 1:
            fastest_threads(bench.model, bench.one)
        return tuple(_probed(bench, subject, seconds, progress))
    finally:
        torch.set_num_threads(before)


def _probed(
    bench: probes.Bench, subject: Subject, seconds: float, progress: Callable[[str], None]
) -> Iterator[Finding]:
    until = time.monotonic() + seconds
    progress("learning_rate_range")
    rates = probes.learning_rate_range(bench, seconds / 3)
    yield from probe_verdicts.judge_rate_range(rates, subject.learning_rates)
    rate = probe_verdicts.probe_rate(rates)
    progress("overfit_one_batch")
    yield from probe_verdicts.judge_overfit(probes.overfit_one_batch(bench, rate, (until - time.monotonic()) / 2))
    progress("permuted_labels")
    if bench.unseen:
        found = probes.permuted_labels(bench, rate, until - time.monotonic())
        yield from probe_verdicts.judge_permuted_labels(found)
    width = subject.corpora["train"].feature_size
    for name, corpus in subject.corpora.items():
        if name != "test" and name not in bench.unseen:
            why = f"{name} has too few clips to compare: equally long, with transcripts of known labels that differ"
            if corpus.feature_size != width:
                why = f"features of {name} are {corpus.feature_size} wide, those of train {width}"
            yield from probe_verdicts.skipped(["permuted_labels"], why)


@dataclass(frozen=True, slots=True)
class _Clips:
    """Clips of the corpora that are probed, by corpus and number."""

    config: Config
    subject: Subject
    device: torch.device
    lengths: Mapping[str, probe_clips.Lengths]

    def batch(self, name: str, indices: probe_clips.Indices) -> Batch:
        """Read clips as one batch."""
        corpus = self.subject.corpora[name]
        plan = BatchPlan(
            corpus.frame_counts[indices],
            batch_size=len(indices),
            max_batch_frames=None,
            shuffle=False,
            seed=self.config.seed,
        )
        targets = self.lengths[name].targets
        loader = Loader(corpus, targets, self.subject.pipeline, plan, indices=indices, cache_mb=0)
        read = next(loader.epoch(0)).to(self.device)
        loader.close()
        return read

    def batches(self, name: str, indices: probe_clips.Indices) -> tuple[Batch, ...]:
        """Read clips in batches of the training to come."""
        frames = self.subject.corpora[name].frame_counts
        cut = probe_clips.batches_of(indices, frames, self.config.batch_size, self.config.max_batch_frames)
        return tuple(self.batch(name, chosen) for chosen in cut)

    def plateau(self, indices: probe_clips.Indices) -> float:
        """Return the unigram plateau of training clips."""
        train = self.lengths["train"]
        labels = [train.targets[index].tolist() for index in indices.tolist()]
        return unigram_plateau(train.output_frames[indices].tolist(), labels, len(self.subject.alphabet))


def _bench(config: Config, registry: Registry, subject: Subject, device: torch.device) -> probes.Bench:
    """Choose clips and read them, and bring the model to where the first phase begins.

    Raises:
        DataError: there is nothing to train on.
    """
    train = subject.corpora["train"]
    lengths = _lengths(subject)
    one = probe_clips.one_batch(lengths["train"])
    if len(one) < 2:
        raise DataError(f"{train.path}: fewer than two clips with labels of their own have a CTC path")
    if not subject.pipeline.fitted:
        subject.pipeline.fit(train, FIT_CLIPS)
    known, unseen = _chosen(subject, lengths)
    clips = _Clips(config, subject, device, lengths)
    model, phase = _model_at_start(config, registry, subject)
    return probes.Bench(
        model=model.to(device),
        one=clips.batch("train", one),
        one_plateau=clips.plateau(one),
        known=clips.batches("train", known),
        known_plateau=clips.plateau(known),
        unseen={name: clips.batches(name, chosen) for name, chosen in unseen.items()},
        weight_decay=phase.settings.weight_decay,
        gradient_clip=config.gradient_clip,
        seed=config.seed,
    )


def _lengths(subject: Subject) -> dict[str, probe_clips.Lengths]:
    """Return frames and targets of the corpora that can be probed: all but test, of the width of train."""
    return {
        name: probe_clips.Lengths(
            corpus.frame_counts,
            subject.model.output_lengths(torch.from_numpy(corpus.frame_counts)).numpy(),
            encode_targets(corpus, subject.alphabet, leave_out_unknown=True),
        )
        for name, corpus in subject.corpora.items()
        if name != "test" and corpus.feature_size == subject.corpora["train"].feature_size
    }


def _chosen(
    subject: Subject, lengths: Mapping[str, probe_clips.Lengths]
) -> tuple[probe_clips.Indices, dict[str, probe_clips.Indices]]:
    """Choose the clips to train on, and those of each corpus to compare on, where there are enough."""
    train = lengths["train"]
    median = int(np.median(subject.corpora["train"].frame_counts))
    most = max(PROBE_BYTES // (4 * subject.pipeline.output_size * median), 2)
    known = probe_clips.known_clips(train, most)
    vocabulary = frozenset(np.concatenate([train.targets[index] for index in known.tolist()]).tolist())
    pairs = {
        name: probe_clips.pairs(found, known if name == "train" else known[:0], vocabulary, most)
        for name, found in lengths.items()
    }
    return known, {name: chosen for name, chosen in pairs.items() if len(chosen) >= 2 * probe_clips.FEWEST_PAIRS}


def _model_at_start(config: Config, registry: Registry, subject: Subject) -> tuple[Model, ActivePhase]:
    """Return a copy of the model as the first phase begins with it, and that phase."""
    name, phase = next(iter(build_components(config, registry).phases.items()))
    model = copy.deepcopy(subject.model)
    stage = config.stage_of(name)
    if stage is not None:
        model.set_stage(stage)
    if phase.penalty is not None:
        phase.penalty.prepare(model)
    return model, phase
