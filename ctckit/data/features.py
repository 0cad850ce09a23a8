"""From stored features to the network's input: deltas and normalisation, clip by clip."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from ctckit.data.dataset import Corpus
from ctckit.errors import CheckpointError, ConfigError, DataError

Normalization = Literal["none", "corpus", "clip_mean"]
"""How features are normalised.

``none``: not at all. ``corpus``: mean 0 and variance 1 over the training corpus, per column. ``clip_mean``:
each clip's own mean is taken off its static columns first, which removes a channel or a signer; the variance
is still that of the training corpus.
"""

DELTA_WINDOW: Final = 2
"""Frames on either side of the regression that a delta is."""

_SMALLEST_VARIANCE = 1e-10
_STATE_KEYS = {"feature_size", "deltas", "normalize", "mean", "scale"}


class FeaturePipeline:
    """Appends deltas to a clip and normalises it; statistics come from `fit` and live in the checkpoint.

    A delta is the slope of a regression over two frames on either side, ``sum_n n (x[t+n] - x[t-n]) / 10``,
    the ends repeated; the second order is the delta of the delta. All work is done on a clip by itself,
    before padding, so that a clip gives the same values in every batch.

    Args:
        feature_size: F, columns of the stored features.
        deltas: orders to append, 0, 1 or 2.
        normalize: see `Normalization`.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, feature_size: int, *, deltas: int = 0, normalize: Normalization = "corpus") -> None:
        if deltas not in (0, 1, 2):
            raise ConfigError(f"deltas is {deltas!r}; it is 0, 1 or 2 orders")
        if normalize not in get_args(Normalization):
            raise ConfigError(f"normalize is {normalize!r}; it is one of {', '.join(get_args(Normalization))}")
        if feature_size < 1:
            raise ConfigError(f"feature_size is {feature_size}; it is at least 1")
        self.feature_size = feature_size
        self.deltas = deltas
        self.normalize: Normalization = normalize
        self._mean: npt.NDArray[np.float32] | None = None
        self._scale: npt.NDArray[np.float32] | None = None

    @property
    def output_size(self) -> int:
        """Columns that come out: F times one plus the orders of deltas."""
        return self.feature_size * (1 + self.deltas)

    @property
    def fitted(self) -> bool:
        """Whether a clip can be normalised; always true for ``none``."""
        return self.normalize == "none" or self._mean is not None

    def fit(self, corpus: Corpus, max_clips: int | None = None) -> None:
        """Gathers mean and variance in one pass over the training corpus, in float64 and in constant memory.

        Columns that never vary are left unscaled. Does nothing for ``none``.

        Args:
            corpus: the training corpus, never dev or test.
            max_clips: at most so many clips, spread evenly over the file; None takes all.

        Raises:
            DataError: the corpus has another width, or a clip cannot be used.
        """
        self.check(corpus)
        if self.normalize == "none":
            return
        take = len(corpus) if max_clips is None else min(max(max_clips, 1), len(corpus))
        count = 0
        mean = np.zeros(self.output_size)
        squares = np.zeros(self.output_size)
        for index in np.linspace(0, len(corpus) - 1, take).astype(int):
            prepared = self._prepare(corpus.features(int(index))).astype(np.float64)
            # Merging clip by clip (Chan et al.) keeps the variance exact where the mean is large.
            clip_mean = prepared.mean(axis=0)
            prepared -= clip_mean
            clip_squares = np.einsum("tf,tf->f", prepared, prepared)
            total = count + len(prepared)
            gap = clip_mean - mean
            mean += gap * (len(prepared) / total)
            squares += clip_squares + gap * gap * (count * len(prepared) / total)
            count = total
        variance = squares / count
        scale = np.where(
            variance > _SMALLEST_VARIANCE, 1.0 / np.sqrt(np.maximum(variance, _SMALLEST_VARIANCE)), 1.0
        )
        self._mean = mean.astype(np.float32)
        self._scale = scale.astype(np.float32)

    def check(self, corpus: Corpus) -> None:
        """Refuses a corpus of another width.

        Raises:
            DataError: names the file and both widths.
        """
        if corpus.feature_size != self.feature_size:
            raise DataError(
                f"{corpus.path}: features are {corpus.feature_size} wide, but {self.feature_size} are "
                "expected, as in the training corpus; use features from the same extractor"
            )

    def __call__(self, features_TF: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Transforms one clip.

        Args:
            features_TF: float32 [T, F], left as it is.

        Returns:
            float32 [T, output_size].

        Raises:
            DataError: the clip has another width.
        """
        if features_TF.ndim != 2 or features_TF.shape[1] != self.feature_size:
            raise DataError(f"features have shape {list(features_TF.shape)}, expected [T, {self.feature_size}]")
        prepared = self._prepare(features_TF)
        if self.normalize == "none":
            return prepared
        if self._mean is None or self._scale is None:
            raise RuntimeError("the feature pipeline was not fitted; call fit(training corpus) first")
        out = prepared - self._mean
        out *= self._scale
        return out

    def state_dict(self) -> dict[str, Any]:
        """All there is to know, as numbers, text and tensors, fit for ``torch.load(weights_only=True)``.

        Keys: feature_size, deltas, normalize, mean and scale (float32 [output_size], or None before `fit`).
        """
        import torch  # only checkpoints need it; inspecting a corpus does not

        return {
            "feature_size": self.feature_size,
            "deltas": self.deltas,
            "normalize": self.normalize,
            "mean": None if self._mean is None else torch.from_numpy(self._mean.copy()),
            "scale": None if self._scale is None else torch.from_numpy(self._scale.copy()),
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> FeaturePipeline:
        """Rebuilds a pipeline from `state_dict`.

        Raises:
            CheckpointError: a key is missing or unknown, or the statistics do not fit.
        """
        if set(state) != _STATE_KEYS:
            wrong = sorted(_STATE_KEYS ^ set(state))
            raise CheckpointError(f"feature pipeline: keys missing or unknown: {', '.join(wrong)}")
        try:
            pipeline = cls(state["feature_size"], deltas=state["deltas"], normalize=state["normalize"])
        except ConfigError as error:
            raise CheckpointError(f"feature pipeline: {error}") from error
        if (state["mean"] is None) != (state["scale"] is None):
            raise CheckpointError("feature pipeline: mean and scale must come together")
        if state["mean"] is not None:
            pipeline._mean = state["mean"].cpu().numpy().astype(np.float32)
            pipeline._scale = state["scale"].cpu().numpy().astype(np.float32)
            for name, value in (("mean", pipeline._mean), ("scale", pipeline._scale)):
                if value.shape != (pipeline.output_size,):
                    raise CheckpointError(
                        f"feature pipeline: {name} has shape {list(value.shape)}, expected [{pipeline.output_size}]"
                    )
        return pipeline

    def _prepare(self, features_TF: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        static = features_TF
        if self.normalize == "clip_mean":
            static = static - static.mean(axis=0, dtype=np.float64).astype(np.float32)
        orders = [static]
        for _ in range(self.deltas):
            orders.append(delta(orders[-1]))
        return np.concatenate(orders, axis=1) if self.deltas else static


def delta(features_TF: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Regression slope over `DELTA_WINDOW` frames on either side, the ends repeated; float32 [T, F]."""
    frames = len(features_TF)
    padded = np.pad(features_TF, ((DELTA_WINDOW, DELTA_WINDOW), (0, 0)), mode="edge")
    slope = np.zeros_like(features_TF)
    for n in range(1, DELTA_WINDOW + 1):
        ahead = padded[DELTA_WINDOW + n : DELTA_WINDOW + n + frames]
        behind = padded[DELTA_WINDOW - n : DELTA_WINDOW - n + frames]
        slope += np.float32(n) * (ahead - behind)
    slope /= np.float32(2 * sum(n * n for n in range(1, DELTA_WINDOW + 1)))
    return slope
