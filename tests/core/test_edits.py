from __future__ import annotations

import random
import re
from itertools import combinations
from pathlib import Path

import jiwer
from hypothesis import given
from hypothesis import strategies as st

from ctckit.edits import aligned, edit_counts, matches

HARD = Path(__file__).parents[1] / "transcripts" / "sclite" / "hard"

tokens = st.lists(st.sampled_from(["a", "b c", "d", "A", "", "-1"]), max_size=7)


def alignments(reference: list[str], hypothesis: list[str]) -> set[tuple[int, int, int]]:
    """S, D and I of every alignment that pairs n tokens of one side with n of the other."""
    found = set()
    for paired in range(min(len(reference), len(hypothesis)) + 1):
        for a in combinations(reference, paired):
            for b in combinations(hypothesis, paired):
                wrong = sum(x != y for x, y in zip(a, b, strict=True))
                found.add((wrong, len(reference) - paired, len(hypothesis) - paired))
    return found


@given(tokens, tokens)
def test_of_all_alignments_none_has_fewer_errors_and_sclites_is_taken_if_it_is_one_of_the_best(
    reference: list[str], hypothesis: list[str]
) -> None:
    every = alignments(reference, hypothesis)
    counts = edit_counts(reference, hypothesis)
    assert counts in every
    assert sum(counts) == min(map(sum, every))
    weighed = {(s, d, i): 4 * s + 3 * (d + i) for s, d, i in every}
    sclites = edit_counts(reference, hypothesis, sclite=True)
    assert weighed[sclites] == min(weighed.values())
    if sum(sclites) == sum(counts):
        assert counts == sclites


@given(tokens, tokens, st.booleans())
def test_the_pairs_are_both_sides_in_order_and_what_is_counted(
    reference: list[str], hypothesis: list[str], sclite: bool
) -> None:
    pairs = aligned(reference, hypothesis, sclite=sclite)
    assert [wanted for wanted, _ in pairs if wanted is not None] == reference
    assert [got for _, got in pairs if got is not None] == hypothesis
    deleted = sum(got is None for _, got in pairs)
    inserted = sum(wanted is None for wanted, _ in pairs)
    wrong = sum(wanted != got for wanted, got in pairs) - deleted - inserted
    assert (wrong, deleted, inserted) == edit_counts(reference, hypothesis, sclite=sclite)
    there, here = matches(reference, hypothesis)
    assert (len(there), len(here)) == (len(reference), len(hypothesis))
    assert sum(there) == sum(here)


def test_errors_are_jiwers_on_random_sentences() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        reference, hypothesis = (
            [draw.choice("abcdefgh") for _ in range(draw.randint(least, 20))] for least in (1, 0)
        )
        output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        counts = edit_counts(reference, hypothesis)
        assert sum(counts) == output.substitutions + output.deletions + output.insertions
        assert sum(counts) / len(reference) == output.wer


def test_where_nothing_fits_sclite_may_count_more() -> None:
    reference, hypothesis = list("caffb"), list("dbbca")
    assert edit_counts(reference, hypothesis) == (5, 0, 0)
    assert edit_counts(reference, hypothesis, sclite=True) == (0, 3, 3)


def test_silence_has_insertions_alone() -> None:
    assert edit_counts([], ["a", "b"]) == (0, 0, 2)
    assert aligned([], ["a", "b"]) == [(None, "a"), (None, "b")]
    assert edit_counts([], []) == (0, 0, 0)
    assert matches([], []) == ((), ())


def test_sclite_counts_utterance_by_utterance_where_little_fits() -> None:
    def stored(name: str) -> dict[str, list[str]]:
        found = [re.fullmatch(r"(.*?) ?\((.*)\)", line) for line in (HARD / name).read_text().splitlines()]
        return {match[2]: match[1].split() for match in found if match}

    references, hypotheses = stored("ref.trn"), stored("hyp.trn")
    lines = [line.split() for line in (HARD / "counts.txt").read_text().splitlines()]
    counts = {clip: tuple(map(int, numbers)) for clip, *numbers in lines}
    found = {clip: edit_counts(references[clip], hypotheses[clip], sclite=True) for clip in counts}
    assert len(found) == 120
    assert found == counts
    fewest = [sum(edit_counts(references[clip], hypotheses[clip])) for clip in counts]
    more = [sum(counts[clip]) - least for clip, least in zip(counts, fewest, strict=True)]
    assert min(more) == 0
    assert max(more) > 0  # or the example would not show that sclite counts more than the fewest
