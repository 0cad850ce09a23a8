"""What a beam search is guided by, as tensors: n-gram models, hotwords, and the spelling of words."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Automaton(NamedTuple):
    """A weighted automaton with failure arcs: a back-off n-gram model, or a set of phrases with boosts.

    In state ``s`` a label ``l`` takes the arc of ``s`` that carries it and adds the arc's weight. Where there is
    none, ``failure_weights_N[s]`` is added and the search goes on in ``failures_N[s]``; in a state whose failure is
    -1 the label adds ``unknown`` and leads back to that state. N states, A arcs; all on the CPU; weights are finite
    and in nats.
    (Mohri, Pereira and Riley, "Weighted finite-state transducers in speech recognition", 2002, 2.3.)
    """

    starts_N1: Tensor
    """int64 [N + 1]: the arcs of state s are those from ``starts_N1[s]`` to ``starts_N1[s + 1]``."""
    labels_A: Tensor
    """int32, ascending within a state."""
    targets_A: Tensor
    """int32 state that an arc leads to."""
    weights_A: Tensor
    """float32 log-probability, or boost."""
    failures_N: Tensor
    """int32 state of the next shorter history; -1 where there is none."""
    failure_weights_N: Tensor
    """float32 log of the back-off weight; where phrases are boosted, what a phrase left unfinished gives back."""
    finals_N: Tensor
    """float32 weight of ending in a state, failures walked already."""
    initial: int
    """State before the first label."""
    unknown: float
    """Weight of a label that no state knows."""


class Lexicon(NamedTuple):
    """A trie of the words that a search over their spelling may write. N nodes, 0 the root; A arcs; on the CPU.

    A word ends before ``separator`` and at the end of a clip, nowhere else; its number is then given to the
    automaton of words. Two words have two spellings.
    """

    starts_N1: Tensor
    """int64 [N + 1]: the arcs of node n are those from ``starts_N1[n]`` to ``starts_N1[n + 1]``."""
    labels_A: Tensor
    """int32 class, ascending within a node."""
    targets_A: Tensor
    """int32 node that an arc leads to."""
    words_N: Tensor
    """int32 number of the word that is spelled by the way to a node; -1 where none is."""
    separator: int
    """Class that stands between two words."""
