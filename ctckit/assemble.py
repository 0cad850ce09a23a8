"""The composition root: from a configuration and plugins to a run, in stages.

Components first, which need no data; then the corpora's headers and targets, the model for them, and what they
leave out; then one pass over the features, for their statistics; then the run. ``check`` is all but the last two.
"""

from __future__ import annotations

import copy
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ctckit import config as configuration
from ctckit import ops
from ctckit.components import Components, build_components, build_model
from ctckit.config import Config
from ctckit.data import (
    Alphabet,
    BatchPlan,
    Corpus,
    FeaturePipeline,
    Infeasible,
    Loader,
    Targets,
    Transcripts,
    encode_targets,
    open_corpus,
)
from ctckit.data.alphabet import near_misses
from ctckit.engine.clock import Clock
from ctckit.engine.evaluate import Judged, frequency_bands
from ctckit.engine.run import ActivePhase, Run
from ctckit.engine.step import parts_of
from ctckit.errors import ConfigError, DataError, PluginError, suggest
from ctckit.feasibility import infeasible_clips
from ctckit.interfaces import Model
from ctckit.plateau import unigram_plateau
from ctckit.plugin_host import PluginSource
from ctckit.record.figures import described
from ctckit.record.history import HISTORY, History
from ctckit.registry import Registry
from ctckit.stored import checkpoint_path, read_stored
from ctckit.transfer import Transfer, transfer, transferred_pipeline
from ctckit.types import Progress, Remedy

Indices = npt.NDArray[np.int64]

MOST_UNSEEN = 0.5
"""Share of dev's tokens that training never sees, beyond which dev is another corpus's."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A corpus with its targets."""

    corpus: Corpus
    targets: Targets

    def references(self, indices: Sequence[int]) -> dict[str, tuple[str, ...]]:
        """Transcripts by clip id."""
        return {self.corpus.ids[index]: self.corpus.transcript(index) for index in indices}


@dataclass(frozen=True, slots=True)
class Corpora:
    """What is trained and judged on: headers, transcripts and targets, no features.

    Attributes:
        train: training corpus.
        dev: corpus on which epochs are compared.
        test: corpus that is scored at the end, or None; opened so that a mistake shows before training.
        alphabet: of the training corpus.
    """

    train: Prepared
    dev: Prepared
    test: Corpus | None
    alphabet: Alphabet

    @property
    def unseen(self) -> Counter[str]:
        """Labels of dev that training never sees, with how often they occur; each occurrence counts as an error."""
        return Counter(token for _, token in self.dev.targets.unknown)

    def fingerprints(self) -> dict[str, str]:
        """Return what tells whether a corpus has changed, by part."""
        return {"train": self.train.corpus.fingerprint(), "dev": self.dev.corpus.fingerprint()}


@dataclass(frozen=True, slots=True)
class Checked:
    """All that can be known of a run before a feature is read.

    Attributes:
        components: phases and monitors.
        corpora: open.
        pipeline: not fitted yet.
        model: initialised from the run's seed, on the CPU.
        kept: training clips with a path, by number.
        dropped: the others, left out because the configuration says so.
        transfer: what the model begins with, where that is not its initialisation alone.
    """

    components: Components
    corpora: Corpora
    pipeline: FeaturePipeline
    model: Model
    kept: Indices
    dropped: tuple[Infeasible, ...]
    transfer: Transfer | None


@dataclass(frozen=True, slots=True)
class Assembled:
    """A run that is ready to train, and what was found on the way.

    Attributes:
        run: ready to train.
        dropped: training clips without a path, left out because the configuration says so.
        longest: one batch of the longest training clips, for a dry run.
        corpora: by name, as far as they are open.
        alphabet: of the training corpus.
        pipeline: fitted.
        notes: what is worth saying of the components, one line each.
        remedies: what the model and the plugins propose to a run that needs it, the model's first.
        transfer: what the model began with, where that is not its initialisation alone.
        unseen: labels of dev that training never sees, with how often they occur.
    """

    run: Run
    dropped: tuple[Infeasible, ...]
    longest: Loader
    corpora: Mapping[str, Corpus]
    alphabet: Alphabet
    pipeline: FeaturePipeline
    notes: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    transfer: Transfer | None
    unseen: Mapping[str, int]


