"""One pass over the features of the corpora, a clip at a time: what is in them, and what is in them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ctckit.data import Corpus
from ctckit.errors import DataError
from ctckit.types import Finding

SOURCE = "docs/founding-document.md C5"

CONSTANT = 1e-10
"""Variance up to which a column counts as constant, as in the feature pipeline."""

HALF_MAX = 6e4
"""Magnitude at which a float16 is about to overflow."""

TAIL = 5
"""Equal frames at the end of a clip from which on they may be padding."""

TAIL_SHARE = 5.0
"""Per cent of all frames in such tails from which on they matter."""

IDS = 20

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Survey:
    """What one pass over a corpus leaves: sums by column, and 16 bytes a clip to know it again.

    Attributes:
        frames: read.
        clips: read.
        origin: first clip's mean, subtracted before squaring so that large offsets cost no digits.
        sums: of ``x - origin`` by column.
        squares: of ``x - origin`` by column.
        low: smallest value.
        high: largest value.
        whole: whether all values are whole numbers.
        frozen: ids of clips in which no column ever changes.
        tails: ids of clips that end in `TAIL` equal frames or more, frozen ones aside.
        tail_frames: frames in these tails.
        refused: clips that cannot be used, with the reason.
        digests: clip numbers by a hash of their features.
    """

    columns: int
    frames: int = 0
    clips: int = 0
    origin: npt.NDArray[np.float64] | None = None
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    frozen: list[str] = field(default_factory=list)
    tails: list[str] = field(default_factory=list)
    tail_frames: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    digests: dict[bytes, list[int]] = field(default_factory=dict)
    sums: npt.NDArray[np.float64] = field(init=False)
    squares: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.columns)
        self.squares = np.zeros(self.columns)

    def add(self, index: int, clip_id: str, features_TF: npt.NDArray[np.float32]) -> None:
        """Take a clip into account."""
        low, high = features_TF.min(axis=0), features_TF.max(axis=0)
        if len(features_TF) > 1 and bool((low == high).all()):
            self.frozen.append(clip_id)
        else:
            changes = np.flatnonzero((features_TF != features_TF[-1]).any(axis=1))
            tail = len(features_TF) - 1 - int(changes[-1]) if len(changes) else 1
            if tail >= TAIL:
                self.tails.append(clip_id)
                self.tail_frames += tail
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
        self.whole = self.whole and bool((features_TF == np.rint(features_TF)).all())
        wide = features_TF.astype(np.float64)
        if self.origin is None:
            self.origin = wide.mean(axis=0)
        wide -= self.origin
        self.sums += wide.sum(axis=0)
        self.squares += np.einsum("tf,tf->f", wide, wide)
        self.frames += len(features_TF)
        self.clips += 1
        digest = hashlib.blake2b(digest_size=16)
        digest.update(np.ascontiguousarray(features_TF).data)
        digest.update(str(features_TF.shape).encode())
        self.digests.setdefault(digest.digest(), []).append(index)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """By column."""
        assert self.origin is not None
        return self.origin + self.sums / self.frames

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """By column."""
        return np.maximum(self.squares / self.frames - (self.sums / self.frames) ** 2, 0.0)


def survey(corpus: Corpus, *, clips: int | None = None, progress: Progress | None = None) -> Survey:
    """Read the features of a corpus once, in memory that does not grow with them.

    Args:
        corpus: the clips.
        clips: at most so many, evenly spaced over the file; None reads all.
        progress: told clips done and clips in all.
    """
    found = Survey(corpus.feature_size)
    take = len(corpus) if clips is None else min(max(clips, 1), len(corpus))
    for done, index in enumerate(np.linspace(0, len(corpus) - 1, take).astype(int).tolist(), 1):
        try:
            found.add(index, corpus.ids[index], corpus.features(index))
        except DataError as error:
            found.refused.append((corpus.ids[index], str(error)))
        if progress is not None:
            progress(done, take)
    corpus.close()
    return found


def check_features(
    corpora: Mapping[str, Corpus],
    normalize: str,
    *,
    clips: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Finding]:
    """Check the features of ``train`` and of the other corpora against it.

    Args:
        corpora: by name; ``train`` first.
        normalize: what the feature pipeline does.
        clips: clips to read of each, None for all.
        progress: told clips done and clips in all of each corpus.
    """
    surveys: dict[str, Survey] = {}
    for name, corpus in corpora.items():
        surveys[name] = found = survey(corpus, clips=clips, progress=progress)
        prefix = "" if name == "train" else f"{name}: "
        if found.refused:
            yield _refused(prefix, found)
        if found.clips:
            yield from _values(prefix, found, corpus, normalize)
            yield from _repeated(prefix, found, corpus)
    for name, found in surveys.items():
        if name != "train" and found.clips and surveys["train"].clips:
            yield from _leaks(name, found, corpora[name], surveys["train"], corpora["train"])
            if found.columns == surveys["train"].columns:
                yield from _differs(name, found, surveys["train"])


def _refused(prefix: str, found: Survey) -> Finding:
    return Finding(
        "features_refused",
        "error",
        f"{prefix}{len(found.refused)} clips cannot be used: {found.refused[0][1]}",
        {"clips": len(found.refused), "ids": ", ".join(clip for clip, _ in found.refused[:IDS])},
        "one NaN makes every weight NaN; extract these clips again or leave them out",
        SOURCE,
    )


def _values(prefix: str, found: Survey, corpus: Corpus, normalize: str) -> Iterator[Finding]:
    constant = int((found.variance <= CONSTANT).sum())
    share = 100.0 * constant / found.columns
    if constant == found.columns:
        yield Finding(
            "features_constant",
            "error",
            f"{prefix}no feature ever varies (all between {found.low:.3g} and {found.high:.3g})",
            {"low": found.low, "high": found.high},
            "integer arrays scaled in integers end as zeros; extract the features again",
            f"{SOURCE} (integer feature arrays scaled to zero)",
        )
        return
    if constant:
        yield Finding(
            "columns_constant",
            "warning" if share > 50.0 else "info",
            f"{prefix}{constant} of {found.columns} columns never vary",
            {"columns": constant, "share": share},
            "is the extractor's output complete?" if share > 50.0 else "",
            SOURCE,
        )
    if found.frozen:
        yield Finding(
            "clips_constant",
            "warning",
            f"{prefix}{len(found.frozen)} clips show the same frame throughout: {', '.join(found.frozen[:5])}",
            {"clips": len(found.frozen), "ids": ", ".join(found.frozen[:IDS])},
            "their labels cannot be told from their frames; look at these clips",
            SOURCE,
        )
    share = 100.0 * found.tail_frames / found.frames
    if share >= TAIL_SHARE:
        yield Finding(
            "padding_frames",
            "warning",
            f"{prefix}{len(found.tails)} clips end in {TAIL} or more identical frames, {share:.0f} % of all: "
            f"{', '.join(found.tails[:5])}",
            {"clips": len(found.tails), "share": share, "ids": ", ".join(found.tails[:IDS])},
            "cut clips at their own length if that is padding: it counts in T/U and 1 - U/T, and clips without a "
            "CTC path hide behind it",
            f"{SOURCE} (padding)",
        )
    rows = set(corpus.frame_counts.tolist())
    if len(rows) == 1 and found.clips > 1 and 2 * next(iter(rows)) < found.columns and next(iter(rows)) > 1:
        yield Finding(
            "looks_transposed",
            "warning",
            f"{prefix}every clip has {next(iter(rows))} frames of {found.columns} columns, as [F, T] would look",
            {"frames": next(iter(rows)), "columns": found.columns},
            "store features as [T, F] if they are transposed; clips of one length are rare otherwise",
            SOURCE,
        )
    if corpus.stored_type.kind in "iub" or (found.whole and found.high - found.low >= 2.0):
        yield Finding(
            "features_integer",
            "warning" if normalize == "none" else "info",
            f"{prefix}all features are whole numbers, {found.low:.0f} to {found.high:.0f} ({corpus.stored_type})",
            {"low": found.low, "high": found.high, "stored_type": str(corpus.stored_type)},
            "enter the network as they stand: --set data.normalize=corpus" if normalize == "none" else "",
            f"{SOURCE} (integer feature arrays)",
        )
    deviation = float(np.sqrt(found.variance.mean()))
    offset = float(np.abs(found.mean).max())
    if normalize == "none" and (not 0.1 <= deviation <= 10.0 or offset > 10.0 * deviation):
        yield Finding(
            "features_unscaled",
            "warning",
            f"{prefix}features have deviation {deviation:.3g} and means up to {offset:.3g}, and are not normalised",
            {"deviation": deviation, "largest_mean": offset},
            "--set data.normalize=corpus",
            SOURCE,
        )
    if str(corpus.stored_type) == "float16" and max(-found.low, found.high) >= HALF_MAX:
        yield Finding(
            "features_saturated",
            "warning",
            f"{prefix}values reach {max(-found.low, found.high):.3g}, where float16 ends",
            {"low": found.low, "high": found.high},
            "store these features in float32, or scaled",
            f"{SOURCE} (fp16 blow-ups)",
        )


def _repeated(prefix: str, found: Survey, corpus: Corpus) -> Iterator[Finding]:
    groups = [indices for indices in found.digests.values() if len(indices) > 1]
    contrary = [group for group in groups if len({corpus.transcript(index) for index in group}) > 1]
    if contrary:
        a, b = contrary[0][:2]
        yield Finding(
            "contradicting_duplicates",
            "error",
            f"{prefix}{len(contrary)} times the same features have different transcripts: "
            f"{corpus.ids[a]!r} and {corpus.ids[b]!r}",
            {"groups": len(contrary), "clips": sum(map(len, contrary))},
            "one of the transcripts is wrong, or the features belong to another clip",
            SOURCE,
        )
    same = [group for group in groups if group not in contrary]
    if same:
        extra = sum(len(group) - 1 for group in same)
        yield Finding(
            "duplicate_clips",
            "warning",
            f"{prefix}{extra} clips repeat another: {corpus.ids[same[0][1]]!r} ({corpus.ids[same[0][0]]!r})",
            {"clips": extra, "share": 100.0 * extra / found.clips},
            "remove them, or know that they count twice",
            SOURCE,
        )


def _leaks(name: str, found: Survey, corpus: Corpus, train: Survey, train_corpus: Corpus) -> Iterator[Finding]:
    common = [digest for digest in found.digests if digest in train.digests]
    if common:
        there, here = train.digests[common[0]][0], found.digests[common[0]][0]
        clips = sum(len(found.digests[digest]) for digest in common)
        yield Finding(
            "duplicates_across_splits",
            "error",
            f"{name}: {clips} clips are in train too: {corpus.ids[here]!r} is {train_corpus.ids[there]!r} there",
            {"clips": clips, "share": 100.0 * clips / found.clips},
            f"take them out of one side: scores on {name} would be those of memory",
            "docs/founding-document.md 5.2 (data leakage)",
        )


def _differs(name: str, found: Survey, train: Survey) -> Iterator[Finding]:
    varying = train.variance > CONSTANT
    if not varying.any():
        return
    deviation = np.sqrt(train.variance[varying])
    shift = float(np.median(np.abs(found.mean[varying] - train.mean[varying]) / deviation))
    scale = float(np.median(np.sqrt(found.variance[varying]) / deviation))
    if shift > 1.0 or not 1 / 3 <= scale <= 3.0:
        yield Finding(
            "features_differ",
            "warning",
            f"{name}: features lie {shift:.2g} standard deviations from train's and vary {scale:.2g} times as much",
            {"shift": shift, "scale": scale},
            "use one extractor and one scaling for all corpora",
            SOURCE,
        )
