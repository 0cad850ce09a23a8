"""Beam search against all that could be found: every label sequence of a small problem, scored over all paths.

`python tests/ops/enumeration.py [PROBLEMS [FIRST SEED]]` searches random problems with a beam that loses nothing,
and says how many differ from the enumeration, and by how much.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ctckit import ops
from ctckit.ops import Automaton, Lexicon

Labels = tuple[int, ...]


class Grammar:
    """A random back-off model over labels: weights by history, histories closed under their suffixes."""

    def __init__(self, chance: random.Random, labels: list[int], boosts: bool = False) -> None:
        weight = functools.partial(_weight, chance, -1.0 if boosts else -4.0, 2.0 if boosts else 0.5)
        self.unknown, self.weights, self.backoffs = weight(), {(): {}}, {(): 0.0}
        grams = [gram for n in (1, 2, 3) for gram in itertools.product(labels, repeat=n)]
        for gram in chance.sample(grams, min(len(grams), chance.randint(0, 12))):
            self._add(gram, weight)
        self.finals = {history: weight() for history in self.weights}

    def _add(self, gram: Labels, weight: functools.partial[float]) -> None:
        """The gram and all that it consists of: each beginning of a history leads to it, each suffix is known."""
        history, label = gram[:-1], gram[-1]
        if history and history not in self.weights:
            self._add(history, weight)
            self.weights[history], self.backoffs[history] = {}, weight()
        if history:
            self._add(gram[1:], weight)
        self.weights[history].setdefault(label, weight())

    def _history(self, before: Labels) -> Labels:
        return next(before[i:] for i in range(len(before) + 1) if before[i:] in self.weights)

    def score(self, labels: Labels) -> float:
        """Of a sequence, its end included: the model's definition, without states."""
        total = self.finals[self._history(labels)]
        for i, label in enumerate(labels):
            history = self._history(labels[:i])
            while history and label not in self.weights[history]:
                total += self.backoffs[history]
                history = history[1:]
            total += self.weights[history].get(label, self.unknown)
        return total

    def automaton(self) -> Automaton:
        states = list(self.weights)
        number = {history: i for i, history in enumerate(states)}
        arcs = [
            [
                (label, number[self._history((*history, label))], arc)
                for label, arc in sorted(self.weights[history].items())
            ]
            for history in states
        ]
        labels, targets, weights = zip(*itertools.chain(*arcs), strict=True) if any(arcs) else ((), (), ())
        return Automaton(
            torch.tensor([0, *itertools.accumulate(map(len, arcs))]),
            torch.tensor(labels, dtype=torch.int32),
            torch.tensor(targets, dtype=torch.int32),
            torch.tensor(weights, dtype=torch.float32),
            torch.tensor([number[history[1:]] if history else -1 for history in states], dtype=torch.int32),
            torch.tensor([self.backoffs[history] for history in states]),
            torch.tensor([self.finals[history] for history in states]),
            initial=0,
            unknown=self.unknown,
        )


def _weight(chance: random.Random, low: float, high: float) -> float:
    return round(8 * chance.uniform(low, high)) / 8  # exact in float32


def lexicon_of(words: list[Labels], separator: int) -> Lexicon:
    nodes: list[dict[int, int]] = [{}]
    ends = [-1]
    for number, word in enumerate(words):
        node = 0
        for label in word:
            if label not in nodes[node]:
                nodes[node][label] = len(nodes)
                nodes.append({})
                ends.append(-1)
            node = nodes[node][label]
        ends[node] = number
    arcs = [sorted(node.items()) for node in nodes]
    return Lexicon(
        torch.tensor([0, *itertools.accumulate(map(len, arcs))]),
        torch.tensor([label for node in arcs for label, _ in node], dtype=torch.int32),
        torch.tensor([target for node in arcs for _, target in node], dtype=torch.int32),
        torch.tensor(ends, dtype=torch.int32),
        separator,
    )


def guides(seed: int, classes: int) -> tuple[object, ...]:
    """What the bare op takes after ``best``: none, one or several guides over these classes."""
    chance = random.Random(seed)
    labels = list(range(1, min(classes, 9)))
    language, hotwords = Grammar(chance, labels), Grammar(chance, labels, boosts=True)
    parts: list[object] = [chance.choice([1.0, 0.3, -0.5]), chance.choice([0.0, 0.7, -1.0])]
    lexicon: tuple[object, ...] = ([], 0)
    if classes > 2 and chance.random() < 0.3:
        spellings = [tuple(chance.choices(labels[1:], k=chance.randint(1, 3))) for _ in range(20)]
        *tensors, separator = lexicon_of(sorted(set(spellings)), 1)
        language, lexicon = Grammar(chance, list(range(9))), (tensors, separator)
    for automaton, before in ((language.automaton(), ()), (hotwords.automaton(), lexicon)):
        *tensors, initial, unknown = automaton
        parts += [*before, *((tensors, initial, unknown) if chance.random() < 0.6 else ([], 0, 0.0))]
    return tuple(parts)


class SearchProblem(NamedTuple):
    """One utterance, float64, and what guides its search, twice: as the op has it and as it is defined."""

    logits: Tensor
    shift: float
    weight: float
    bonus: float
    language: Grammar | None
    words: list[Labels] | None
    separator: int
    hotwords: Grammar | None

    def guides(self) -> dict[str, object]:
        """The arguments of ops.beam_search."""
        return {
            "weight": self.weight,
            "bonus": self.bonus,
            "language": self.language and self.language.automaton(),
            "lexicon": None if self.words is None else lexicon_of(self.words, self.separator),
            "hotwords": self.hotwords and self.hotwords.automaton(),
        }


