"""A trained model with all that decoding needs, from a run's folder or a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ctckit.assemble import Prepared, judged, open_configured
from ctckit.components import build_model
from ctckit.config import Config
from ctckit.data import Alphabet, FeaturePipeline, encode_targets
from ctckit.engine.evaluate import Judged
from ctckit.engine.state import Weights
from ctckit.interfaces import Model
from ctckit.plugin_host import load_plugins, plugins_of_run
from ctckit.registry import Registry
from ctckit.search import Tuned
from ctckit.stored import Stored, checkpoint_path, read_stored
from ctckit.types import Calibration


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
        calibration: of its confidences, where it was measured.
        tuned: for a beam search, where it was tuned.
    """

    config: Config
    model: Model
    tokens: tuple[str, ...]
    pipeline: FeaturePipeline
    shift: float
    epoch: int
    calibration: Calibration | None = None
    tuned: Tuned | None = None

    def judged(self, path: Path, device: torch.device) -> tuple[Judged, tuple[str, ...]]:
        """Prepare a corpus for scoring; an empty transcript is silence, in which every token is an insertion.

        Returns:
            The clips, and the distinct tokens that the alphabet lacks; each occurrence counts as an error.

        Raises:
            DataError: the corpus cannot be used.
        """
        corpus = open_configured(self.config, path, "any")
        self.pipeline.check(corpus)
        targets = encode_targets(corpus, Alphabet(self.tokens[1:]), leave_out_unknown=True)
        clips = judged(self.config, Prepared(corpus, targets), self.pipeline, np.arange(len(corpus)), device)
        return clips, tuple(sorted({token for _, token in targets.unknown}))


def load_trained(path: Path, device: torch.device, plugins: Sequence[str] = ()) -> Trained:
    """Load a model from a run's folder (its best checkpoint), a checkpoint file, or a safetensors export.

    A remaining logit shift is folded into the bias of the blank where the model shows one.

    Args:
        path: folder or file.
        device: where the model is to be.
        plugins: files of plugins that the run was trained with; their code runs only if they are named here.

    Raises:
        CheckpointError: nothing usable there.
        PluginError: a plugin of the run is not installed, not named, or another than the run's.
    """
    return build_trained(read_stored(checkpoint_path(path, "best")), device, plugins)


def build_trained(stored: Stored, device: torch.device, plugins: Sequence[str] = ()) -> Trained:
    """Build the model of what was stored; for arguments and errors see ``load_trained``."""
    registry, _ = load_plugins(plugins_of_run(stored.plugins, plugins, stored.run))
    return trained_with(registry, stored, device)


def trained_with(registry: Registry, stored: Stored, device: torch.device) -> Trained:
    """Build the model of what was stored, with plugins that are loaded already.

    Raises:
        CheckpointError: the weights are not those of the model.
    """
    config = stored.config
    pipeline = FeaturePipeline.from_state_dict(dict(stored.pipeline))
    model = build_model(config, registry, pipeline.output_size, len(stored.tokens))
    Weights(model).load_state_dict(stored.weights)
    if stored.stage is not None:
        model.set_stage(stored.stage)
    shift, bias = stored.shift, model.blank_bias()
    if bias is not None and shift:
        with torch.no_grad():
            bias += shift
        shift = 0.0
    model.to(device).eval()
    return Trained(config, model, stored.tokens, pipeline, shift, stored.epoch, stored.calibration, stored.tuned)
