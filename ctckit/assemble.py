"""The composition root: from a configuration and plugins to a run, and from a checkpoint to a trained model."""

from __future__ import annotations

import copy
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctckit import config as configuration
from ctckit import ops
from ctckit.config import Config
from ctckit.data import (
    Alphabet,
    BatchPlan,
    Corpus,
    FeaturePipeline,
    Infeasible,
    Loader,
    Targets,
    encode_targets,
    open_corpus,
)
from ctckit.doctor import probe_checks, probe_clips
from ctckit.doctor.audit import Subject
from ctckit.doctor.feasibility import infeasible_clips
from ctckit.doctor.initial_loss import FIT_CLIPS
from ctckit.doctor.plateau import unigram_plateau
from ctckit.engine import probe as probing
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.clock import Clock
from ctckit.engine.evaluate import Judged, frequency_bands, to_device
from ctckit.engine.history import Findings, History
from ctckit.engine.run import ActivePhase, Run, load_weights
from ctckit.engine.threads import fastest_threads
from ctckit.errors import CheckpointError, ConfigError, DataError
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule
from ctckit.parameters import construct
from ctckit.plugin_host import PluginSource, load_plugins
from ctckit.recipe import Component
from ctckit.registry import Names, Registry
from ctckit.types import Batch, Finding, Progress

PROBE_BYTES = 256 << 20
"""Features that the probes hold of each corpus at most, so that a corpus of long clips gives fewer of them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A corpus with its targets."""

    corpus: Corpus
    targets: Targets

    def references(self, indices: Sequence[int]) -> dict[str, tuple[str, ...]]:
        """Transcripts by clip id."""
        return {self.corpus.ids[index]: self.corpus.transcript(index) for index in indices}


@dataclass(frozen=True, slots=True)
class Assembled:
    """A run that is ready to train, and what was left out of it.

    Attributes:
        run: ready to train.
        dropped: training clips without a path, left out because the configuration says so.
        longest: one batch of the longest training clips, for a dry run.
        subject: what the audit looks at.
    """

    run: Run
    dropped: tuple[Infeasible, ...]
    longest: Loader
    subject: Subject