def check(config: Config, registry: Registry, *, resumed: bool = False) -> Checked:
    """Find whatever is wrong with a run without reading a feature; components come before any file is opened.

    Args:
        config: validated.
        registry: filled by the plugins.
        resumed: whether weights come from a checkpoint of the run, so that nothing else is to begin with.

    Raises:
        ConfigError, DataError, CheckpointError: one clear line each.
    """
    components = build_components(config, registry)
    refuse_train_only_shift(config, components.phases)
    source = None if config.init_from is None or resumed else checkpoint_path(config.init_from, "best")
    stored = None if source is None else read_stored(source)
    corpora = open_corpora(config)
    width, tokens = corpora.train.corpus.feature_size, corpora.alphabet.tokens
    pipeline = FeaturePipeline(width, deltas=config.data.deltas, normalize=config.data.normalize)
    if stored is not None and source is not None:
        pipeline = transferred_pipeline(stored, config, width, source)
    for corpus in (corpora.dev.corpus, corpora.test):
        if corpus is not None:
            pipeline.check(corpus)
    torch.manual_seed(config.seed)
    build = partial(build_model, config, registry, pipeline.output_size)
    model = build(len(tokens))
    begun = None
    if stored is not None and source is not None:
        begun = transfer(model, lambda: build(len(tokens) + 1), stored, tokens, source)
    refuse_unknown_parts(config, model)
    tried = copy.deepcopy(model)  # the first phases may have no stage: the model then stays as it was built
    for phase in config.phases.values():
        if phase.stage is not None:
            tried.set_stage(phase.stage)  # refuses a stage that the model does not have
    first = next(iter(config.phases.values())).stage
    if first is not None:
        model.set_stage(first)
    kept, dropped = feasible_clips(config, model, corpora.train)
    return Checked(components, corpora, pipeline, model, kept, dropped, begun)


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
    checked = check(config, registry, resumed=resume is not None)
    if resume is None:
        pipeline = checked.pipeline
        if checked.transfer is None:
            pipeline.fit(checked.corpora.train.corpus)
    else:
        pipeline = FeaturePipeline.from_state_dict(resume["identity"]["pipeline"])
    run = _run(config, checked, pipeline, sources, folder, device)
    if resume is not None:
        run.restore(resume)
    train, dev = checked.corpora.train, checked.corpora.dev
    order = np.argsort(train.corpus.frame_counts[checked.kept], kind="stable")
    return Assembled(
        run,
        checked.dropped,
        loader(config, train, pipeline, checked.kept[order[-config.batch_size :]], device),
        {"train": train.corpus, "dev": dev.corpus},
        checked.corpora.alphabet,
        pipeline,
        checked.components.notes,
        remedies(config, registry, checked),
        checked.transfer,
        checked.corpora.unseen,
    )


