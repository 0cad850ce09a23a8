"""The reference of the beam search against all paths written out; it pruned, in cases that can be told by hand."""

from __future__ import annotations

import pytest
import torch

from ctckit.ops import BeamPaths, reference_search

from .enumeration import difference, every_hypothesis, found_by, problem_of


def search(problem, width=1000):
    guides = problem.guides()
    parts = []
    for name in ("language", "lexicon", "hotwords"):
        record = guides[name]
        tensors = [] if record is None else [value for value in record if isinstance(value, torch.Tensor)]
        rest = [0] if name == "lexicon" else [0, 0.0]
        parts += [tensors, *(rest if record is None else record[len(tensors) :])]
    frames, classes = problem.logits.shape
    return BeamPaths(
        *reference_search.beam_search(
            problem.logits.unsqueeze(1),
            torch.tensor([frames]),
            problem.shift,
            width,
            classes - 1,
            800,
            problem.weight,
            problem.bonus,
            *parts,
        )
    )


def test_it_finds_every_hypothesis():
    for seed in range(100):
        problem = problem_of(seed)
        assert difference(found_by(search(problem)), problem) < 1e-9, seed


def test_a_narrow_beam_returns_some_of_them_none_too_likely():
    for seed in range(100):
        problem = problem_of(seed)
        truth, found = every_hypothesis(problem), found_by(search(problem, width=2))
        assert len(found) <= 2
        for labels, scores in found.items():
            assert scores.acoustic <= truth[labels].acoustic + 1e-9
            assert scores.language == pytest.approx(truth[labels].language)


def test_a_width_of_one_is_not_greedy():
    """Greedy reads a blank in both frames; 1 has three paths, together likelier."""
    logits = torch.tensor([[0.0, -0.2], [0.0, -0.2]]).double()
    problem = problem_of(0)._replace(
        logits=logits, shift=0.0, weight=0.0, bonus=0.0, language=None, words=None, hotwords=None
    )
    assert next(iter(found_by(search(problem)))) == (1,)
    assert max(every_hypothesis(problem).items(), key=lambda item: item[1].total)[0] == (1,)
