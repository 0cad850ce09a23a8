"""Transcripts placed in time by a trained run: forced alignment, and segments made of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ctckit import ops
from ctckit.data.alphabet import near_misses
from ctckit.data.clips import StoredClip
from ctckit.data.targets import Infeasible
from ctckit.decode import input_spans
from ctckit.errors import DataError
from ctckit.long_alignment import cut, long_spans
from ctckit.loss import naming_diverged
from ctckit.recogniser import Clip, Recogniser
from ctckit.types import BLANK

Segments = Literal["path", "starts", "durations"]
"""How far a token reaches: over its frames on the best path; from its first of these to the next token's; or over
all frames that are rather its own than any other token's (`whole`)."""

BLANK_COST = 8.0
"""Nats taken off each blank for ``durations``, so that labels last; chosen on dev corpora (docs/alignment.md)."""

LONG = 1 << 24
"""Frames times tokens from which on a clip is aligned in little memory, and parted where its path has blanks."""

WILDCARD_COST = 1e-3
"""Nats by which a wildcard is worse in a frame than the best class, so that a best label keeps its frame."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """A transcript placed in time.

    Attributes:
        clip_id: the clip.
        tokens: of the transcript, wildcards as they stand there.
        starts: first frame of each token's segment, in input frames.
        ends: frame after the last of each, in input frames.
        scores: mean log-probability of each token over its frames on the best path, nats; of a wildcard that of the
            best class in each.
        wild: whether each token is a wildcard.
        frames: of the input.
        frame_rate: input frames a second; None where unknown.
    """

    clip_id: str
    tokens: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    scores: tuple[float, ...]
    wild: tuple[bool, ...]
    frames: int
    frame_rate: float | None = None

    @property
    def confidences(self) -> tuple[float, ...]:
        """Of each token, 0 to 1: the geometric mean of its posterior; a calibration is of decoding, not of this."""
        return tuple(math.exp(min(score, 0.0)) for score in self.scores)

    @property
    def confidence(self) -> float:
        """Of the clip, 0 to 1: the geometric mean over the tokens that are no wildcards; 1 where there is none."""
        scores = [min(score, 0.0) for score, wild in zip(self.scores, self.wild, strict=True) if not wild]
        return math.exp(sum(scores) / max(len(scores), 1))

    @property
    def seconds(self) -> tuple[tuple[float, float], ...] | None:
        """Start and end of each token in seconds; None where the frame rate is unknown."""
        rate = self.frame_rate
        if rate is None:
            return None
        return tuple((start / rate, end / rate) for start, end in zip(self.starts, self.ends, strict=True))


def align_transcripts(
    recogniser: Recogniser,
    clips: Iterable[StoredClip],
    faults: list[DataError],
    *,
    segments: Segments = "durations",
    correction: float = 0.0,
    wildcard: str | None = None,
) -> Iterator[Aligned]:
    """Place the transcripts of clips in time, a clip at a time.

    A clip of T output frames and U tokens takes the logits, and about 20 T U bytes for its paths, or, where that is
    more than 20 `LONG`, some 35 sqrt(T) U bytes and a longer time (`ctckit.long_alignment`).

    Args:
        recogniser: the trained run.
        clips: with their transcripts.
        faults: gets what is wrong with each clip that cannot be aligned, which is then left out: no transcript,
            labels that the model lacks, no path.
        segments: how far a token reaches. ``durations`` comes nearest to where tokens begin
            (benchmarks/alignment.py), and leaves no pause between them.
        correction: input frames by which tokens are taken to begin before their path does, for ``starts``. A
            network emits a label when it is sure of it, not when it begins.
        wildcard: a token of transcripts that stands for anything, of any length, in a stretch that nobody
            transcribed. In each frame it is as good as the best class, the blank included.

    Yields:
        Each other clip, in the order given.

    Raises:
        TrainingError: the model gives logits that are not numbers.
    """
    for clip in clips:
        try:
            yield _aligned(recogniser, clip, segments, correction, wildcard)
        except DataError as error:
            faults.append(error)


def best_path(logits_TBC: Tensor, lengths_B: Tensor, classes: Sequence[int], shift: float) -> ops.Alignment | None:
    """Return the best path of a clip through its classes, None where there is none.

    Args:
        logits_TBC: of one clip.
        lengths_B: its frames.
        classes: of the transcript; the one beyond the last of the model is the wildcard.
        shift: on the blank, nats.
    """
    found = ops.align(*_problem(logits_TBC, lengths_B, classes, shift))
    return None if bool(found.utterance_scores_B.isneginf().any()) else found


def whole(logits_TBC: Tensor, lengths_B: Tensor, classes: Sequence[int], shift: float) -> ops.Alignment:
    """Part a clip that has a path among its classes, no frame left over.

    Of all ways to do so the one is taken in which most frames can be expected to be right, given the posterior
    occupancies of the labels where blanks cost `BLANK_COST`. For arguments see `best_path`.
    """
    problem = _problem(logits_TBC, lengths_B, classes, shift - BLANK_COST)
    occupancies_BTS = ops.occupancies(*problem)
    occupancies_BTS[..., BLANK] = -math.inf
    places_BS = torch.arange(1, len(classes) + 1, device=logits_TBC.device)[None]
    return ops.align(occupancies_BTS.transpose(0, 1), places_BS, lengths_B, problem[3])


def _problem(
    logits_TBC: Tensor, lengths_B: Tensor, classes: Sequence[int], shift: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Arguments of an op for one clip, with a class more where a wildcard is among the classes."""
    if logits_TBC.shape[2] in classes:
        logits_TBC = logits_TBC.clone()
        logits_TBC[..., BLANK] += shift
        logits_TBC = torch.cat([logits_TBC, logits_TBC.amax(2, keepdim=True) - WILDCARD_COST], 2)
        shift = 0.0
    targets_BS = torch.tensor([list(classes)], device=logits_TBC.device, dtype=torch.int64)
    return logits_TBC, targets_BS, lengths_B, torch.full_like(lengths_B, len(classes)), shift


