"""Modified Kneser-Ney: probabilities that sum to one, by the formulas of the paper."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit.lm import LanguageModel, estimate, write_arpa

Sentences = list[tuple[str, ...]]

SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(tuple), min_size=1, max_size=25)


def read(sentences: Sentences, order: int) -> LanguageModel:
    return LanguageModel(write_arpa(estimate(sentences, order)).encode())


@settings(max_examples=80)
@given(SENTENCES, st.integers(1, 4), st.lists(st.sampled_from("abcdz"), max_size=4))
def test_what_may_follow_sums_to_one(sentences: Sentences, order: int, history: list[str]) -> None:
    model = read(sentences, order)
    ending = math.exp(model.score(history)[1])
    words = [*sorted(model.words), "never-seen"]
    total = ending + sum(math.exp(model.score([*history, word])[0][-1]) for word in words)
    assert total == pytest.approx(1.0, abs=1e-5)


def test_a_bigram_by_hand() -> None:
    """Counts of counts allow for no estimate, so that the discounts are 0.5, 1 and 1.5."""
    sentences = [("a", "b"), ("a", "c")] * 2
    model = estimate(sentences, 2)
    assert [one.fallback for one in model.discounts] == [True, True]
    # lower order: distinct histories. a: <s>; b: a; c: a; </s>: b, c. Vocabulary: a b c </s> <unk>
    share = (3 * 0.5 + 1.0) / 5
    low = dict.fromkeys("abc", (1 - 0.5) / 5 + share / 5) | {"</s>": (2 - 1.0) / 5 + share / 5}
    # after a: b and c, twice each
    back = (1.0 + 1.0) / 4
    expected = {
        ("a",): low["a"],
        ("</s>",): low["</s>"],
        ("<unk>",): share / 5,
        ("a", "b"): (2 - 1.0) / 4 + back * low["b"],
        ("a", "c"): (2 - 1.0) / 4 + back * low["c"],
        ("<s>", "a"): (4 - 1.5) / 4 + 1.5 / 4 * low["a"],
    }
    for ngram, probability in expected.items():
        assert 10 ** model.weights[ngram] == pytest.approx(probability), ngram
    assert 10 ** model.backoffs[("a",)] == pytest.approx(back)


def test_discounts_are_estimated_where_counts_allow() -> None:
    sentences = [("x",)] * 1
    for count, words in ((1, 8), (2, 4), (3, 3), (4, 2)):
        sentences += [(f"w{count}-{number}",) for number in range(words) for _ in range(count)]
    (one,) = estimate(sentences, 1).discounts
    t = Counter({1: 9, 2: 4, 3: 3, 4: 3})  # </s> is among those that are seen four times or more
    y = t[1] / (t[1] + 2 * t[2])
    assert not one.fallback
    assert one.values == pytest.approx((1 - 2 * y * t[2] / t[1], 2 - 3 * y * t[3] / t[2], 3 - 4 * y * t[4] / t[3]))


def test_it_foretells_better_than_witten_bell() -> None:
    """Held-out sentences of a made-up language in which context tells, with interpolated Witten-Bell beside it."""
    import random

    chance = random.Random(0)
    follows = {word: [chance.choice("abcdefghij") for _ in range(3)] for word in "abcdefghij"}

    def sentence() -> tuple[str, ...]:
        words = [chance.choice("abcdefghij")]
        for _ in range(chance.randrange(2, 9)):
            words.append(chance.choice(follows[words[-1]] if chance.random() < 0.8 else "abcdefghij"))
        return tuple(words)

    train, held_out = [sentence() for _ in range(150)], [sentence() for _ in range(100)]
    mine = read(train, 3).perplexity(held_out)
    counts: Counter[tuple[str, ...]] = Counter()
    for one in train:
        padded = ("<s>", *one, "</s>")
        counts.update(padded[at : at + n] for n in (1, 2, 3) for at in range(len(padded) - n + 1))
    following: dict[tuple[str, ...], Counter[str]] = {}
    for ngram, count in counts.items():
        if ngram != ("<s>",):
            following.setdefault(ngram[:-1], Counter())[ngram[-1]] += count

    def witten_bell(history: tuple[str, ...], word: str) -> float:
        lower = 1 / 12 if not history else witten_bell(history[1:], word)
        seen = following.get(history)
        return lower if seen is None else (seen[word] + len(seen) * lower) / (seen.total() + len(seen))

    nats = 0.0
    for one in held_out:
        padded = ("<s>", *one, "</s>")
        nats -= sum(math.log(witten_bell(padded[max(0, at - 2) : at], padded[at])) for at in range(1, len(padded)))
    assert mine.perplexity < math.exp(nats / (mine.tokens + mine.sentences))


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(ValueError, match="order is 0"):
        estimate([("a",)], 0)
    with pytest.raises(ValueError, match="no sentence"):
        estimate([], 2)
    for token in ("<s>", "a b", "", "</s>", "<space>", "\t", "  "):
        with pytest.raises(ValueError, match="cannot stand in an ARPA file"):
            estimate([("a", token)], 2)


def test_a_space_is_a_token_of_characters() -> None:
    text = write_arpa(estimate([tuple("ab a"), tuple("b")], 2))
    assert "<space> a" in text
    model = LanguageModel(text.encode())
    assert model.words == {"a", "b", " "}
    assert model.perplexity([tuple("b a")]).unknown == 0


def test_unknown_tokens_are_counted_and_left_out() -> None:
    model = read([("a", "b")] * 3, 2)
    known = model.perplexity([("a", "b")])
    assert (known.tokens, known.unknown, known.sentences) == (2, 0, 1)
    assert model.perplexity([("a", "zoo", "b")]).unknown == 1
