"""An n-gram model, over tokens or over words, and how it is laid over the alphabet of a run."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ctckit import ops
from ctckit.errors import DataError, reason_of
from ctckit.lm.automata import relabelled, trie
from ctckit.lm.estimate import SPACE
from ctckit.ops import Automaton, Lexicon

MARKS = frozenset({"<s>", "</s>", *ops.UNKNOWN})
"""Words of a model that nobody says."""

KENLM_BINARY = b"mmap lm http://kheafield.com/code"
"""How a binary of KenLM begins."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well a model foretells sentences.

    Attributes:
        sentences: how many.
        tokens: in them, ends not counted.
        unknown: tokens that the model does not know.
        nats: negative log-probability of all tokens and ends, the unknown ones left out.
    """

    sentences: int
    tokens: int
    unknown: int
    nats: float

    @property
    def perplexity(self) -> float:
        """Per known token and end, as SRILM and KenLM give it without unknown words."""
        return math.exp(self.nats / (self.tokens - self.unknown + self.sentences))


class LanguageModel:
    """A back-off n-gram model.

    Attributes:
        vocabulary: its words, in the order of the 1-grams; ``<space>`` is read as a space.
        automaton: over places in the vocabulary.
        counts: n-grams of each order.
        fingerprint: SHA-256 of the text it was read from.
    """

    def __init__(self, text: bytes) -> None:
        """Read the text of an ARPA file.

        Raises:
            ValueError: it is none; names the line.
        """
        words, self.automaton, self.counts = ops.read_arpa(text)
        self.vocabulary = tuple(" " if word == SPACE else word for word in words)
        self.fingerprint = hashlib.sha256(text).hexdigest()

    @classmethod
    def read(cls, path: str | Path) -> LanguageModel:
        """Read an ARPA file, or one compressed by gzip.

        A binary of KenLM is refused: it holds hashes of n-grams instead of the n-grams, which cannot be laid over
        an alphabet.

        Raises:
            DataError: it is missing or damaged; names file and line.
        """
        path = Path(path)
        try:
            text = path.read_bytes()
            if text.startswith(b"\x1f\x8b"):
                text = gzip.decompress(text)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read as a language model: {reason_of(error)}") from error
        if text.startswith(KENLM_BINARY):
            raise DataError(
                f"{path}: is a binary of KenLM, which cannot be read; give the ARPA file it was built from"
            )
        try:
            return cls(text)
        except ValueError as error:
            raise DataError(f"{path}, {error}") from error

    @cached_property
    def words(self) -> frozenset[str]:
        """The vocabulary without ``<s>``, ``</s>`` and ``<unk>``."""
        return frozenset(self.vocabulary) - MARKS

    @property
    def order(self) -> int:
        """The longest n-grams."""
        return len(self.counts)

    def bind(self, tokens: Sequence[str]) -> tuple[Automaton, tuple[str, ...]]:
        """Lay the model over an alphabet.

        Args:
            tokens: of the alphabet, blank first.

        Returns:
            The automaton over classes, and the labels that the model does not know; they share the probability of
            ``<unk>``, each having it whole.
        """
        places = {token: number for number, token in enumerate(tokens) if number}
        unknown = [token for token in places if token not in self.words]
        labels_of: list[list[int]] = [
            [places[word]] if word in places and word not in MARKS else [] for word in self.vocabulary
        ]
        for spelling in ops.UNKNOWN:
            if spelling in self.vocabulary:
                labels_of[self.vocabulary.index(spelling)] = [places[token] for token in unknown]
        return relabelled(self.automaton, labels_of), tuple(unknown)

    def spell(
        self, tokens: Sequence[str], separator: int, spellings: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[Lexicon, Automaton, tuple[str, ...]]:
        """Lay the model over words that an alphabet of characters spells.

        Args:
            tokens: of the alphabet, blank first.
            separator: class that stands between two words.
            spellings: tokens of each word that may be written, whether the model knows it or not; by default the
                words of the model, character by character.

        Returns:
            The lexicon, the automaton over its numbers, and the words that the alphabet cannot spell.

        Raises:
            DataError: two words have one spelling, or none can be spelled.
        """
        places = {token: number for number, token in enumerate(tokens) if number not in (0, separator)}
        numbers = {word: number for number, word in enumerate(self.vocabulary) if word not in MARKS}
        if spellings is None:
            spellings = {word: tuple(word) for word in numbers}
        found: dict[tuple[int, ...], str] = {}
        unspelled = []
        for word, spelling in spellings.items():
            if not spelling or not set(spelling) <= places.keys():
                unspelled.append(word)
                continue
            classes = tuple(places[token] for token in spelling)
            if (other := found.setdefault(classes, word)) != word:
                raise DataError(f"the lexicon spells {other!r} and {word!r} alike; leave one out")
        if not found:
            raise DataError("no word of the lexicon can be spelled with the run's characters")
        # words that the model does not know have one number, which no arc carries
        unknown = len(self.vocabulary)
        lexicon = trie({classes: numbers.get(word, unknown) for classes, word in found.items()}, separator)
        kept = [[number] if word in numbers else [] for number, word in enumerate(self.vocabulary)]
        for spelling in ops.UNKNOWN:
            if spelling in self.vocabulary:
                kept[self.vocabulary.index(spelling)] = [unknown]
        return lexicon, relabelled(self.automaton, kept), tuple(unspelled)

    def score(self, sentence: Sequence[str]) -> tuple[list[float], float]:
        """Return the log-probability of each token and of the end, nats."""
        numbers, state, scores = self._numbers, self.automaton.initial, []
        for token in sentence:
            number = numbers.get(token, -1) if token not in MARKS else -1
            if number < 0:
                number = next((numbers[spelling] for spelling in ops.UNKNOWN if spelling in numbers), -1)
            weight, state = self._step(state, number)
            scores.append(weight)
        return scores, float(self._finals[state])

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> Perplexity:
        """Score sentences; unknown tokens are counted and left out."""
        count = tokens = unknown = 0
        nats = 0.0
        for sentence in sentences:
            scores, end = self.score(sentence)
            known = [token in self.words for token in sentence]
            nats -= end + sum(score for score, there in zip(scores, known, strict=True) if there)
            count, tokens, unknown = count + 1, tokens + len(sentence), unknown + known.count(False)
        return Perplexity(count, tokens, unknown, nats)

    def _step(self, state: int, label: int) -> tuple[float, int]:
        starts, labels, targets, weights, failures, costs = self._tables
        cost = 0.0
        while True:
            place = bisect_left(labels, label, starts[state], starts[state + 1])
            if place < starts[state + 1] and labels[place] == label:
                return cost + weights[place], targets[place]
            if failures[state] < 0:
                return cost + self.automaton.unknown, state
            cost, state = cost + costs[state], failures[state]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}

    @cached_property
    def _finals(self) -> list[float]:
        return list(self.automaton.finals_N.tolist())

    @cached_property
    def _tables(self) -> tuple[list[int], list[int], list[int], list[float], list[int], list[float]]:
        one = self.automaton
        return (
            one.starts_N1.tolist(),
            one.labels_A.tolist(),
            one.targets_A.tolist(),
            one.weights_A.tolist(),
            one.failures_N.tolist(),
            one.failure_weights_N.tolist(),
        )


def read_lexicon(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the words that may be written: a word a line, or a word, a tab, and its tokens with spaces between.

    Raises:
        DataError: it cannot be read, is empty, or spells a word in two ways; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a lexicon: {reason_of(error)}") from error
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        word, tab, spelling = line.strip().partition("\t")
        if not word:
            continue
        tokens = tuple(spelling.split()) if tab else tuple(word)
        if found.setdefault(word, tokens) != tokens:
            raise DataError(f"{path}, line {number}: {word!r} has a second spelling; a lexicon gives one")
    if not found:
        raise DataError(f"{path}: holds no words")
    return found
