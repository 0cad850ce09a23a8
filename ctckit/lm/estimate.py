"""N-gram models from transcripts: interpolated modified Kneser-Ney.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling", TR-10-98, Harvard, 1998, 3.3;
counts of lower orders, unknown words and the fallback of the discounts are as in KenLM (Heafield et al., ACL 2013).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"

SPACE = "<space>"
"""How a model of characters writes the space, at which ARPA files end a token."""

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of an order whose counts do not allow for an estimate, as few sentences do not."""

MOST_ORDERS = 6

Ngram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Discounts:
    """What is taken from n-grams seen once, twice, or more often; ``fallback`` if they are ``FALLBACK``."""

    values: tuple[float, float, float]
    fallback: bool

    def of(self, count: int) -> float:
        """Return the discount of a count above 0."""
        return self.values[min(count, 3) - 1]


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated model.

    Attributes:
        weights: log10 of the probability of each n-gram.
        backoffs: log10 of the back-off weight of each n-gram that is a history.
        discounts: of each order, the lowest first.
    """

    weights: Mapping[Ngram, float]
    backoffs: Mapping[Ngram, float]
    discounts: tuple[Discounts, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """N-grams of each order."""
        by_order = Counter(map(len, self.weights))
        return tuple(by_order[order] for order in range(1, len(self.discounts) + 1))


def estimate(sentences: Iterable[Sequence[str]], order: int) -> Estimate:
    """Estimate a model.

    Args:
        sentences: tokens of each, without marks of begin and end.
        order: of the longest n-grams, 1 to ``MOST_ORDERS``.

    Raises:
        ValueError: there is no sentence, the order is out of range, or a token is a mark of the format, empty, or
            holds white space without being a space.
    """
    if not 1 <= order <= MOST_ORDERS:
        raise ValueError(f"the order is {order}; it is from 1 to {MOST_ORDERS}")
    counts = _adjusted(sentences, order)
    discounts = tuple(_discounts(counts[n].values()) for n in range(order))
    vocabulary = {ngram[0] for ngram in counts[0]} | {END, UNKNOWN}
    probabilities: dict[Ngram, float] = {(): 1.0 / len(vocabulary)}
    shares: dict[Ngram, float] = {}
    for one, discount in zip(counts, discounts, strict=True):
        totals: dict[Ngram, int] = defaultdict(int)
        taken: dict[Ngram, float] = defaultdict(float)
        for ngram, count in one.items():
            totals[ngram[:-1]] += count
            taken[ngram[:-1]] += discount.of(count)
        shares |= {history: taken[history] / total for history, total in totals.items()}
        for ngram, count in one.items():
            history = ngram[:-1]
            lower = probabilities[ngram[1:]]
            probabilities[ngram] = (count - discount.of(count)) / totals[history] + shares[history] * lower
        if len(discounts) and () in shares and (UNKNOWN,) not in probabilities:
            probabilities[(UNKNOWN,)] = shares[()] / len(vocabulary)
    weights = {ngram: math.log10(value) for ngram, value in probabilities.items() if ngram}
    weights[(BEGIN,)] = -99.0
    backoffs = {history: math.log10(share) for history, share in shares.items() if history}
    return Estimate(weights, backoffs, discounts)


def _adjusted(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Ngram]]:
    """Count n-grams: the longest, and those at the beginning, by their places; others by what precedes them."""
    raw: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        for token in sentence:
            if (
                token in (BEGIN, END, UNKNOWN, SPACE)
                or not token
                or (token != " " and any(map(str.isspace, token)))
            ):
                raise ValueError(f"token {token!r} cannot stand in an ARPA file")
        padded = (BEGIN, *sentence, END)
        for n in range(1, order + 1):
            raw[n - 1].update(padded[at : at + n] for at in range(len(padded) - n + 1))
    del raw[0][(BEGIN,)]
    if not raw[0]:
        raise ValueError("there is no sentence to learn from")
    adjusted = [raw[-1]]
    for n in range(order - 1, 0, -1):
        distinct = Counter(ngram[1:] for ngram in raw[n])
        adjusted.insert(0, Counter({g: count if g[0] == BEGIN else distinct[g] for g, count in raw[n - 1].items()}))
    return adjusted


def _discounts(counts: Iterable[int]) -> Discounts:
    seen = Counter(min(count, 4) for count in counts)
    t = [seen[k] for k in (1, 2, 3, 4)]
    if 0 not in t[:3]:
        y = t[0] / (t[0] + 2 * t[1])
        found = [k - (k + 1) * y * t[k] / t[k - 1] for k in (1, 2, 3)]
        if all(0.0 < value <= k for k, value in enumerate(found, 1)):
            return Discounts((found[0], found[1], found[2]), fallback=False)
    return Discounts(FALLBACK, fallback=True)


def write_arpa(model: Estimate) -> str:
    """Return the text of an ARPA file."""
    lines = ["\\data\\", *(f"ngram {n}={count}" for n, count in enumerate(model.counts, 1))]
    for n in range(1, len(model.discounts) + 1):
        lines += ["", f"\\{n}-grams:"]
        for ngram in sorted(ngram for ngram in model.weights if len(ngram) == n):
            said = " ".join(SPACE if token == " " else token for token in ngram)
            line = f"{model.weights[ngram]:.7g}\t{said}"
            backoff = model.backoffs.get(ngram)
            lines.append(line if backoff is None else f"{line}\t{backoff:.7g}")
    return "\n".join([*lines, "", "\\end\\", ""])
