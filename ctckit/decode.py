"""From decoded paths to hypotheses with times, scores and edit counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ctckit.edits import edit_counts
from ctckit.search import Found
from ctckit.types import Batch, Calibration, Hypothesis


def hypotheses(
    found: Found,
    batch: Batch,
    output_lengths: Sequence[int],
    tokens: Sequence[str],
    references: Mapping[str, tuple[str, ...]],
    frame_rate: float | None = None,
    log_probabilities: Sequence[float | None] | None = None,
    calibration: Calibration | None = None,
) -> list[Hypothesis]:
    """Turn what was decoded of a batch into hypotheses, beside their references where there are some.

    Args:
        found: in output frames.
        batch: gives ids and input lengths.
        output_lengths: frames of each clip after subsampling; times are mapped back in proportion.
        tokens: of the alphabet, blank first.
        references: transcripts by clip id, of all clips or of none. Not the batch's targets, which lack tokens that
            the alphabet lacks: each of those must count as an error.
        frame_rate: input frames a second, or None if unknown.
        log_probabilities: of each clip's tokens as a whole, nats, or None if not asked for.
        calibration: of the model, or None if not measured.
    """
    paths = found.paths
    rows = zip(
        batch.clip_ids,
        batch.lengths_B.tolist(),
        output_lengths,
        paths.tokens_BS.tolist(),
        paths.counts_B.tolist(),
        paths.starts_BS.tolist(),
        paths.ends_BS.tolist(),
        paths.scores_BS.tolist(),
        [None] * len(batch.clip_ids) if log_probabilities is None else log_probabilities,
        found.alternatives,
        strict=True,
    )
    decoded = []
    for clip_id, frames, out_frames, path, count, starts, ends, scores, log_probability, alternatives in rows:
        hypothesis = tuple(tokens[label] for label in path[:count])
        spans = input_spans(starts[:count], ends[:count], frames, out_frames)
        reference = references[clip_id] if references else ()
        substitutions, deletions, insertions = edit_counts(reference, hypothesis) if references else (0, 0, 0)
        decoded.append(
            Hypothesis(
                clip_id=clip_id,
                reference=reference,
                tokens=hypothesis,
                starts=tuple(start for start, _ in spans),
                ends=tuple(end for _, end in spans),
                scores=tuple(scores[:count]),
                substitutions=substitutions,
                deletions=deletions,
                insertions=insertions,
                frame_rate=frame_rate,
                log_probability=log_probability,
                calibration=calibration,
                alternatives=alternatives,
            )
        )
    return decoded


def input_spans(
    starts: Sequence[int], ends: Sequence[int], frames: int, out_frames: int
) -> tuple[tuple[int, int], ...]:
    """Map spans of output frames to input frames, in proportion; a span covers all that its frames came from."""
    return tuple(
        (start * frames // out_frames, -(-end * frames // out_frames))
        for start, end in zip(starts, ends, strict=True)
    )


def oracle_errors(decoded: Iterable[Hypothesis]) -> int:
    """Return the edits that are left where the best of each clip's alternatives is chosen by its transcript."""
    return sum(
        min(sum(edit_counts(one.reference, other.tokens)) for other in one.alternatives)
        if one.alternatives
        else one.substitutions + one.deletions + one.insertions
        for one in decoded
    )
