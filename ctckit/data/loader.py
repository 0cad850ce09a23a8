"""Reads, transforms and pads clips into batches, here or in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ctckit.data.batching import BatchPlan
from ctckit.data.dataset import Corpus
from ctckit.data.features import FeaturePipeline
from ctckit.data.targets import Targets
from ctckit.errors import ConfigError, DataError
from ctckit.types import TARGET_PADDING, Batch

StartMethod = Literal["fork", "spawn", "forkserver"]

_Parts = tuple[Sequence[str], Tensor, Tensor, Tensor, Tensor]
"""The fields of a batch as workers send them: torch's pinning looks into a tuple, not into a dataclass."""

_Selection = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Failure:
    """An error that a worker found. Raised over there, torch would bury its one line in a traceback."""

    message: str


class Loader:
    """Yields the batches of an epoch, from any batch on.

    With ``workers == 0`` clips are read in this process and kept, transformed, in up to `cache_mb` of memory,
    so that a small corpus is read once. With workers, that many processes read ahead; they stay between
    epochs and their batches are the same, bit for bit. No global random state is read or written.

    Args:
        corpus: the clips.
        targets: of the same corpus, from `ctckit.data.encode_targets`.
        pipeline: fitted.
        plan: of the clips in `indices`, or of all: its clip number i is ``indices[i]``.
        indices: clips of the corpus to use, or None for all of them.
        workers: processes that read ahead.
        pin_memory: page-lock batches for faster copies to a GPU; needs one.
        cache_mb: memory for transformed clips, in MiB; 0 keeps nothing. Once it is full no clip is exchanged:
            epochs visit all clips, so exchanging would only ever throw out what is needed next.
        start_method: how workers start; None takes the platform's default.

    Raises:
        ConfigError: a number is negative.
        DataError: the corpus does not have the width that the pipeline was made for.
    """

    def __init__(
        self,
        corpus: Corpus,
        targets: Targets,
        pipeline: FeaturePipeline,
        plan: BatchPlan,
        *,
        indices: Sequence[int] | npt.NDArray[np.int64] | None = None,
        workers: int = 0,
        pin_memory: bool = False,
        cache_mb: int = 1024,
        start_method: StartMethod | None = None,
    ) -> None:
        for name, value in (("workers", workers), ("cache_mb", cache_mb)):
            if value < 0:
                raise ConfigError(f"{name} is {value}; it is at least 0")
        pipeline.check(corpus)
        numbers = np.arange(len(corpus)) if indices is None else np.asarray(indices, dtype=np.int64)
        if len(plan) != len(numbers):
            raise ValueError(f"the plan has {len(plan)} clips, the loader {len(numbers)}")
        if len(targets) != len(corpus):
            raise ValueError(f"there are targets of {len(targets)} clips, the corpus has {len(corpus)}")
        self._corpus = corpus
        self._plan = plan
        self._numbers = numbers
        self._pin_memory = pin_memory
        self._workers = workers
        self._start_method = start_method
        self._assembler = _Assembler(corpus, targets, pipeline, 0 if workers else cache_mb << 20)
        self._sampler = _Sampler()
        self._prefetcher: DataLoader[_Parts | _Failure] | None = None

    def batches_in(self, epoch: int, *, share: float = 1.0) -> int:
        """Batches that `epoch` has in all, over a share of the clips, the shortest ones."""
        return len(self._plan.batches(epoch, share=share))

    def epoch(self, epoch: int, *, share: float = 1.0, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch. One epoch may be under way at a time.

        Args:
            epoch: number given to the plan.
            share: of the clips, the shortest ones.
            first_batch: batches to leave out at the start, for going on within an epoch; costs no reading.

        Raises:
            DataError: a clip cannot be used; names file and clip.
        """
        selections = [self._numbers[batch] for batch in self._plan.batches(epoch, share=share)[first_batch:]]
        for clip_ids, *tensors in self._prefetched(selections) if self._workers else self._direct(selections):
            yield Batch(tuple(clip_ids), *tensors)

    def close(self) -> None:
        """Ends the workers, closes the file and forgets cached clips. The loader may be used again."""
        self._prefetcher = None
        self._assembler.forget()
        self._corpus.close()

    def _direct(self, selections: Sequence[_Selection]) -> Iterator[_Parts]:
        for selection in selections:
            clip_ids, *tensors = self._assembler.assemble(selection)
            features, lengths, targets, target_lengths = (
                (tensor.pin_memory() for tensor in tensors) if self._pin_memory else tensors
            )
            yield clip_ids, features, lengths, targets, target_lengths

    def _prefetched(self, selections: Sequence[_Selection]) -> Iterator[_Parts]:
        self._sampler.selections = selections
        if self._prefetcher is None:
            self._corpus.close()  # a forked worker must not inherit an open HDF5 file
            self._prefetcher = DataLoader(
                self._assembler,
                batch_size=None,
                sampler=self._sampler,
                num_workers=self._workers,
                collate_fn=_unchanged,
                pin_memory=self._pin_memory,
                persistent_workers=True,
                multiprocessing_context=self._start_method,
                # Without one of its own, torch draws the workers' seed from the global generator.
                generator=torch.Generator(),
            )
        for parts in self._prefetcher:
            if isinstance(parts, _Failure):
                self._prefetcher = None
                raise DataError(parts.message)
            yield parts


class _Assembler(Dataset["_Parts | _Failure"]):
    """Turns a selection of clips into the padded tensors of a batch; the dataset that workers hold."""

    def __init__(self, corpus: Corpus, targets: Targets, pipeline: FeaturePipeline, cache_bytes: int) -> None:
        self._corpus = corpus
        self._targets = targets
        self._pipeline = pipeline
        self._cache: dict[int, npt.NDArray[np.float32]] = {}
        self._cache_bytes = self._cache_left = cache_bytes

    def __getitem__(self, selection: _Selection) -> _Parts | _Failure:
        try:
            return self.assemble(selection)
        except DataError as error:
            return _Failure(str(error))

    def assemble(self, selection: _Selection) -> _Parts:
        clips = [self._clip(int(index)) for index in selection]
        targets = [self._targets[int(index)] for index in selection]
        lengths = [len(clip) for clip in clips]
        target_lengths = [len(target) for target in targets]
        # Empty, not zeros: each value is then written once.
        features_BTF = torch.empty(len(clips), max(lengths), self._pipeline.output_size)
        targets_BS = torch.full((len(clips), max(target_lengths)), TARGET_PADDING)
        features, padded_targets = features_BTF.numpy(), targets_BS.numpy()
        for row, (clip, target) in enumerate(zip(clips, targets, strict=True)):
            features[row, : len(clip)] = clip
            features[row, len(clip) :] = 0.0
            padded_targets[row, : len(target)] = target
        clip_ids = tuple(self._corpus.ids[int(index)] for index in selection)
        return clip_ids, features_BTF, torch.tensor(lengths), targets_BS, torch.tensor(target_lengths)

    def forget(self) -> None:
        self._cache.clear()
        self._cache_left = self._cache_bytes

    def _clip(self, index: int) -> npt.NDArray[np.float32]:
        clip = self._cache.get(index)
        if clip is None:
            clip = self._pipeline(self._corpus.features(index))
            if clip.nbytes <= self._cache_left:
                self._cache[index] = clip
                self._cache_left -= clip.nbytes
        return clip


class _Sampler:
    """Hands out the selections of the epoch under way; each is one item of the dataset."""

    def __init__(self) -> None:
        self.selections: Sequence[_Selection] = ()

    def __iter__(self) -> Iterator[_Selection]:
        return iter(self.selections)

    def __len__(self) -> int:
        return len(self.selections)


def _unchanged(parts: Any) -> Any:
    return parts
