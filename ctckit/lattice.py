"""What a trained model emits for single clips, frame by frame, and which clips it does worst on."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import count

import torch
from torch import Tensor

from ctckit import ops
from ctckit.alignment import best_path
from ctckit.data.clips import StoredClip
from ctckit.decode import input_spans
from ctckit.edits import edit_counts, matches
from ctckit.errors import DataError
from ctckit.recogniser import Clip, Recogniser
from ctckit.types import BLANK, Batch, Hypothesis, Lattice

PEAK = 0.1
"""A label is drawn where its posterior reaches this in some frame, or where hypothesis or transcript holds it."""

SHOWN = 40
"""Labels of a lattice, those with the highest peaks."""


def worst_clips(
    recogniser: Recogniser, clips: Iterable[StoredClip], number: int, faults: list[DataError]
) -> list[StoredClip]:
    """Decode clips and return those with the most errors a token, the worst first.

    Clips without a transcript come after those with one, the least confident first. Features of ``number`` clips
    and of those being decoded are held at a time.

    Args:
        recogniser: decodes them.
        clips: any number.
        number: how many to return, at most.
        faults: gets what is wrong with each clip that cannot be used.
    """
    pending: dict[str, StoredClip] = {}

    def taken() -> Iterator[Clip]:
        for clip in clips:
            pending[clip.clip_id] = clip
            yield Clip(clip.clip_id, clip.features_TF)

    kept: list[tuple[tuple[bool, float], int, StoredClip]] = []
    for order, hypothesis in zip(count(0, -1), recogniser.stream(taken(), faults), strict=False):
        clip = pending.pop(hypothesis.clip_id)
        entry = (_badness(hypothesis, clip.reference), order, clip)
        if len(kept) < number:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
    return [clip for *_, clip in sorted(kept, key=lambda entry: entry[:2], reverse=True)]


def lattice(recogniser: Recogniser, clip: StoredClip) -> Lattice:
    """Return what the model emits for a clip.

    Raises:
        DataError: the clip cannot be used.
        TrainingError: the model gives logits that are not numbers.
    """
    batch = recogniser.prepared(Clip(clip.clip_id, clip.features_TF))
    logits_TBC, lengths_B = recogniser.logits(batch)
    shift, tokens = recogniser.trained.shift, recogniser.tokens
    references = {} if clip.reference is None else {clip.clip_id: clip.reference}
    (hypothesis,) = recogniser.decode(batch, logits_TBC, lengths_B, references)
    posteriors_TC = ops.penalized_log_softmax(logits_TBC, shift)[: int(lengths_B[0]), 0].exp().cpu()
    reference = clip.reference or ()
    numbers = {token: number for number, token in enumerate(tokens)}
    named = [numbers[token] for token in (*reference, *hypothesis.tokens) if token in numbers]
    shown, others = _shown(posteriors_TC, named)
    reference_right, right = matches(reference, hypothesis.tokens)
    return Lattice(
        hypothesis=hypothesis,
        right=right,
        reference_spans=_spans(logits_TBC, lengths_B, [numbers.get(token) for token in reference], batch, shift),
        reference_right=reference_right,
        labels=tuple(tokens[label] for label in shown),
        posteriors_LT=tuple(tuple(posteriors_TC[:, label].tolist()) for label in shown),
        blank_T=tuple(posteriors_TC[:, BLANK].tolist()),
        frames=len(clip.features_TF),
        others=others,
    )


def _badness(hypothesis: Hypothesis, reference: tuple[str, ...] | None) -> tuple[bool, float]:
    if reference is None:
        confidences = hypothesis.confidences
        return False, -sum(confidences) / max(len(confidences), 1)
    return True, sum(edit_counts(reference, hypothesis.tokens)) / max(len(reference), 1)


def _shown(posteriors_TC: Tensor, named: Iterable[int]) -> tuple[list[int], int]:
    """Choose the labels to draw, in the order of their peaks, and count those with a peak that are left out."""
    peaks_C, at_C = posteriors_TC.max(0)
    seen = {label for label in torch.nonzero(peaks_C >= PEAK).flatten().tolist() if label != BLANK} | set(named)
    kept = sorted(seen, key=lambda label: -float(peaks_C[label]))[:SHOWN]
    return sorted(kept, key=lambda label: (int(at_C[label]), label)), len(seen) - len(kept)


def _spans(
    logits_TBC: Tensor, lengths_B: Tensor, classes: list[int | None], batch: Batch, shift: float
) -> tuple[tuple[int, int], ...]:
    """Place the reference on its best path, in input frames; nothing where a label is unknown or no path exists."""
    known = [label for label in classes if label is not None]
    if not known or len(known) != len(classes):
        return ()
    aligned = best_path(logits_TBC, lengths_B, known, shift)
    if aligned is None:
        return ()
    return input_spans(
        aligned.starts_BS[0].tolist(), aligned.ends_BS[0].tolist(), int(batch.lengths_B[0]), int(lengths_B[0])
    )
