"""Which clips make up which batch: a pure function of seed and epoch."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ctckit.errors import ConfigError

BUCKET_BATCHES: Final = 12
"""Batches whose clips are sorted by length together. More means less padding and less chance in who meets
whom."""


class BatchPlan:
    """Plans each epoch's batches so that clips of similar length meet, yet not always the same ones.

    With `shuffle` the clips are shuffled, cut into buckets of `BUCKET_BATCHES` batches, sorted by length within
    each bucket, cut into batches, and the batches are shuffled. Without it clips go from the longest to the
    shortest, in every epoch alike, so that a lack of memory shows in the first batch. Every clip occurs exactly
    once an epoch; none is dropped, unless the caller asks for a share of the shortest. Nothing is remembered
    between calls, so a run resumes anywhere by asking for the same epoch again.

    Without `max_batch_frames` every epoch has the same number of batches, and their sizes differ by at most
    one. With it the number may vary a little between epochs.

    Args:
        frame_counts: int64 [N], frames of each clip.
        batch_size: most clips in a batch.
        max_batch_frames: most frames in a batch, padding included (clips times longest clip), or None. A clip
            that alone is longer makes a batch of its own.
        shuffle: see above.
        seed: of the shuffling.

    Raises:
        ConfigError: a size is less than 1, or the seed is negative.
    """

    def __init__(
        self,
        frame_counts: npt.NDArray[np.int64],
        *,
        batch_size: int,
        max_batch_frames: int | None,
        shuffle: bool,
        seed: int,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it is at least 1")
        if max_batch_frames is not None and max_batch_frames < 1:
            raise ConfigError(f"max_batch_frames is {max_batch_frames}; it is at least 1")
        if seed < 0:
            raise ConfigError(f"seed is {seed}; it is at least 0")
        self.batch_size = batch_size
        self.max_batch_frames = max_batch_frames
        self.shuffle = shuffle
        self.seed = seed
        self._frames = np.array(frame_counts, dtype=np.int64)

    def __len__(self) -> int:
        """Clips, not batches: these may depend on the epoch."""
        return len(self._frames)

    def batches(self, epoch: int, *, share: float = 1.0) -> list[npt.NDArray[np.int64]]:
        """Batches of one epoch, in order.

        Args:
            epoch: any number from 0.
            share: of the clips, the shortest ones, above 0 up to 1; rounded up, never less than one batch.

        Returns:
            int64 arrays of clip numbers, 0 .. N - 1, the longest clip of each batch first.
        """
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share is {share}; it is above 0 and at most 1")
        clips = len(self._frames)
        if not clips:
            return []
        clips = min(max(math.ceil(share * clips), self.batch_size), clips)
        shortest = np.sort(np.argsort(self._frames, kind="stable")[:clips])
        rng = np.random.default_rng((self.seed, epoch))
        order = shortest[rng.permutation(clips)] if self.shuffle else shortest
        sizes = self._sizes(clips)
        per_bucket = BUCKET_BATCHES if self.shuffle else len(sizes)
        out: list[npt.NDArray[np.int64]] = []
        start = 0
        for first in range(0, len(sizes), per_bucket):
            bucket_sizes = sizes[first : first + per_bucket]
            bucket = order[start : start + int(bucket_sizes.sum())]
            start += len(bucket)
            # Stable, so that clips of equal length keep their shuffled order.
            bucket = bucket[np.argsort(-self._frames[bucket], kind="stable")]
            if self.max_batch_frames is None:
                out.extend(np.split(bucket, np.cumsum(bucket_sizes)[:-1]))
            else:
                out.extend(self._cut(bucket, self.max_batch_frames))
        if self.shuffle:
            out = [out[place] for place in rng.permutation(len(out))]
        return out

    def _sizes(self, clips: int) -> npt.NDArray[np.int64]:
        count = -(-clips // self.batch_size)
        sizes = np.full(count, clips // count, dtype=np.int64)
        sizes[: clips % count] += 1
        return sizes

    def _cut(self, bucket: npt.NDArray[np.int64], budget: int) -> list[npt.NDArray[np.int64]]:
        out = []
        start = 0
        while start < len(bucket):
            # Longest first: the first clip sets the padded length of its batch.
            fit = max(1, min(self.batch_size, budget // int(self._frames[bucket[start]])))
            out.append(bucket[start : start + fit])
            start += fit
        return out
