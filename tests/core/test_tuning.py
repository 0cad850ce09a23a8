"""One lattice of scores for all weights, beside a search under each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ctckit import Batch, Emissions
from ctckit.edits import edit_counts
from ctckit.ops import Automaton
from ctckit.search import Search, alternatives, units
from ctckit.tuning import PILOTS, Weighed, best_weights, weigh

TOKENS = ("<blank>", "a", "b", "c")


def unigrams(*weights: float) -> Automaton:
    count = len(weights)
    return Automaton(
        torch.tensor([0, count]),
        torch.arange(1, count + 1, dtype=torch.int32),
        torch.zeros(count, dtype=torch.int32),
        torch.tensor(weights),
        torch.tensor([-1], dtype=torch.int32),
        torch.zeros(1),
        torch.zeros(1),
        0,
        -5.0,
    )


def problem(seed: int) -> tuple[Batch, Emissions]:
    torch.manual_seed(seed)
    logits = 2 * torch.randn(9, 6, 4)
    lengths_B = torch.tensor([9, 4, 7, 1, 6, 8])
    ids = tuple(f"clip{n}" for n in range(6))
    empty = torch.full((6, 1), -1), torch.zeros(6, dtype=torch.int64)
    return Batch(ids, torch.zeros(6, 9, 1), lengths_B, *empty), Emissions(logits, lengths_B)


def searched(one: tuple[Batch, Emissions], search: Search, references: dict[str, tuple[str, ...]]) -> list[int]:
    found = alternatives(search(one[1].logits_TBC, one[1].lengths_B, -0.25), TOKENS)
    edits = [
        edit_counts(references[clip], clips[0].tokens) for clip, clips in zip(one[0].clip_ids, found, strict=True)
    ]
    return [sum(column) for column in zip(*edits, strict=True)]


@pytest.mark.parametrize("language", [None, unigrams(-0.5, -2.0, -1.5)])
def test_weighing_is_searching_under_each_weight(language: Automaton | None) -> None:
    one = problem(1)
    references = dict.fromkeys(one[0].clip_ids, ("a", "b", "a"))
    search = Search(width=500, classes=None, language=language)
    weighed = weigh([one], search, -0.25, (0.0, -1.0), TOKENS, references)
    assert len({(row.weight, row.bonus, row.shift) for row in weighed}) == len(weighed)
    tried = [pilot for pilot in PILOTS if language is not None or not pilot[0]]
    for row in weighed:
        if (row.weight, row.bonus) not in tried:
            continue
        same = replace(search, weight=row.weight, bonus=row.bonus, shift=row.shift)
        assert [row.substitutions, row.deletions, row.insertions] == searched(one, same, references)
        assert row.reference_tokens == 18
    assert {row.weight for row in weighed} == (
        {0.0} if language is None else {round(0.1 * n, 1) for n in range(21)}
    )


def test_of_equal_weights_the_least_are_best() -> None:
    def scored(weight: float, bonus: float, shift: float, errors: int) -> Weighed:
        return Weighed(weight, bonus, shift, errors, 0, 0, 10)

    rows = [scored(1, 0, 0, 2), scored(0.5, 0, 0, 2), scored(0, 0, 1, 2), scored(0, 0, 0, 3)]
    assert best_weights(rows) == rows[1]
    assert best_weights([*rows, scored(2, 3, -1, 1)]).errors == 1


def test_units_are_tokens_or_words() -> None:
    assert units((), None) == units((), " ") == 0
    assert units(tuple("ab a"), None) == 4
    assert units(tuple("ab a"), " ") == 2


def test_clips_for_which_nothing_is_found_are_deletions() -> None:
    batch, emissions = problem(2)
    emissions.logits_TBC[0] = -torch.inf
    references = dict.fromkeys(batch.clip_ids, ("a", "b"))
    for row in weigh([(batch, emissions)], Search(width=4), 0.0, (0.0,), TOKENS, references):
        assert (row.substitutions, row.deletions, row.insertions) == (0, 12, 0)
