"""How logits become tokens: the best path of each frame, or a beam search, with or without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ctckit import ops
from ctckit.ops import Automaton, BeamPaths, GreedyPaths, Lexicon
from ctckit.types import Alternative


@dataclass(frozen=True, slots=True)
class Search:
    """A prefix beam search as it is to be made.

    Attributes:
        width: prefixes that are kept at each frame.
        classes: labels with the highest posteriors that may extend a prefix in a frame; None for all.
        best: hypotheses to return for each clip, at most.
        weight: of the language model's log-probabilities.
        bonus: for each token, or word where there is a lexicon, nats; it makes up for what a language model costs.
        shift: added to the blank logit, on top of what the run applies already, nats.
        language: a language model over the classes, or over the words of the lexicon.
        lexicon: spellings of the words that may be written.
        hotwords: phrases that are boosted.
    """

    width: int = 16
    classes: int | None = 40
    best: int = 1
    weight: float = 0.5
    bonus: float = 0.0
    shift: float = 0.0
    language: Automaton | None = None
    lexicon: Lexicon | None = None
    hotwords: Automaton | None = None

    def __call__(self, logits_TBC: Tensor, lengths_B: Tensor, shift: float) -> BeamPaths:
        """Search a batch under the run's shift of the blank, nats."""
        return ops.beam_search(
            logits_TBC,
            lengths_B,
            shift + self.shift,
            width=self.width,
            classes=self.classes,
            best=self.best,
            language=self.language,
            weight=self.weight,
            bonus=self.bonus,
            lexicon=self.lexicon,
            hotwords=self.hotwords,
        )


@dataclass(frozen=True, slots=True)
class Tuned:
    """What ``ctckit sweep --beam`` found best on a dev corpus, as it is stored with a model.

    Attributes:
        width: as in ``Search``, as are the next four.
        classes: see there.
        weight: see there.
        bonus: see there.
        shift: see there.
        language: fingerprint of the language model that it was tuned with; None without one.
    """

    width: int
    classes: int | None
    weight: float
    bonus: float
    shift: float
    language: str | None

    def search(self) -> Search:
        """Return the search that was tuned, without its language model."""
        return Search(
            width=self.width, classes=self.classes, weight=self.weight, bonus=self.bonus, shift=self.shift
        )


class Found(NamedTuple):
    """What was decoded of a batch."""

    paths: GreedyPaths
    """Best hypothesis of each clip, on its best path."""
    alternatives: list[tuple[Alternative, ...]]
    """N best of each clip; none without a beam."""


def decode_logits(
    logits_TBC: Tensor, lengths_B: Tensor, shift: float, tokens: Sequence[str], search: Search | None
) -> Found:
    """Decode a batch, greedily or by a search.

    A clip for which a search finds nothing that may end, as a lexicon can bring about, has no tokens.

    Args:
        logits_TBC: of the main head, blank first.
        lengths_B: output frames of each clip.
        shift: of the blank, as the run applies it, nats.
        tokens: of the alphabet, blank first.
        search: how to search; None takes the best class of each frame.

    Raises:
        ValueError: logits that are not numbers.
    """
    if search is None:
        return Found(ops.greedy(logits_TBC, lengths_B, shift), [()] * len(lengths_B))
    found = search(logits_TBC, lengths_B, shift)
    counts_B = found.counts_BN[:, 0].clamp(min=0)
    tokens_BS = found.tokens_BNS[:, 0, : int(counts_B.max())].contiguous()
    aligned = ops.align(logits_TBC, tokens_BS, lengths_B, counts_B, shift + search.shift)
    paths = GreedyPaths(
        tokens_BS, counts_B, aligned.starts_BS, aligned.ends_BS, aligned.scores_BS, aligned.utterance_scores_B
    )
    return Found(paths, alternatives(found, tokens))


def units(tokens: Sequence[str], separator: str | None) -> int:
    """Return what a search's bonus counts: tokens, or the words between separators."""
    if separator is None or not tokens:
        return len(tokens)
    return 1 + sum(token == separator for token in tokens)


def alternatives(found: BeamPaths, tokens: Sequence[str]) -> list[tuple[Alternative, ...]]:
    """Return the hypotheses of each clip, best first."""
    scores = (found.totals_BN, found.acoustic_BN, found.language_BN, found.boosts_BN)
    columns = [part.tolist() for part in (found.tokens_BNS, found.counts_BN, *scores)]
    return [
        tuple(
            Alternative(tuple(tokens[label] for label in labels[:count]), *parts)
            for labels, count, *parts in zip(*clip, strict=True)
            if count >= 0
        )
        for clip in zip(*columns, strict=True)
    ]
