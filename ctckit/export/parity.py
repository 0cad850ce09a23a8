"""Whether an export recognises what ctckit recognises, on real clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ctckit.data.clips import StoredClip
from ctckit.errors import CheckpointError
from ctckit.export.graph import Graph, Output
from ctckit.recogniser import Recogniser
from ctckit.types import BLANK

Array = npt.NDArray[Any]

Runner = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], tuple[Array, Array]]
"""An export as it runs: features ``[B, T, F]`` and lengths to output and output lengths, as ``Graph`` has them."""

ALIKE = 1e-2
"""Nats by which a log-probability may differ; rounding differs by some 1e-5, a wrong graph by much more."""

BATCH = 8


@dataclass(slots=True)
class Parity:
    """What comparing came to.

    Attributes:
        clips: compared, each alone and all of them in padded batches.
        tokens: recognised in them, the same by both.
        largest: largest difference of a log-probability, nats; None where labels are exported.
        milliseconds: median time of a clip alone, of the export and of ctckit, one after the other.
    """

    clips: int = 0
    tokens: int = 0
    largest: float | None = None
    milliseconds: tuple[float, float] = (0.0, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program to read."""
        export, own = self.milliseconds
        return {
            "clips": self.clips,
            "tokens": self.tokens,
            "largest_difference": self.largest,
            "milliseconds": export,
            "own_milliseconds": own,
        }

    def describe(self) -> str:
        """Say it in a line."""
        difference = "" if self.largest is None else f", largest difference {self.largest:.1e} nats"
        export, own = self.milliseconds
        return (
            f"the same {self.tokens} tokens on {self.clips} clips, alone and in batches{difference}; "
            f"{export:.1f} ms a clip, ctckit {own:.1f} ms"
        )


def compare(recogniser: Recogniser, clips: Sequence[StoredClip], run: Runner, output: Output) -> Parity:
    """Run an export beside ctckit, on each clip alone and on padded batches.

    Raises:
        CheckpointError: they differ; names the clip.
    """
    parity = Parity(len(clips), largest=0.0 if output == "log-probs" else None)
    expected: list[tuple[tuple[str, ...], Array]] = []
    times: list[tuple[float, float]] = []
    for clip in clips:
        features = np.ascontiguousarray(clip.features_TF, np.float32)
        began = time.perf_counter()
        (hypothesis,) = recogniser([features], clip_ids=[clip.clip_id])
        between = time.perf_counter()
        found, lengths = run(features[None], np.array([len(features)]))
        ended = time.perf_counter()
        times.append((ended - between, between - began))
        logged = _own(recogniser, features)
        expected.append((hypothesis.tokens, logged))
        parity.tokens += len(hypothesis.tokens)
        _same(recogniser, clip.clip_id, expected[-1], found[0], int(lengths[0]), parity)
    for first in range(0, len(clips), BATCH):
        some = clips[first : first + BATCH]
        frames = [len(clip.features_TF) for clip in some]
        # padding holds what must not matter
        features_BTF = np.full((len(some), max(frames), recogniser.feature_size), 7.0, np.float32)
        for row, clip in zip(features_BTF, some, strict=True):
            row[: len(clip.features_TF)] = clip.features_TF
        found, lengths = run(features_BTF, np.array(frames))
        for number, clip in enumerate(some):
            _same(recogniser, clip.clip_id, expected[first + number], found[number], int(lengths[number]), parity)
    export, own = (1e3 * median(of_each) for of_each in zip(*times, strict=True))
    parity.milliseconds = (export, own)
    return parity


@torch.inference_mode()
def _own(recogniser: Recogniser, features_TF: npt.NDArray[np.float32]) -> Array:
    """Log-probabilities of a clip by ctckit's own preparation, [T_out, C]."""
    trained = recogniser.trained
    prepared_BTF = torch.from_numpy(trained.pipeline(features_TF))[None].to(recogniser.device)
    lengths_B = torch.tensor([len(features_TF)], device=recogniser.device)
    logits_TC = trained.model(prepared_BTF, lengths_B).logits_TBC[:, 0].clone()
    logits_TC[:, BLANK] += trained.shift
    logged: Array = logits_TC.log_softmax(-1).cpu().numpy()
    return logged


def _same(
    recogniser: Recogniser,
    clip_id: str,
    expected: tuple[tuple[str, ...], Array],
    found: Array,
    length: int,
    parity: Parity,
) -> None:
    tokens, logged_TC = expected
    if length != len(logged_TC):
        raise CheckpointError(f"clip {clip_id!r}: the export has {length} output frames, ctckit {len(logged_TC)}")
    kept = found[:length]
    if parity.largest is None:
        labels = kept[kept != BLANK]
    else:
        best = kept.argmax(-1)
        labels = best[(best != np.concatenate([[BLANK], best[:-1]])) & (best != BLANK)]
        difference = float(np.abs(kept.astype(np.float64) - logged_TC).max())
        parity.largest = max(parity.largest, difference)
        if not difference <= ALIKE:
            raise CheckpointError(
                f"clip {clip_id!r}: log-probabilities differ by {difference:.3g} nats from ctckit's"
            )
    theirs = tuple(recogniser.tokens[int(label)] for label in labels)
    if theirs != tokens:
        raise CheckpointError(
            f"clip {clip_id!r}: the export recognises {' '.join(theirs) or 'nothing'}, ctckit "
            f"{' '.join(tokens) or 'nothing'}"
        )


def runner_of(graph: Graph) -> Runner:
    """Run a module of torch as an export is run."""

    @torch.inference_mode()
    def run(features_BTF: npt.NDArray[np.float32], lengths_B: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        found, lengths = graph(torch.from_numpy(features_BTF), torch.from_numpy(lengths_B))
        return found.numpy(), lengths.numpy()

    return run
