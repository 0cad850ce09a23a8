"""Automata as tables of arcs, put together in the order that a search wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ctckit.ops import Automaton, Lexicon


def relabelled(automaton: Automaton, labels_of: Sequence[Sequence[int]]) -> Automaton:
    """Return the automaton with other labels.

    Args:
        automaton: whose labels are places in ``labels_of``.
        labels_of: what each label becomes: nothing, which drops its arcs, one label, or several with an arc each.
    """
    counts = np.array([len(labels) for labels in labels_of], np.int64)
    flat = np.array([label for labels in labels_of for label in labels], np.int32)
    begins = np.cumsum(counts) - counts
    starts, old = automaton.starts_N1.numpy(), automaton.labels_A.numpy()
    state_A = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    copies_A = counts[old]
    arc = np.repeat(np.arange(len(old)), copies_A)
    copy = np.arange(len(arc)) - np.repeat(np.cumsum(copies_A) - copies_A, copies_A)
    label = flat[begins[old[arc]] + copy]
    order = np.lexsort((label, state_A[arc]))
    arc, label = arc[order], label[order]
    new_starts = np.zeros(len(starts), np.int64)
    np.cumsum(np.bincount(state_A[arc], minlength=len(starts) - 1), out=new_starts[1:])
    chosen = torch.from_numpy(arc)
    return automaton._replace(
        starts_N1=torch.from_numpy(new_starts),
        labels_A=torch.from_numpy(np.ascontiguousarray(label, np.int32)),
        targets_A=automaton.targets_A[chosen],
        weights_A=automaton.weights_A[chosen],
    )


def trie(words: Mapping[tuple[int, ...], int], separator: int) -> Lexicon:
    """Return the lexicon of words, numbers by spelling.

    Args:
        words: numbers by the classes of their spelling, none empty.
        separator: class that stands between two words.
    """
    arcs: list[dict[int, int]] = [{}]
    numbers = [-1]
    for spelling, number in words.items():
        node = 0
        for label in spelling:
            if label not in arcs[node]:
                arcs[node][label] = len(arcs)
                arcs.append({})
                numbers.append(-1)
            node = arcs[node][label]
        numbers[node] = number
    rows = [sorted(of.items()) for of in arcs]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return Lexicon(
        torch.from_numpy(starts),
        torch.tensor([label for row in rows for label, _ in row], dtype=torch.int32),
        torch.tensor([node for row in rows for _, node in row], dtype=torch.int32),
        torch.tensor(numbers, dtype=torch.int32),
        separator,
    )