def _run(
    config: Config,
    checked: Checked,
    pipeline: FeaturePipeline,
    sources: Sequence[PluginSource],
    folder: Path,
    device: torch.device,
) -> Run:
    """Put a run together from what was checked, with a fitted pipeline."""
    corpora, kept, model = checked.corpora, checked.kept, checked.model.to(device)
    train, dev, alphabet = corpora.train, corpora.dev, corpora.alphabet
    labels = [train.targets[index] for index in kept]
    occurrences = np.bincount(np.concatenate(labels), minlength=len(alphabet))
    counts = {label: int(count) for label, count in zip(alphabet.tokens, occurrences, strict=True) if count}
    bands = frequency_bands(counts)
    # evenly spaced over the file, so that every speaker and length has its share
    count = min(config.evaluation.train_clips, len(kept))
    sample = kept[np.linspace(0, len(kept) - 1, count).round().astype(np.int64)]
    return Run(
        config=config,
        identity={
            "plugins": [source.reference for source in sources],
            "versions": {source.reference: source.version for source in sources},
            "tokens": list(alphabet.tokens),
            "pipeline": pipeline.state_dict(),
            "fingerprints": corpora.fingerprints(),
        },
        tokens=alphabet.tokens,
        model=model,
        device=device,
        optimizer=torch.optim.AdamW(parameter_groups(model, config)),
        phases=checked.components.phases,
        monitors=checked.components.monitors,
        train=loader(config, train, pipeline, kept, device, shuffle=True),
        train_sample=judged(config, train, pipeline, sample, device, bands),
        dev=judged(config, dev, pipeline, np.arange(len(dev.corpus)), device, bands),
        plateau_loss=unigram_plateau(
            output_frames(model, train.corpus, kept), [label.tolist() for label in labels], len(alphabet)
        ),
        folder=folder,
        clock=Clock({name: phase.epochs for name, phase in config.phases.items()}),
        history=History(folder / HISTORY),
        figures=checked.components.figures,
    )


def open_corpora(config: Config) -> Corpora:
    """Open the corpora of a run.

    Raises:
        ConfigError: no corpus is set.
        DataError: one cannot be used.
    """
    if config.data.train is None or config.data.dev is None:
        missing = "data.train (--data)" if config.data.train is None else "data.dev (--dev)"
        raise ConfigError(f"{missing} is not set; `ctckit data split` carves a dev corpus from a training corpus")
    train, dev = (open_configured(config, path) for path in (config.data.train, config.data.dev))
    alphabet = train.alphabet() or Alphabet.from_transcripts(train.transcript(index) for index in range(len(train)))
    return Corpora(
        train=Prepared(train, encode_targets(train, alphabet)),
        dev=Prepared(dev, targets_to_judge(dev, alphabet)),
        test=None if config.data.test is None else open_configured(config, config.data.test),
        alphabet=alphabet,
    )


def targets_to_judge(dev: Corpus, alphabet: Alphabet) -> Targets:
    """Encode what epochs are judged on; labels that training never sees count as errors and are left out here.

    Raises:
        DataError: a label is one of training's written otherwise, or most are none of them.
    """
    targets = encode_targets(dev, alphabet, leave_out_unknown=True)
    unseen = Counter(token for _, token in targets.unknown)
    for token in near_misses(unseen, alphabet.labels):
        clip = next(dev.ids[index] for index, other in targets.unknown if other == token)
        alphabet.encode([token], f"{dev.path}: clip {clip!r}")  # which refuses it, and says what differs
    tokens = len(targets.values) + unseen.total()
    if unseen.total() > MOST_UNSEEN * tokens:
        raise DataError(
            f"{dev.path}: {unseen.total()} of {tokens} tokens never occur in training, such as "
            f"{next(iter(unseen))!r}; is it the same language, and the same data.unit?"
        )
    return targets


def open_configured(
    config: Config, path: Path, transcripts: Transcripts = "needed", refused: list[DataError] | None = None
) -> Corpus:
    """Open a corpus with the units and keys of a configuration; for the rest see `open_corpus`.

    Raises:
        DataError: it cannot be used.
    """
    return open_corpus(
        path,
        unit=config.data.unit,
        features_key=config.data.features_key,
        transcript_key=config.data.transcript_key,
        transcripts=transcripts,
        refused=refused,
    )


def feasible_clips(config: Config, model: Model, train: Prepared) -> tuple[Indices, tuple[Infeasible, ...]]:
    """Return the training clips with a path by number, and the others.

    Raises:
        DataError: there are others and the configuration does not leave them out, or there are no clips with one.
    """
    corpus = train.corpus
    dropped = infeasible_clips(model, corpus, train.targets)
    if dropped and config.data.infeasible == "error":
        first, *others = dropped.values()
        raise DataError(
            f"{config.data.train}: {first}"
            + (f"; so have {len(others)} more" if others else "")
            + "; reduce the subsampling, mend the clips, or leave them out with --set data.infeasible=drop"
        )
    kept = np.array([index for index in range(len(corpus)) if index not in dropped], dtype=np.int64)
    if not len(kept):
        raise DataError(f"{config.data.train}: no clip has a CTC path after subsampling; reduce the subsampling")
    return kept, tuple(dropped.values())


