"""The truth of `ctckit.ops.beam_search`: prefix beam search with a dictionary of prefixes, in plain Python.

(Graves, "Supervised sequence labelling with recurrent neural networks", 2012, 7.5; Hannun, Maas, Jurafsky and Ng,
"First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs", 2014.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ctckit.ops.automata import Automaton, Lexicon
from ctckit.ops.reference import BLANK, check_lengths, log_normalisers, refuse, working_type
from ctckit.types import real_frames

_INF = float("inf")
_MOST = 1 << 20


def _check_arcs(name: str, starts: Tensor, labels: Tensor, targets: Tensor, first: int, end: int) -> None:
    states, arcs = starts.numel() - 1, labels.numel()
    if states < 1:
        raise ValueError(f"{name}.starts: expected one state or more")
    ascend = bool((starts[1:] >= starts[:-1]).all())
    if not ascend or int(starts[0]) != 0 or int(starts[-1]) != arcs:
        raise ValueError(f"{name}.starts: expected offsets that ascend from 0 to the number of arcs")
    if bool(((labels < first) | (labels.long() >= end)).any()):  # the end of all numbers is no int32
        raise ValueError(f"{name}.labels: one is outside {first}..{end - 1}")
    state = torch.repeat_interleave(torch.arange(states), starts.diff())
    if bool(((state[1:] == state[:-1]) & (labels[1:] <= labels[:-1])).any()):
        raise ValueError(f"{name}.labels: those of a state do not ascend")
    if bool(((targets < 0) | (targets >= states)).any()):
        raise ValueError(f"{name}.targets: one is no state")


def _check_failures(name: str, failures: Tensor) -> None:
    states = failures.numel()
    if bool(((failures < -1) | (failures >= states)).any()):
        raise ValueError(f"{name}.failures: one is neither a state nor -1")
    # The state after the last is where those without a failure lead, itself included.
    ahead = torch.cat([torch.where(failures < 0, states, failures.long()), torch.tensor([states])])
    for _ in range(states.bit_length()):
        ahead = ahead[ahead]
    if bool((ahead < states).any()):
        raise ValueError(f"{name}.failures: they lead round in a circle")


class _Walker:
    """An automaton as dictionaries."""

    def __init__(self, name: str, automaton: Automaton, first: int, end: int) -> None:
        starts, labels, targets, weights, failures, failure_weights, finals, initial, unknown = automaton
        _check_arcs(name, starts, labels, targets, first, end)
        for field, values in (("weights", weights), ("failure_weights", failure_weights), ("finals", finals)):
            if not bool(values.isfinite().all()):
                raise ValueError(f"{name}.{field}: one is not finite")
        if not math.isfinite(unknown):
            raise ValueError(f"{name}.unknown: not finite")
        if not 0 <= initial < failures.numel():
            raise ValueError(f"{name}.initial: {initial} is no state")
        _check_failures(name, failures)
        self.arcs = _arcs(starts, labels, list(zip(targets.tolist(), weights.tolist(), strict=True)))
        self.failures, self.failure_weights = failures.tolist(), failure_weights.tolist()
        self.finals, self.initial, self.unknown = finals.tolist(), initial, unknown

    def step(self, state: int, label: int) -> tuple[int, float]:
        """The next state and what the label adds."""
        added = 0.0
        while label not in self.arcs[state]:
            if self.failures[state] < 0:
                return state, added + self.unknown
            added += self.failure_weights[state]
            state = self.failures[state]
        target, weight = self.arcs[state][label]
        return target, added + weight


def _arcs(
    starts: Tensor, labels: Tensor, values: Sequence[tuple[int, float]]
) -> list[dict[int, tuple[int, float]]]:
    offsets, of = starts.tolist(), labels.tolist()
    return [dict(zip(of[begin:end], values[begin:end], strict=True)) for begin, end in itertools.pairwise(offsets)]


class _Guidance(NamedTuple):
    """What a prefix is worth beside the frames: states, the number of tokens or words, sums of weights."""

    language: int
    node: int
    hotwords: int
    units: int
    log_prob: float
    boosts: float


class _Guide:
    """What language, lexicon and hotwords say of a prefix and a label more, None if it may not follow."""

    def __init__(
        self,
        classes: int,
        weight: float,
        bonus: float,
        language: Automaton | None,
        lexicon: Lexicon | None,
        hotwords: Automaton | None,
    ) -> None:
        self.weight, self.bonus = weight, bonus
        first, end = (BLANK + 1, classes) if lexicon is None else (0, 1 << 31)
        self.language = None if language is None else _Walker("language", language, first, end)
        self.hotwords = None if hotwords is None else _Walker("hotwords", hotwords, BLANK + 1, classes)
        self.separator, self.words = BLANK, [-1]
        self.spellings: list[dict[int, tuple[int, float]]] | None = None
        if lexicon is not None:
            starts, labels, targets, words, self.separator = lexicon
            _check_arcs("lexicon", starts, labels, targets, BLANK + 1, classes)
            if bool((targets == 0).any()):
                raise ValueError("lexicon.targets: an arc leads to the root")
            if bool((labels == self.separator).any()):
                raise ValueError("lexicon.labels: a word is spelled with the separator")
            self.words = words.tolist()
            if self.words[0] >= 0:
                raise ValueError("lexicon.words: the root is spelled by nothing, and no word")
            if not BLANK < self.separator < classes:
                raise ValueError(f"lexicon.separator: {self.separator} is outside 1..{classes - 1}")
            self.spellings = _arcs(starts, labels, [(target, 0.0) for target in targets.tolist()])

    def start(self) -> _Guidance:
        """That of the empty prefix."""
        states = [0 if walker is None else walker.initial for walker in (self.language, self.hotwords)]
        return _Guidance(states[0], 0, states[1], 0, 0.0, 0.0)

    def _count(self, of: _Guidance, unit: int) -> _Guidance:
        state, added = (0, 0.0) if self.language is None else self.language.step(of.language, unit)
        return of._replace(language=state, units=of.units + 1, log_prob=of.log_prob + added)

    def _end_word(self, of: _Guidance) -> _Guidance | None:
        word = self.words[of.node]
        return None if word < 0 else self._count(of, word)._replace(node=0)

    def step(self, of: _Guidance, label: int) -> _Guidance | None:
        """That of a label more."""
        longer: _Guidance | None
        if self.spellings is None:
            longer = self._count(of, label)
        elif label == self.separator:
            longer = self._end_word(of)
        elif label in self.spellings[of.node]:
            longer = of._replace(node=self.spellings[of.node][label][0])
        else:
            longer = None
        if longer is None or self.hotwords is None:
            return longer
        state, added = self.hotwords.step(of.hotwords, label)
        return longer._replace(hotwords=state, boosts=longer.boosts + added)

    def finish(self, of: _Guidance) -> _Guidance | None:
        """That of the prefix as the whole; None if it cannot be that."""
        whole: _Guidance | None = of
        if self.spellings is not None and (of.node or of.units):
            whole = self._end_word(of)
        if whole is not None and self.language is not None:
            whole = whole._replace(log_prob=whole.log_prob + self.language.finals[whole.language])
        if whole is not None and self.hotwords is not None:
            whole = whole._replace(boosts=whole.boosts + self.hotwords.finals[whole.hotwords])
        return whole

    def score(self, of: _Guidance) -> float:
        """What it adds to a total."""
        return self.weight * of.log_prob + self.bonus * of.units + of.boosts


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -_INF else high + math.log1p(math.exp(low - high))


class _Prefix(NamedTuple):
    """Log-probabilities of its alignments that end in the blank and in its last label; its guidance."""

    blank: float
    last: float
    guidance: _Guidance

    @property
    def acoustic(self) -> float:
        return _log_add(self.blank, self.last)


Labels = tuple[int, ...]
_Ranked = tuple[float, Labels]


def _rank(scored: list[_Ranked], most: int) -> list[Labels]:
    """The best by score; of equals that which comes first by its labels."""
    return [labels for _, labels in sorted(scored, key=lambda item: (-item[0], item[1]))[:most]]


def _advance(
    beam: dict[Labels, _Prefix],
    log_probs: Sequence[float],
    chosen: Sequence[int],
    guide: _Guide,
    width: int,
    judge: Callable[[_Guidance], _Guidance | None],
) -> dict[Labels, _Prefix]:
    """The beam a frame later. ``chosen`` labels may extend prefixes; prefixes of the beam keep all they are due."""
    after: dict[Labels, _Prefix] = {}
    for labels, (blank, last, guidance) in beam.items():
        stay = -_INF if not labels else last + log_probs[labels[-1]]
        before = beam.get(labels[:-1]) if labels else None
        if before is not None:
            own = before.blank if len(labels) > 1 and labels[-1] == labels[-2] else before.acoustic
            stay = _log_add(stay, own + log_probs[labels[-1]])
        after[labels] = _Prefix(_log_add(blank, last) + log_probs[BLANK], stay, guidance)
    for labels, prefix in beam.items():
        for label in chosen:
            longer = (*labels, label)
            guided = None if longer in beam else guide.step(prefix.guidance, label)
            if guided is not None:
                own = prefix.blank if labels and labels[-1] == label else prefix.acoustic
                after[longer] = _Prefix(-_INF, own + log_probs[label], guided)
    scored = []
    for labels, prefix in after.items():
        judged = judge(prefix.guidance)
        if judged is not None and prefix.acoustic > -_INF:
            scored.append((prefix.acoustic + guide.score(judged), labels))
    return {labels: after[labels] for labels in _rank(scored, width)}


def _log_probs(logits: Tensor, lengths: Tensor, shift: float) -> Tensor:
    """float64 [T, B, C]; -inf throughout a frame that holds nothing else, and in padding."""
    alive = real_frames(lengths, logits.shape[0])
    normaliser = log_normalisers(logits, shift)
    refuse(alive & ~(normaliser < _INF))
    wide = logits.double()
    wide = torch.cat([wide[..., :1] + shift, wide[..., 1:]], -1)
    dead = (~alive | (normaliser == -_INF)).unsqueeze(-1)
    return torch.where(dead, -_INF, wide - normaliser.unsqueeze(-1))


def _chosen(labels_C: Tensor, classes: int) -> list[int]:
    """The labels with the best of these logits, in that order, the lower class first; none that is -inf."""
    order = torch.sort(labels_C, descending=True, stable=True).indices[:classes]
    return [index + 1 for index in order.tolist() if labels_C[index] > -_INF]


def _automaton(parts: Sequence[Tensor], initial: int, unknown: float) -> Automaton | None:
    if len(parts) not in (0, 7):
        raise ValueError("expected no tensor or the seven of an Automaton")
    return Automaton._make([*parts, initial, unknown]) if parts else None


def beam_search(
    logits: Tensor,
    lengths: Tensor,
    shift: float,
    width: int,
    classes: int,
    best: int,
    weight: float,
    bonus: float,
    language: Sequence[Tensor],
    language_initial: int,
    language_unknown: float,
    lexicon: Sequence[Tensor],
    separator: int,
    hotwords: Sequence[Tensor],
    hotwords_initial: int,
    hotwords_unknown: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Tokens [B, N, T], counts, acoustic and language scores, boosts and totals [B, N] of the best hypotheses.

    Of logits on the CPU.
    """
    check_lengths("lengths", lengths, logits.shape[0])
    for name, value in (("width", width), ("best", best)):
        if not 1 <= value <= _MOST:
            raise ValueError(f"{name}: {value} is outside 1..{_MOST}")
    if classes < 1:
        raise ValueError(f"classes: {classes} is less than 1")
    guide = _Guide(
        logits.shape[2],
        weight,
        bonus,
        _automaton(language, language_initial, language_unknown),
        Lexicon._make([*lexicon, separator]) if lexicon else None,
        _automaton(hotwords, hotwords_initial, hotwords_unknown),
    )
    log_probs = _log_probs(logits, lengths, shift)
    frames, batch = logits.shape[:2]
    tokens = torch.full((batch, best, frames), -1, dtype=torch.int64)
    counts = torch.full((batch, best), -1, dtype=torch.int64)
    acoustic, totals = (torch.full((batch, best), -_INF, dtype=torch.float64) for _ in range(2))
    log_prob, boosts = (torch.zeros(batch, best, dtype=torch.float64) for _ in range(2))
    for b, length in enumerate(lengths.tolist()):
        beam: dict[Labels, _Prefix] = {(): _Prefix(0.0, -_INF, guide.start())}
        for t in range(length):
            chosen = _chosen(logits[t, b, 1:], classes)
            judge: Callable[[_Guidance], _Guidance | None] = guide.finish if t + 1 == length else lambda of: of
            beam = _advance(beam, log_probs[t, b].tolist(), chosen, guide, width, judge)
        wholes = {labels: (prefix.acoustic, guide.finish(prefix.guidance)) for labels, prefix in beam.items()}
        scored = [
            (own + guide.score(whole), labels) for labels, (own, whole) in wholes.items() if whole is not None
        ]
        scores = {labels: score for score, labels in scored}
        for n, labels in enumerate(_rank(scored, best)):
            own, whole = wholes[labels]
            assert whole is not None
            tokens[b, n, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
            counts[b, n] = len(labels)
            acoustic[b, n], totals[b, n] = own, scores[labels]
            log_prob[b, n], boosts[b, n] = whole.log_prob, whole.boosts
    working = working_type(logits)
    return tokens, counts, acoustic.to(working), log_prob.to(working), boosts.to(working), totals.to(working)
