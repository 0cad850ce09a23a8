"""One pass over the features of the corpora, a clip at a time: what is in them, and what is in them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
import torch

from ctckit.audit.refusals import by_kind
from ctckit.data import Corpus
from ctckit.errors import ClipError, DataError
from ctckit.interfaces import Model
from ctckit.types import Finding

SOURCE = "docs/founding-document.md C5"

CONSTANT = 1e-10
"""Variance up to which a column counts as constant, as in the feature pipeline."""

HALF_MAX = 6e4
"""Magnitude at which a float16 is about to overflow."""

TAIL = 5
"""Equal frames at an end of a clip from which on they may be padding."""

TAIL_SHARE = 5.0
"""Per cent of all frames at such ends from which on they matter."""

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
        padded: of clips that begin or end in `TAIL` equal frames or more, frozen ones aside: how many these are, by
            the number of the clip.
        sides: clips that begin, and that end so.
        indices: numbers of the clips read.
        refused: what is wrong with clips that cannot be used.
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
    padded: dict[int, int] = field(default_factory=dict)
    sides: list[int] = field(default_factory=lambda: [0, 0])
    indices: list[int] = field(default_factory=list)
    refused: list[DataError] = field(default_factory=list)
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
            ends = (_equal_frames(features_TF), _equal_frames(features_TF[::-1]))
            if max(ends) >= TAIL:
                self.padded[index] = sum(frames for frames in ends if frames >= TAIL)
                self.sides = [seen + (frames >= TAIL) for seen, frames in zip(self.sides, ends, strict=True)]
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
        self.whole = self.whole and bool((features_TF == np.rint(features_TF)).all())
        wide = features_TF.astype(np.float64)
        if self.origin is None:
            self.origin = wide.mean(axis=0)
        wide -= self.origin
        self.sums += wide.sum(axis=0)
        self.squares += np.einsum("tf,tf->f", wide, wide)
        self.frames += len(features_TF)
        self.indices.append(index)
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


def _equal_frames(features_TF: npt.NDArray[np.float32]) -> int:
    """Frames at the beginning that equal the first, itself included."""
    changes = (features_TF != features_TF[0]).any(axis=1)
    return int(changes.argmax()) if changes.any() else len(features_TF)


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
            found.refused.append(error)
        if progress is not None:
            progress(done, take)
    corpus.close()
    return found


def check_features(
    corpora: Mapping[str, Corpus],
    normalize: str,
    *,
    model: Model | None = None,
    clips: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Finding]:
    """Check the features of every corpus, and of each against those before it.

    Args:
        corpora: by name; ``train`` first, as far as it is there.
        normalize: what the feature pipeline does.
        model: whose ``output_lengths`` counts where padding is taken off; None counts frames as they are stored.
        clips: clips to read of each, None for all.
        progress: told clips done and clips in all of each corpus.
    """
    surveys: dict[str, Survey] = {}
    for name, corpus in corpora.items():
        surveys[name] = found = survey(corpus, clips=clips, progress=progress)
        prefix = "" if name == "train" else f"{name}: "
        if found.refused:
            yield _refused(prefix, corpus, found)
        if found.clips:
            yield from _values(prefix, found, corpus, normalize)
            yield from _padding(prefix, found, corpus, model)
            yield from _repeated(prefix, found, corpus)
    for (other_name, other), (name, found) in combinations(surveys.items(), 2):
        yield from _leaks(name, found, corpora[name], other_name, other, corpora[other_name])
        if other_name == "train" and found.clips and other.clips and found.columns == other.columns:
            yield from _differs(name, found, other)


def _refused(prefix: str, corpus: Corpus, found: Survey) -> Finding:
    return Finding(
        "features_refused",
        "error",
        f"{prefix}{corpus.path}: {len(found.refused)} clips cannot be used: {'; '.join(by_kind(found.refused))}",
        {
            "clips": len(found.refused),
            "ids": ", ".join(error.clip_id for error in found.refused[:IDS] if isinstance(error, ClipError)),
        },
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


def _padding(prefix: str, found: Survey, corpus: Corpus, model: Model | None) -> Iterator[Finding]:
    padding = sum(found.padded.values())
    share = 100.0 * padding / found.frames
    if share < TAIL_SHARE:
        return
    stored = corpus.frame_counts[found.indices]
    without = stored - np.array([found.padded.get(index, 0) for index in found.indices])
    if model is not None:
        stored, without = (model.output_lengths(torch.from_numpy(frames)).numpy() for frames in (stored, without))
    texts = [corpus.transcript(index) for index in found.indices]
    lengths = np.array([len(text) for text in texts])
    needed = lengths + [sum(a == b for a, b in pairwise(text)) for text in texts]
    before, after = (float(frames.sum() / lengths.sum()) for frames in (stored, without))
    hidden = int(((without < needed) & (stored >= needed)).sum())
    path = f"; {hidden} clips have a CTC path only through it" if hidden else ""
    first, last = found.sides
    ids = [corpus.ids[index] for index in found.padded]
    yield Finding(
        "padding_frames",
        "warning",
        f"{prefix}{len(ids)} clips begin ({first}) or end ({last}) in {TAIL} or more identical frames, "
        f"{share:.0f} % of all: {', '.join(ids[:5])}; T/U is {before:.1f} with them and {after:.1f} without, "
        f"1 - U/T {100 - 100 / before:.1f} % and {100 - 100 / max(after, 1e-9):.1f} %{path}",
        {
            "clips": len(ids),
            "begin": first,
            "end": last,
            "share": share,
            "frames_per_label": before,
            "frames_per_label_without": after,
            "infeasible_without": hidden,
            "ids": ", ".join(ids[:IDS]),
        },
        "cut clips at their own length if that is padding: it counts in T/U and 1 - U/T, and clips without a "
        "CTC path hide behind it",
        f"{SOURCE} (padding)",
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


def _leaks(
    name: str, found: Survey, corpus: Corpus, other_name: str, other: Survey, other_corpus: Corpus
) -> Iterator[Finding]:
    common = [digest for digest in found.digests if digest in other.digests]
    if common:
        there, here = other.digests[common[0]][0], found.digests[common[0]][0]
        clips, back = (sum(len(one.digests[digest]) for digest in common) for one in (found, other))
        yield Finding(
            "duplicates_across_splits",
            "error",
            f"{name}: {clips} clips are in {other_name} too: "
            f"{corpus.ids[here]!r} is {other_corpus.ids[there]!r} there",
            {
                "clips": clips,
                "share": 100.0 * clips / found.clips,
                "reverse_share": 100.0 * back / other.clips,
                "with": other_name,
            },
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
