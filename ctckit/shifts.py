"""Decode-time blank shifts, all from one pass over a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ctckit import ops
from ctckit.edits import edit_counts
from ctckit.types import Batch, Emissions


@dataclass(frozen=True, slots=True)
class Shifted:
    """Scores of a corpus under one shift of the blank logit.

    Attributes:
        shift: nats; negative makes blanks rarer.
        substitutions: edit counts over the corpus, as are the next two.
        deletions: see above.
        insertions: see above.
        reference_tokens: tokens in all references.
        blank_ratio: output frames whose best class is blank, per cent.
    """

    shift: float
    substitutions: int
    deletions: int
    insertions: int
    reference_tokens: int
    blank_ratio: float

    @property
    def errors(self) -> int:
        """Edits in all."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate, per cent."""
        return 100.0 * self.errors / self.reference_tokens


def sweep_shifts(
    outputs: Iterable[tuple[Batch, Emissions]],
    shifts: Sequence[float],
    tokens: Sequence[str],
    references: Mapping[str, tuple[str, ...]],
) -> tuple[Shifted, ...]:
    """Score greedy decoding under each of several shifts.

    Args:
        outputs: batches with what the model returns for them, each looked at once.
        shifts: nats.
        tokens: of the alphabet, blank first.
        references: transcripts by clip id.
    """
    counts = [[0, 0, 0] for _ in shifts]
    blanks = [0] * len(shifts)
    frames = words = 0
    for batch, emissions in outputs:
        lengths_B = emissions.lengths_B
        stats = ops.frame_stats(emissions.logits_TBC, lengths_B)
        real_TB = ops.real_frames(lengths_B, len(stats.best_TB))
        margin_N = (stats.best_logit_TB - stats.blank_logit_TB)[real_TB]
        frames += len(margin_N)
        paths_KBT, counts_KB = (part.tolist() for part in ops.sweep(stats, lengths_B, shifts))
        words += sum(len(references[clip]) for clip in batch.clip_ids)
        # most shifts change nothing about most clips
        known: dict[tuple[str, tuple[int, ...]], tuple[int, int, int]] = {}
        for k, shift in enumerate(shifts):
            blanks[k] += int((margin_N <= shift).sum())
            for clip, path, count in zip(batch.clip_ids, paths_KBT[k], counts_KB[k], strict=True):
                key = clip, tuple(path[:count])
                if key not in known:
                    known[key] = edit_counts(references[clip], [tokens[label] for label in key[1]])
                counts[k] = [a + b for a, b in zip(counts[k], known[key], strict=True)]
    return tuple(
        Shifted(shift, substitutions, deletions, insertions, words, 100.0 * blank / max(frames, 1))
        for shift, (substitutions, deletions, insertions), blank in zip(shifts, counts, blanks, strict=True)
    )


def best_shift(swept: Sequence[Shifted]) -> Shifted:
    """Fewest errors; of equals the one nearest to no shift."""
    return min(swept, key=lambda one: (one.errors, abs(one.shift), one.shift))
