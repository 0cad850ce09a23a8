"""What a corpus is like, in the figures that decide whether CTC can learn from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.contents import Contents
from ctckit.data.dataset import Corpus
from ctckit.data.targets import Infeasible, encode_targets

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class CorpusStatistics:
    """Figures of one corpus.

    Attributes:
        path: the file.
        unit: what a token is.
        simulated: whether the features are simulated.
        clips: number of clips.
        feature_size: F.
        stored_type: of the features.
        frames: in all.
        frame_quantiles: frames of a clip at `QUANTILES`.
        tokens: in all.
        token_quantiles: tokens of a clip at `QUANTILES`.
        frames_per_token: T/U over the corpus, output frames (after ``subsampling``), as the audit has it.
        subsampling: factor that the following assume, with ``T // subsampling`` output frames.
        blank_reference: blank share of perfect one-frame spikes, ``1 - U/T`` over output frames, per cent.
        infeasible: clips without a CTC path.
        classes: of the stored alphabet, blank included; None where the file holds none.
        labels: distinct labels in the transcripts.
        labels_once: of those, how many occur a single time.
        labels_unused: labels of the stored alphabet that no transcript shows.
        most_frequent: the commonest labels with their counts.
        attributes: distinct values of each attribute.
        fingerprint: see `Corpus.fingerprint`.
        contents: groups and datasets of the file, seen against used.
    """

    path: str
    unit: str
    simulated: bool
    clips: int
    feature_size: int
    stored_type: str
    frames: int
    frame_quantiles: tuple[float, ...]
    tokens: int
    token_quantiles: tuple[float, ...]
    frames_per_token: float
    subsampling: int
    blank_reference: float
    infeasible: tuple[Infeasible, ...]
    classes: int | None
    labels: int
    labels_once: int
    labels_unused: int
    most_frequent: tuple[tuple[str, int], ...]
    attributes: dict[str, int]
    fingerprint: str
    contents: Contents

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class OutOfVocabulary:
    """Tokens of one corpus that another never shows.

    Attributes:
        labels: distinct ones with their counts, commonest first.
        tokens: their occurrences in all.
        share: of all tokens, per cent: a floor under the error rate.
        clips: ids of the clips that hold one.
    """

    labels: tuple[tuple[str, int], ...]
    tokens: int
    share: float
    clips: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def describe(corpus: Corpus, *, subsampling: int = 1) -> CorpusStatistics:
    """Gathers the figures of a corpus, features aside.

    Args:
        corpus: the clips.
        subsampling: factor by which the model shortens a clip; its own length map is exact, this is ``T //
            factor``.
    """
    counts = label_counts(corpus)
    targets = encode_targets(corpus, Alphabet(sorted(counts)))
    lengths = targets.lengths
    output_frames = corpus.frame_counts // subsampling
    stored = corpus.alphabet()
    infeasible = tuple(targets.infeasible(corpus.ids, corpus.frame_counts, output_frames).values())
    frames = int(corpus.frame_counts.sum())
    tokens = int(lengths.sum())
    return CorpusStatistics(
        path=str(corpus.path),
        unit=corpus.unit,
        simulated=corpus.simulated,
        clips=len(corpus),
        feature_size=corpus.feature_size,
        stored_type=str(corpus.stored_type),
        frames=frames,
        frame_quantiles=_quantiles(corpus.frame_counts),
        tokens=tokens,
        token_quantiles=_quantiles(lengths),
        frames_per_token=float(output_frames.sum()) / tokens,
        subsampling=subsampling,
        blank_reference=100.0 * (1.0 - tokens / max(int(output_frames.sum()), 1)),
        infeasible=infeasible,
        classes=None if stored is None else len(stored),
        labels=len(counts),
        labels_once=sum(count == 1 for count in counts.values()),
        labels_unused=0 if stored is None else sum(label not in counts for label in stored.labels),
        most_frequent=tuple(counts.most_common(5)),
        attributes={
            name: len({corpus.attributes(index)[name] for index in range(len(corpus))} - {""})
            for name in corpus.attribute_names
        },
        fingerprint=corpus.fingerprint(),
        contents=corpus.contents,
    )


def out_of_vocabulary(train: Corpus, other: Corpus) -> OutOfVocabulary:
    """Finds the tokens of `other` that `train` never shows, which no model trained on it can emit rightly."""
    known = label_counts(train)
    counts = label_counts(other)
    missing = Counter({label: count for label, count in counts.items() if label not in known})
    clips = tuple(
        clip for index, clip in enumerate(other.ids) if any(token in missing for token in other.transcript(index))
    )
    return OutOfVocabulary(
        labels=tuple(missing.most_common()),
        tokens=missing.total(),
        share=100.0 * missing.total() / counts.total(),
        clips=clips,
    )


def label_counts(corpus: Corpus) -> Counter[str]:
    """Occurrences of each label in the transcripts."""
    return Counter(token for index in range(len(corpus)) for token in corpus.transcript(index))


def _quantiles(values: npt.NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, QUANTILES))
