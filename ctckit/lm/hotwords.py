"""Phrases that a beam search is to favour, as an automaton (Aho and Corasick, CACM 18(6), 1975)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import torch

from ctckit.errors import ConfigError
from ctckit.ops import Automaton


def hotwords(phrases: Mapping[tuple[str, ...], float], tokens: Sequence[str]) -> Automaton:
    """Build the automaton of phrases with boosts.

    Once a sequence is over, it has been given ``boost * len(phrase)`` for every place at which a phrase stands in
    it, and nothing else; places may overlap, and lie within one another. What is on its way to a phrase is favoured
    in advance, and gives that back if the phrase does not come.

    Args:
        phrases: the boost of each of its tokens, by phrase; a negative one disfavours.
        tokens: of the alphabet, blank first.

    Raises:
        ConfigError: a phrase is empty or holds a token that the alphabet lacks, or a boost is no number.
    """
    places = {token: number for number, token in enumerate(tokens) if number}
    children: list[dict[int, int]] = [{}]
    own, pending = [0.0], [0.0]
    for phrase, boost in phrases.items():
        said = " ".join(phrase)
        lacking = [token for token in phrase if token not in places]
        if lacking or not phrase:
            what = f"holds {lacking[0]!r}, which the alphabet lacks" if lacking else "is empty"
            raise ConfigError(f"hotword {said!r} {what}")
        if not math.isfinite(boost):
            raise ConfigError(f"hotword {said!r}: the boost is {boost}, not a number of nats")
        node = 0
        for place, token in enumerate(phrase, 1):
            label = places[token]
            if label not in children[node]:
                children[node][label] = len(children)
                children.append({})
                own.append(0.0)
                pending.append(-math.inf)
            node = children[node][label]
            if place < len(phrase):
                pending[node] = max(pending[node], boost * place)
        own[node] += boost * len(phrase)
    pending = [0.0 if value == -math.inf else value for value in pending]
    failures, completed = [-1] * len(children), list(own)
    waiting = deque([0])
    while waiting:
        node = waiting.popleft()
        for label, child in children[node].items():
            shorter = failures[node]
            while shorter >= 0 and label not in children[shorter]:
                shorter = failures[shorter]
            failures[child] = children[shorter][label] if shorter >= 0 else 0
            completed[child] += completed[failures[child]]
            waiting.append(child)
    rows = [sorted(of.items()) for of in children]
    arcs = [(node, label, child) for node, row in enumerate(rows) for label, child in row]
    return Automaton(
        torch.tensor([0, *(len(row) for row in rows)]).cumsum(0),
        torch.tensor([label for _, label, _ in arcs], dtype=torch.int32),
        torch.tensor([child for _, _, child in arcs], dtype=torch.int32),
        torch.tensor([completed[child] + pending[child] - pending[node] for node, _, child in arcs]),
        torch.tensor(failures, dtype=torch.int32),
        torch.tensor(
            [
                0.0 if shorter < 0 else pending[shorter] - value
                for value, shorter in zip(pending, failures, strict=True)
            ]
        ),
        -torch.tensor(pending),
        0,
        0.0,
    )