def assemble(
    config: Config,
    registry: Registry,
    sources: Sequence[PluginSource],
    folder: Path,
    device: torch.device,
    *,
    resume: Mapping[str, Any] | None = None,
) -> Assembled:
    """Build a run.

    Args:
        config: validated.
        registry: filled by the plugins.
        sources: the plugins, for provenance.
        folder: of the run.
        device: to train on.
        resume: state of a checkpoint to go on from.

    Raises:
        ConfigError, DataError, CheckpointError: one clear line each.
    """
    if config.data.train is None or config.data.dev is None:
        missing = "data.train (--data)" if config.data.train is None else "data.dev (--dev)"
        raise ConfigError(f"{missing} is not set; `ctckit data split` carves a dev corpus from a training corpus")
    train_corpus, dev_corpus = _open(config, config.data.train), _open(config, config.data.dev)
    alphabet = train_corpus.alphabet() or Alphabet.from_transcripts(
        train_corpus.transcript(index) for index in range(len(train_corpus))
    )
    train, dev = (Prepared(corpus, encode_targets(corpus, alphabet)) for corpus in (train_corpus, dev_corpus))
    if resume is None:
        pipeline = FeaturePipeline(
            train_corpus.feature_size, deltas=config.data.deltas, normalize=config.data.normalize
        )
        pipeline.fit(train_corpus)
    else:
        pipeline = FeaturePipeline.from_state_dict(resume["identity"]["pipeline"])
    pipeline.check(dev_corpus)
    if config.data.test is not None:  # opened now, so that a mistake shows before training and not after it
        pipeline.check(_open(config, config.data.test))

    torch.manual_seed(config.seed)
    model = build_model(config, registry, pipeline.output_size, len(alphabet)).to(device)
    phases = build_phases(config, registry)
    for phase in reversed(config.phases.values()):
        if phase.stage is not None:
            model.set_stage(phase.stage)  # refuses a stage that the model does not have
    refuse_train_only_shift(config, phases)

    dropped = infeasible_clips(model, train_corpus, train.targets)
    if dropped and config.data.infeasible == "error":
        first, *others = dropped.values()
        raise DataError(
            f"{config.data.train}: {first}"
            + (f"; so have {len(others)} more" if others else "")
            + "; reduce the subsampling, mend the clips, or leave them out with --set data.infeasible=drop"
        )
    kept = np.array([index for index in range(len(train_corpus)) if index not in dropped], dtype=np.int64)
    if not len(kept):
        raise DataError(f"{config.data.train}: no clip has a CTC path after subsampling; reduce the subsampling")
    output_frames = model.output_lengths(torch.from_numpy(train_corpus.frame_counts[kept])).tolist()
    plateau = unigram_plateau(output_frames, [train.targets[index].tolist() for index in kept], len(alphabet))

    occurrences = np.bincount(np.concatenate([train.targets[index] for index in kept]), minlength=len(alphabet))
    bands = frequency_bands(
        {label: int(count) for label, count in zip(alphabet.tokens, occurrences, strict=True) if count}
    )

    # evenly spaced over the file, so that every speaker and length has its share
    count = min(config.evaluation.train_clips, len(kept))
    sample = kept[np.linspace(0, len(kept) - 1, count).round().astype(np.int64)]
    everything = np.arange(len(dev_corpus))
    run = Run(
        config=config,
        identity={
            "plugins": [source.reference for source in sources],
            "versions": {source.reference: source.version for source in sources},
            "tokens": list(alphabet.tokens),
            "pipeline": pipeline.state_dict(),
            "fingerprints": {"train": train_corpus.fingerprint(), "dev": dev_corpus.fingerprint()},
        },
        tokens=alphabet.tokens,
        model=model,
        device=device,
        optimizer=torch.optim.AdamW(model.parameters()),
        phases=phases,
        monitors=build_monitors(config, registry),
        train=_loader(config, train, pipeline, kept, device, shuffle=True),
        train_sample=Judged(
            _loader(config, train, pipeline, sample, device, shuffle=False),
            train.references(sample.tolist()),
            bands,
        ),
        dev=Judged(
            _loader(config, dev, pipeline, everything, device, shuffle=False),
            dev.references(everything.tolist()),
            bands,
        ),
        plateau_loss=plateau,
        folder=folder,
        clock=Clock({name: phase.epochs for name, phase in config.phases.items()}),
        history=History(folder / "history.jsonl"),
        findings=Findings(folder / "findings.jsonl"),
    )
    if resume is not None:
        run.restore(resume)
    longest = kept[np.argsort(train_corpus.frame_counts[kept], kind="stable")[-config.batch_size :]]
    return Assembled(
        run,
        tuple(dropped.values()),
        _loader(config, train, pipeline, longest, device, shuffle=False),
        _subject(config, {"train": train_corpus, "dev": dev_corpus}, alphabet, model, pipeline, phases),
    )


def audit_subject(config: Config, registry: Registry, corpora: Mapping[str, Corpus]) -> Subject:
    """Put together what the audit looks at, without what training would refuse.

    Args:
        config: of the training to come.
        registry: filled by the plugins.
        corpora: by name; ``train`` first.
    """
    train = corpora["train"]
    alphabet = train.alphabet() or Alphabet.from_transcripts(train.transcript(index) for index in range(len(train)))
    pipeline = FeaturePipeline(train.feature_size, deltas=config.data.deltas, normalize=config.data.normalize)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config, registry, pipeline.output_size, len(alphabet))
    return _subject(config, corpora, alphabet, model, pipeline, build_phases(config, registry))


