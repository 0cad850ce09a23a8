"""The composition root: from a configuration and plugins to a run, and from a checkpoint to a trained model."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
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
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.clock import Clock
from ctckit.engine.evaluate import Judged, frequency_bands
from ctckit.engine.run import ActivePhase, Run, load_weights
from ctckit.errors import CheckpointError, ConfigError, DataError, PluginError
from ctckit.feasibility import infeasible_clips
from ctckit.interfaces import Model, Monitor, Penalty, Regularizer, Schedule
from ctckit.parameters import construct
from ctckit.plateau import unigram_plateau
from ctckit.plugin_host import PluginSource, load_plugins
from ctckit.recipe import Component
from ctckit.record.figures import described, table_of
from ctckit.record.history import HISTORY, History
from ctckit.registry import Names, Registry
from ctckit.types import Figure, Progress


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
        corpora: by name, as far as they are open.
        alphabet: of the training corpus.
        pipeline: fitted.
    """

    run: Run
    dropped: tuple[Infeasible, ...]
    longest: Loader
    corpora: Mapping[str, Corpus]
    alphabet: Alphabet
    pipeline: FeaturePipeline


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
        history=History(folder / HISTORY),
        figures=own_figures(registry, model),
    )
    if resume is not None:
        run.restore(resume)
    longest = kept[np.argsort(train_corpus.frame_counts[kept], kind="stable")[-config.batch_size :]]
    return Assembled(
        run,
        tuple(dropped.values()),
        _loader(config, train, pipeline, longest, device, shuffle=False),
        {"train": train_corpus, "dev": dev_corpus},
        alphabet,
        pipeline,
    )


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
        "figures": described(run.figures),
    }


def own_figures(registry: Registry, model: Model) -> tuple[Figure, ...]:
    """Return the figures of plugins and of the model.

    Raises:
        PluginError: two have one name, or one has the name of a figure of ctckit's.
    """
    figures = (*(entry.value for entry in registry.figures.values()), *model.FIGURES)
    try:
        table_of(figures)
    except ValueError as error:
        raise PluginError(str(error)) from error
    return figures


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