def _aligned(
    recogniser: Recogniser, clip: StoredClip, segments: Segments, correction: float, wildcard: str | None
) -> Aligned:
    if clip.reference is None:
        raise DataError(f"clip {clip.clip_id!r} has no transcript to align")
    numbers = {token: number for number, token in enumerate(recogniser.tokens)}
    if wildcard is not None:
        numbers[wildcard] = len(recogniser.tokens)
    if unknown := [token for token in dict.fromkeys(clip.reference) if numbers.get(token, BLANK) == BLANK]:
        near = [
            f"; {label!r} is: {difference}"
            for label, difference in near_misses(unknown, recogniser.tokens).values()
        ]
        raise DataError(
            f"clip {clip.clip_id!r}: the model has no label {', '.join(map(repr, unknown))}{''.join(near[:1])}"
        )
    classes = [numbers[token] for token in clip.reference]
    batch = recogniser.prepared(Clip(clip.clip_id, clip.features_TF))
    logits_TBC, lengths_B = recogniser.logits(batch)
    frames, out_frames, shift = len(clip.features_TF), int(lengths_B[0]), recogniser.trained.shift
    with naming_diverged("main", logits_TBC, lengths_B, batch):
        spans = _path_spans(logits_TBC, lengths_B, classes, shift)
    if spans is None:
        repeats = sum(a == b for a, b in pairwise(classes))
        raise DataError(str(Infeasible(clip.clip_id, frames, out_frames, len(classes), repeats)))
    scores = _scores(logits_TBC[:out_frames, 0], classes, spans, shift)
    if segments == "durations" and classes:
        spans = _whole_spans(logits_TBC[:out_frames], classes, shift, spans)
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    spans = _apart(input_spans(starts, ends, frames, out_frames))
    if segments == "starts":
        spans = start_to_start(spans, frames, correction)
    return Aligned(
        clip.clip_id,
        clip.reference,
        tuple(start for start, _ in spans),
        tuple(end for _, end in spans),
        scores,
        tuple(token == wildcard for token in clip.reference),
        frames,
        recogniser.frame_rate,
    )


def start_to_start(spans: Sequence[tuple[int, int]], frames: int, correction: float) -> list[tuple[int, int]]:
    """Let each token reach to the next one's start, the last to the clip's end.

    Args:
        spans: of the tokens.
        frames: of the clip.
        correction: frames that each token begins before its span; each keeps a frame of its own.
    """
    starts: list[int] = []
    for number, (start, _) in enumerate(spans):
        starts.append(max(round(start - correction), starts[-1] + 1 if number else 0))
    return list(zip(starts, [*starts[1:], frames], strict=False))


def _apart(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """End spans that overlap, because output frames are no whole input frames, where the next begins."""
    cut = [(start, min(end, following)) for (start, end), (following, _) in pairwise(spans)]
    return [*cut, *spans[-1:]]


def _path_spans(
    logits_TBC: Tensor, lengths_B: Tensor, classes: Sequence[int], shift: float
) -> list[tuple[int, int]] | None:
    """Output frames of each label on the best path of a clip, None where there is none."""
    frames = int(lengths_B[0])
    if frames * len(classes) > LONG:
        wide_TBC, targets_BS, _, _, rest = _problem(logits_TBC[:frames], lengths_B, classes, shift)
        return long_spans(wide_TBC[:, 0], targets_BS[0], rest)
    path = best_path(logits_TBC, lengths_B, classes, shift)
    return None if path is None else _spans(path)


def _whole_spans(
    logits_TBC: Tensor, classes: Sequence[int], shift: float, path: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Output frames of each label where no frame is left over; a long clip is parted along its path."""
    spans = []
    for frames, labels in cut(path, len(logits_TBC), LONG):
        piece_TBC = logits_TBC[frames]
        found = whole(piece_TBC, torch.tensor([len(piece_TBC)], device=piece_TBC.device), classes[labels], shift)
        spans += [(start + frames.start, end + frames.start) for start, end in _spans(found)]
    return spans


def _spans(path: ops.Alignment) -> list[tuple[int, int]]:
    return list(zip(path.starts_BS[0].tolist(), path.ends_BS[0].tolist(), strict=True))


def _scores(
    logits_TC: Tensor, classes: Sequence[int], spans: Sequence[tuple[int, int]], shift: float
) -> tuple[float, ...]:
    log_probs_TC = ops.penalized_log_softmax(logits_TC[:, None], shift)[:, 0]
    wild = log_probs_TC.shape[1]
    return tuple(
        float((log_probs_TC[start:end].amax(1) if label == wild else log_probs_TC[start:end, label]).mean())
        for label, (start, end) in zip(classes, spans, strict=True)
    )
