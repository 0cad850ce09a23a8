"""From greedy paths to hypotheses with times, scores and edit counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jiwer

from ctckit.ops import GreedyPaths
from ctckit.types import Batch, Hypothesis


def hypotheses(
    paths: GreedyPaths,
    batch: Batch,
    output_lengths: Sequence[int],
    tokens: Sequence[str],
    references: Mapping[str, tuple[str, ...]],
    frame_rate: float | None = None,
) -> list[Hypothesis]:
    """Turn the greedy paths of a batch into hypotheses, beside their references where there are some.

    Args:
        paths: of the batch, in output frames.
        batch: gives ids and input lengths.
        output_lengths: frames of each clip after subsampling; times are mapped back in proportion.
        tokens: of the alphabet, blank first.
        references: transcripts by clip id, of all clips or of none. Not the batch's targets, which lack tokens that
            the alphabet lacks: each of those must count as an error.
        frame_rate: input frames a second, or None if unknown.
    """
    rows = zip(
        batch.clip_ids,
        batch.lengths_B.tolist(),
        output_lengths,
        paths.tokens_BS.tolist(),
        paths.counts_B.tolist(),
        paths.starts_BS.tolist(),
        paths.ends_BS.tolist(),
        paths.scores_BS.tolist(),
        strict=True,
    )
    decoded = []
    for clip_id, frames, out_frames, path, count, starts, ends, scores in rows:
        hypothesis = tuple(tokens[label] for label in path[:count])
        reference = references[clip_id] if references else ()
        substitutions, deletions, insertions = edit_counts(reference, hypothesis) if references else (0, 0, 0)
        decoded.append(
            Hypothesis(
                clip_id=clip_id,
                reference=reference,
                tokens=hypothesis,
                starts=tuple(start * frames // out_frames for start in starts[:count]),
                ends=tuple(-(-end * frames // out_frames) for end in ends[:count]),
                scores=tuple(scores[:count]),
                substitutions=substitutions,
                deletions=deletions,
                insertions=insertions,
                frame_rate=frame_rate,
            )
        )
    return decoded


def edit_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int]:
    """Count substitutions, deletions and insertions of a minimum edit alignment (jiwer).

    Tokens are compared as numbers written out, because jiwer splits at white space and a gloss may hold some.
    """
    if not reference:  # jiwer refuses an empty reference
        return 0, 0, len(hypothesis)
    numbers: dict[str, str] = {}

    def words(side: Sequence[str]) -> str:
        return " ".join(numbers.setdefault(token, str(len(numbers))) for token in side)

    output = jiwer.process_words(words(reference), words(hypothesis))
    return output.substitutions, output.deletions, output.insertions