def output_frames(model: Model, corpus: Corpus, indices: Indices) -> list[int]:
    """Return the frames that a model makes of clips, by its own length map."""
    frames: list[int] = model.output_lengths(torch.from_numpy(corpus.frame_counts[indices])).tolist()
    return frames


def remedies(config: Config, registry: Registry, checked: Checked) -> tuple[Remedy, ...]:
    """Return what the model, and then the plugins, propose to a run of this configuration.

    Raises:
        PluginError: the model proposes something else.
    """
    model, train = checked.model, checked.corpora.train
    labels = sum(len(train.targets[index]) for index in checked.kept)
    own = model.remedies(sum(output_frames(model, train.corpus, checked.kept)) / max(labels, 1))
    for remedy in own:
        if not isinstance(remedy, Remedy):
            raise PluginError(
                f"{type(model).__name__}.remedies returned {remedy!r}; return a list of ctckit.Remedy"
            )
    used = {component.name for _, component in config.components()}
    return (*own, *(remedy for remedy, unless in registry.remedies if unless not in used))


def refuse_unknown_parts(config: Config, model: Model) -> None:
    """Refuse phases that freeze, or give a rate to, parts that the model does not have.

    Raises:
        ConfigError: names phase, part and the parts there are; or nothing would be left to learn.
    """
    parts = parts_of(model, held=True)
    for phase, settings in config.phases.items():
        for key, names in (("frozen", settings.frozen), ("rates", settings.rates)):
            for name in names:
                if name not in parts:
                    raise ConfigError(
                        f"phases.{phase}.{key}: the model has no part '{name}'{suggest(name, parts)}; it has "
                        f"{', '.join(parts)}"
                    )
        if set(parts) <= set(settings.frozen):
            raise ConfigError(f"phases.{phase}.frozen: nothing is left to learn; leave a part out")


def parameter_groups(model: Model, config: Config) -> list[dict[str, Any]]:
    """Return the optimiser's groups: all parameters, or one a part where a phase gives parts rates of their own."""
    if not any(settings.rates for settings in config.phases.values()):
        return [{"params": list(model.parameters())}]
    return [{"params": parameters, "part": part} for part, parameters in parts_of(model, held=True).items()]


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


def judged(
    config: Config,
    prepared: Prepared,
    pipeline: FeaturePipeline,
    indices: Indices,
    device: torch.device,
    bands: Mapping[str, int] | None = None,
) -> Judged:
    """Prepare clips for scoring, in the order of the file."""
    batches = loader(config, prepared, pipeline, indices, device)
    corpus = prepared.corpus
    return Judged(batches, prepared.references(indices.tolist()), bands or {}, corpus.speakers())


def loader(
    config: Config,
    prepared: Prepared,
    pipeline: FeaturePipeline,
    indices: Indices,
    device: torch.device,
    *,
    shuffle: bool = False,
) -> Loader:
    """Return a loader of clips, with the batches of a configuration."""
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


def provenance(assembled: Assembled, sources: Sequence[PluginSource]) -> dict[str, Any]:
    """Return the history's first row: what it takes to say where the figures came from, and what to try."""
    run, backend = assembled.run, ops.backend()
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
        "dropped": [clip.clip_id for clip in assembled.dropped],
        "remedies": [asdict(remedy) for remedy in assembled.remedies],
        **({"unseen_in_dev": dict(assembled.unseen)} if assembled.unseen else {}),
        **({} if assembled.transfer is None else {"init_from": assembled.transfer.as_dict()}),
        "config": configuration.to_json(run.config),
        "figures": described(run.figures),
    }