def problem_of(seed: int) -> SearchProblem:
    chance = random.Random(seed)
    frames, classes = chance.choice([0, 1, 2, 3, 4, 5, 5, 6, 6]), chance.choice([2, 3, 3, 4, 4])
    logits = 2 * torch.randn(frames, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    kind = chance.choice(["normal", "normal", "ties", "huge", "minus infinity", "dead frame"])
    if kind == "ties":
        logits = logits.round()
    if kind == "huge":
        logits *= 1e3
    if kind == "minus infinity":
        logits[torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) < 0.3] = -torch.inf
    if kind == "dead frame" and frames:
        logits[chance.randrange(frames)] = -torch.inf
    labels = list(range(1, classes))
    words = None
    separator = chance.choice(labels)
    if classes > 2 and chance.random() < 0.4:
        letters = [label for label in labels if label != separator]
        spellings = [word for n in (1, 2, 3) for word in itertools.product(letters, repeat=n)]
        words = chance.sample(spellings, chance.randint(1, min(4, len(spellings))))
    units = labels if words is None else list(range(len(words)))
    return SearchProblem(
        logits,
        chance.choice([0.0, -1.5, 2.0]),
        chance.choice([1.0, 0.4, 2.0, -0.5]),
        chance.choice([0.0, 0.5, -1.0]),
        Grammar(chance, units) if chance.random() < 0.6 else None,
        words,
        separator,
        Grammar(chance, labels, boosts=True) if chance.random() < 0.4 else None,
    )


@functools.cache
def _paths(frames: int, classes: int) -> tuple[np.ndarray, list[Labels], list[int]]:
    """All paths sorted by what they collapse to, that, and where the paths of each begin."""
    collapsed = sorted(
        (tuple(k for k, _ in itertools.groupby(path) if k), path)
        for path in itertools.product(range(classes), repeat=frames)
    )
    begins = [i for i, (labels, _) in enumerate(collapsed) if i == 0 or labels != collapsed[i - 1][0]]
    return np.array([path for _, path in collapsed], dtype=np.int64), [collapsed[i][0] for i in begins], begins


class Scored(NamedTuple):
    total: float
    acoustic: float
    language: float
    boosts: float


def every_hypothesis(problem: SearchProblem) -> dict[Labels, Scored]:
    """All that have a path and may be written."""
    frames, classes = problem.logits.shape
    shifted = problem.logits.clone()
    shifted[:, 0] += problem.shift
    log_probs = torch.where(shifted == -torch.inf, shifted, shifted.log_softmax(-1)).numpy()
    paths, sequences, begins = _paths(frames, classes)
    acoustic = np.logaddexp.reduceat(log_probs[np.arange(frames), paths].sum(-1), begins)
    found = {}
    for labels, score in zip(sequences, acoustic.tolist(), strict=True):
        units: Labels | None = labels
        if problem.words is not None:
            units = _words(labels, problem.words, problem.separator)
        if score == -np.inf or units is None:
            continue
        language = problem.language.score(units) if problem.language else 0.0
        boosts = problem.hotwords.score(labels) if problem.hotwords else 0.0
        total = score + problem.weight * language + problem.bonus * len(units) + boosts
        found[labels] = Scored(total, score, language, boosts)
    return found


def _words(labels: Labels, words: list[Labels], separator: int) -> Labels | None:
    if not labels:
        return ()
    spelled: list[list[int]] = [[]]
    for label in labels:
        spelled.append([]) if label == separator else spelled[-1].append(label)
    numbers = [words.index(tuple(word)) if tuple(word) in words else -1 for word in spelled]
    return None if -1 in numbers else tuple(numbers)


def found_by(paths: ops.BeamPaths) -> dict[Labels, Scored]:
    """What a search of one utterance returned, best first."""
    rows = zip(*(values[0].tolist() for values in paths), strict=True)
    return {
        tuple(tokens[:count]): Scored(total, acoustic, language, boosts)
        for tokens, count, acoustic, language, boosts, total in rows
        if count >= 0
    }


def difference(found: dict[Labels, Scored], problem: SearchProblem) -> float:
    """The largest of any score, relative to 1 and it; infinite for other hypotheses or another order."""
    truth = every_hypothesis(problem)
    if set(found) != set(truth):
        return float("inf")
    worst, last = 0.0, float("inf")
    for labels, scores in found.items():
        for one, other in zip(scores, truth[labels], strict=True):
            worst = max(worst, abs(one - other) / (1 + abs(other)))
        if scores.total > last:
            return float("inf")
        last = scores.total
    return worst


def search(problem: SearchProblem, width: int = 1000, best: int = 400) -> ops.BeamPaths:
    frames = torch.tensor([problem.logits.shape[0]])
    return ops.beam_search(
        problem.logits.unsqueeze(1), frames, problem.shift, width=width, classes=None, best=best, **problem.guides()
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    worst, wrong, hypotheses, guided = 0.0, [], 0, 0
    for seed in range(first, first + count):
        problem = problem_of(seed)
        found = found_by(search(problem))
        off = difference(found, problem)
        hypotheses += len(found)
        guided += any((problem.language, problem.words, problem.hotwords))
        worst = max(worst, off)
        if not off <= 1e-9:
            wrong.append(seed)
    print(  # noqa: T201
        f"{ops.backend().isa}: {count} problems from seed {first}, {guided} guided, {hypotheses} hypotheses;"
        f" {len(wrong)} problems differ {wrong[:5]}; worst score off by {worst:.1e}"
    )


if __name__ == "__main__":
    main()
