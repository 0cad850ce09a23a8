"""Reading a language model of a million n-grams. Goal: under a second."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from ctckit.lm import LanguageModel

GOAL_SECONDS = 1.0
COUNTS = (30_000, 300_000, 670_000)


def write_model(path: Path) -> None:
    """Write a trigram model whose contexts are all listed; the weights are drawn."""
    chance = random.Random(0)
    words = [f"word{number}" for number in range(COUNTS[0])]
    pairs: dict[tuple[str, str], None] = {}
    while len(pairs) < COUNTS[1]:
        # some words are frequent, as in any language
        pairs[words[int(len(words) * chance.random() ** 3)], chance.choice(words)] = None
    contexts = list(pairs)
    triples: dict[tuple[str, str, str], None] = {}
    while len(triples) < COUNTS[2]:
        triples[(*chance.choice(contexts), chance.choice(words))] = None
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {order}={count}\n" for order, count in enumerate((COUNTS[0] + 3, *COUNTS[1:]), 1))
        file.write("\n\\1-grams:\n-99\t<s>\t-0.3\n-2.1\t</s>\n-4\t<unk>\n")
        file.writelines(f"{-3 - chance.random():.6f}\t{word}\t{-chance.random():.6f}\n" for word in words)
        file.write("\n\\2-grams:\n")
        file.writelines(f"{-1 - chance.random():.6f}\t{' '.join(p)}\t{-chance.random():.6f}\n" for p in pairs)
        file.write("\n\\3-grams:\n")
        file.writelines(f"{-chance.random():.6f}\t{' '.join(triple)}\n" for triple in triples)
        file.write("\n\\end\\\n")


def test_a_million_ngrams(benchmark: Any, tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_model(path)
    model = benchmark.pedantic(LanguageModel.read, args=(path,), rounds=5, warmup_rounds=1)
    assert model.counts[1:] == COUNTS[1:]
    benchmark.extra_info["goal_seconds"] = GOAL_SECONDS
    assert benchmark.stats.stats.median < GOAL_SECONDS