def _subject(
    config: Config,
    corpora: Mapping[str, Corpus],
    alphabet: Alphabet,
    model: Model,
    pipeline: FeaturePipeline,
    phases: Mapping[str, ActivePhase],
) -> Subject:
    return Subject(
        corpora=corpora,
        alphabet=alphabet,
        model=model,
        pipeline=pipeline,
        infeasible=config.data.infeasible,
        learning_rates=planned_learning_rates(phases),
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


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model with all that decoding needs.

    Attributes:
        config: of its run.
        model: in evaluation mode.
        tokens: of the alphabet, blank first.
        pipeline: feature preparation, with the statistics of the training corpus.
        shift: logit shift that is still to be applied, nats; 0 where it could be folded into the bias.
        epoch: the epoch that it comes from.
    """

    config: Config
    model: Model
    tokens: tuple[str, ...]
    pipeline: FeaturePipeline
    shift: float
    epoch: int

    def judged(self, path: Path, device: torch.device) -> tuple[Judged, tuple[str, ...]]:
        """Prepare a corpus for scoring.

        Returns:
            The clips, and the distinct tokens that the alphabet lacks; each occurrence counts as an error.

        Raises:
            DataError: the corpus cannot be used.
        """
        corpus = _open(self.config, path)
        self.pipeline.check(corpus)
        targets = encode_targets(corpus, Alphabet(self.tokens[1:]), leave_out_unknown=True)
        prepared = Prepared(corpus, targets)
        everything = np.arange(len(corpus))
        loader = _loader(self.config, prepared, self.pipeline, everything, device, shuffle=False)
        unknown = tuple(sorted({token for _, token in targets.unknown}))
        return Judged(loader, prepared.references(everything.tolist())), unknown


def load_trained(path: Path, device: torch.device) -> Trained:
    """Load a model from a run's folder (its best checkpoint) or from a checkpoint file.

    A remaining logit shift is folded into the bias of the blank where the model shows one.

    Raises:
        CheckpointError: nothing usable there.
        PluginError: a plugin of the run is not installed.
    """
    checkpoint = checkpoint_path(path, "best")
    state = load_checkpoint(checkpoint)
    absent = {"config", "identity", "model", "clock", "judged_shift"} - set(state)
    if absent:
        raise CheckpointError(f"{checkpoint}: lacks {', '.join(sorted(absent))}; it is not a checkpoint of a run")
    config = configuration.from_json(state["config"])
    identity = state["identity"]
    registry, _ = load_plugins(identity["plugins"])
    pipeline = FeaturePipeline.from_state_dict(identity["pipeline"])
    model = build_model(config, registry, pipeline.output_size, len(identity["tokens"]))
    load_weights(model, state["model"])
    stage = config.stage_of(state["clock"]["now"]["phase"])
    if stage is not None:
        model.set_stage(stage)
    shift = float(state["judged_shift"])
    bias = model.blank_bias()
    if bias is not None and shift:
        with torch.no_grad():
            bias += shift
        shift = 0.0
    model.to(device).eval()
    return Trained(config, model, tuple(identity["tokens"]), pipeline, shift, state["clock"]["now"]["epoch"])


def checkpoint_path(path: Path, name: str) -> Path:
    """Return the checkpoint ``name`` of a run's folder, or ``path`` itself if it is a file.

    Raises:
        CheckpointError: the folder holds no such checkpoint; says why a best one may be missing.
    """
    if path.is_file():
        return path
    checkpoint = path / "checkpoints" / f"{name}.pt"
    if not checkpoint.is_file():
        why = ": none was done, or every one was collapsed; give checkpoints/last.pt to look at it all the same"
        last = (path / "checkpoints" / "last.pt").is_file()
        raise CheckpointError(f"{path}: no checkpoint '{name}'{why if last else ', is it the folder of a run?'}")
    return checkpoint


def provenance(run: Run, sources: Sequence[PluginSource]) -> dict[str, Any]:
    """Return the history's first row: what it takes to say where the figures came from."""
    backend = ops.backend()
    return {
        "ctckit": importlib.metadata.version("ctckit"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": str(run.device),
        "threads": torch.get_num_threads(),
        "ops": backend.name,
        "ops_reason": backend.reason,
        "plugins": [
            {"name": s.name, "distribution": s.distribution, "version": s.version, "target": s.target}
            for s in sources
        ],
        "seed": run.config.seed,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "classes": len(run.tokens),
        "plateau_loss": run.plateau_loss,
        "data": dict(run.identity["fingerprints"]),
        "config": configuration.to_json(run.config),
    }


def build_model(config: Config, registry: Registry, input_size: int, num_classes: int) -> Model:
    """Construct the model of a configuration."""
    model: Model = _build(registry.models, config.model, input_size=input_size, num_classes=num_classes)
    return model


def build_phases(config: Config, registry: Registry) -> dict[str, ActivePhase]:
    """Construct what phases name; phases that configure a component alike share its instance.

    Raises:
        ConfigError: a name or a parameter is wrong, or a phase names a regularizer twice.
    """
    schedules: list[tuple[Component, Schedule]] = []
    penalties: list[tuple[Component, Penalty]] = []
    regularizers: list[tuple[Component, Regularizer]] = []
    phases = {}
    for name, settings in config.phases.items():
        terms: dict[str, Regularizer] = {}
        for component in settings.regularizers:
            if component.name in terms:
                raise ConfigError(f"phases.{name}.regularizers: '{component.name}' is named twice")
            terms[component.name] = _shared(registry.regularizers, component, regularizers)
        _refuse_unequal_views(name, terms)
        penalty = _shared(registry.penalties, settings.penalty, penalties) if settings.penalty else None
        schedule = _shared(registry.schedules, settings.schedule, schedules)
        phases[name] = ActivePhase(settings, schedule, penalty, terms)
    return phases


def _refuse_unequal_views(phase: str, terms: Mapping[str, Regularizer]) -> None:
    """Refuse what could not tell which clips belong together.

    Raises:
        ConfigError: regularizers want different numbers of views, or fewer than 1.
    """
    views = {name: term.views for name, term in terms.items() if term.views != 1}
    if len(set(views.values())) > 1 or any(number < 1 for number in views.values()):
        wanted = ", ".join(f"'{name}' {number}" for name, number in views.items())
        raise ConfigError(
            f"phases.{phase}.regularizers: they want different numbers of views of each clip ({wanted}); "
            "use one of them"
        )


def build_monitors(config: Config, registry: Registry) -> dict[str, Monitor]:
    """Construct the monitors; one name may be used once."""
    monitors: dict[str, Monitor] = {}
    for component in config.monitors:
        if component.name in monitors:
            raise ConfigError(f"monitors: '{component.name}' is named twice")
        monitors[component.name] = _build(registry.monitors, component)
    return monitors


def refuse_train_only_shift(config: Config, phases: Mapping[str, ActivePhase]) -> None:
    """Refuse a logit shift that is left out in evaluation and does not end at zero.

    Raises:
        ConfigError: explains, and names the key that allows it.
    """
    if config.evaluation.logit_shift == "same" or config.evaluation.accept_blank_dominance:
        return
    name, last = list(phases.items())[-1]
    if last.penalty is None or last.penalty.domain != "logit":
        return
    epochs = last.settings.epochs
    total = sum(phase.settings.epochs for phase in phases.values())
    final = last.penalty.shift(
        Progress(epoch=total, phase=name, phase_epoch=epochs, phase_epochs=epochs, epochs=total)
    )
    if final:
        raise ConfigError(
            f"evaluation.logit_shift = 'none' with a shift of {final:g} at the end of phase '{name}': the bias "
            f"learns to make up for it, so that the evaluated model is {np.exp(-final):.3g} times more "
            "blank-dominant; use 'same', let the penalty end at 0, or set evaluation.accept_blank_dominance=true"
        )


def _build(names: Names[Any], component: Component, **given: Any) -> Any:
    where = f"{names.kind} '{component.name}'"
    return construct(names.find(component.name).value, where, component.params, **given)


def _shared(names: Names[Any], component: Component, made: list[tuple[Component, Any]]) -> Any:
    for known, instance in made:
        if known == component:
            return instance
    instance = _build(names, component)
    made.append((component, instance))
    return instance


def _open(config: Config, path: Path) -> Corpus:
    return open_corpus(
        path,
        unit=config.data.unit,
        features_key=config.data.features_key,
        transcript_key=config.data.transcript_key,
    )


def _loader(
    config: Config,
    prepared: Prepared,
    pipeline: FeaturePipeline,
    indices: np.ndarray[Any, np.dtype[np.int64]],
    device: torch.device,
    *,
    shuffle: bool,
) -> Loader:
    plan = BatchPlan(
        prepared.corpus.frame_counts[indices],
        batch_size=config.batch_size,
        max_batch_frames=config.max_batch_frames,
        shuffle=shuffle,
        seed=config.seed,
    )
    return Loader(
        prepared.corpus,
        prepared.targets,
        pipeline,
        plan,
        indices=indices,
        workers=config.data.workers,
        pin_memory=device.type == "cuda",
        cache_mb=config.data.cache_mb,
    )


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
        return tuple(probe_checks.skipped(probing.PROBES, str(error)))
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
    bench: probing.Bench, subject: Subject, seconds: float, progress: Callable[[str], None]
) -> Iterator[Finding]:
    until = time.monotonic() + seconds
    progress("learning_rate_range")
    rates = probing.learning_rate_range(bench, seconds / 3)
    yield from probe_checks.judge_rate_range(rates, subject.learning_rates)
    rate = probe_checks.probe_rate(rates)
    progress("overfit_one_batch")
    yield from probe_checks.judge_overfit(probing.overfit_one_batch(bench, rate, (until - time.monotonic()) / 2))
    progress("permuted_labels")
    if bench.unseen:
        found = probing.permuted_labels(bench, rate, until - time.monotonic())
        yield from probe_checks.judge_permuted_labels(found)
    width = subject.corpora["train"].feature_size
    for name, corpus in subject.corpora.items():
        if name != "test" and name not in bench.unseen:
            why = f"{name} has too few clips to compare: equally long, with transcripts of known labels that differ"
            if corpus.feature_size != width:
                why = f"features of {name} are {corpus.feature_size} wide, those of train {width}"
            yield from probe_checks.skipped(["permuted_labels"], why)


def _bench(config: Config, registry: Registry, subject: Subject, device: torch.device) -> probing.Bench:
    """Choose clips and read them, and bring the model to where the first phase begins.

    Raises:
        DataError: there is nothing to train on.
    """
    train = subject.corpora["train"]
    lengths = {
        name: probe_clips.Lengths(
            corpus.frame_counts,
            subject.model.output_lengths(torch.from_numpy(corpus.frame_counts)).numpy(),
            encode_targets(corpus, subject.alphabet, leave_out_unknown=True),
        )
        for name, corpus in subject.corpora.items()
        if name != "test" and corpus.feature_size == train.feature_size
    }
    targets = lengths["train"].targets
    one = probe_clips.one_batch(lengths["train"])
    if len(one) < 2:
        raise DataError(f"{train.path}: fewer than two clips with labels of their own have a CTC path")
    if not subject.pipeline.fitted:
        subject.pipeline.fit(train, FIT_CLIPS)
    most = max(PROBE_BYTES // (4 * subject.pipeline.output_size * int(np.median(train.frame_counts))), 2)
    known = probe_clips.known_clips(lengths["train"], most)
    vocabulary = frozenset(np.concatenate([targets[index] for index in known.tolist()]).tolist())
    unseen = {
        name: probe_clips.pairs(found, known if name == "train" else known[:0], vocabulary, most)
        for name, found in lengths.items()
    }

    def batch(name: str, indices: probe_clips.Indices) -> Batch:
        corpus = subject.corpora[name]
        plan = BatchPlan(
            corpus.frame_counts[indices],
            batch_size=len(indices),
            max_batch_frames=None,
            shuffle=False,
            seed=config.seed,
        )
        loader = Loader(corpus, lengths[name].targets, subject.pipeline, plan, indices=indices, cache_mb=0)
        read = to_device(next(loader.epoch(0)), device)
        loader.close()
        return read

    def batches(name: str, indices: probe_clips.Indices) -> tuple[Batch, ...]:
        frames = subject.corpora[name].frame_counts
        cut = probe_clips.batches_of(indices, frames, config.batch_size, config.max_batch_frames)
        return tuple(batch(name, chosen) for chosen in cut)

    def plateau(indices: probe_clips.Indices) -> float:
        labels = [targets[index].tolist() for index in indices.tolist()]
        return unigram_plateau(lengths["train"].output_frames[indices].tolist(), labels, len(subject.alphabet))

    phase, active = next(iter(build_phases(config, registry).items()))
    model = copy.deepcopy(subject.model)
    stage = config.stage_of(phase)
    if stage is not None:
        model.set_stage(stage)
    if active.penalty is not None:
        active.penalty.prepare(model)
    return probing.Bench(
        model=model.to(device),
        one=batch("train", one),
        one_plateau=plateau(one),
        known=batches("train", known),
        known_plateau=plateau(known),
        unseen={
            name: batches(name, chosen)
            for name, chosen in unseen.items()
            if len(chosen) >= 2 * probe_clips.FEWEST_PAIRS
        },
        weight_decay=active.settings.weight_decay,
        gradient_clip=config.gradient_clip,
        seed=config.seed,
    )
