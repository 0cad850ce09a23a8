"""What corpora share that should be apart: clip ids, sentences and speakers, between every two of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from itertools import combinations

from ctckit.audit.labels import listed
from ctckit.data import Corpus
from ctckit.data.alphabet import form_of
from ctckit.data.schema import SPEAKERS
from ctckit.types import Finding

SOURCE = "docs/founding-document.md 5.2 (data leakage)"

MANY = 50.0
"""Per cent of a corpus's clips whose sentence is in another, from which on scores are in part those of memory."""


def check_overlap(corpora: Mapping[str, Corpus]) -> Iterator[Finding]:
    """Compare every two corpora, in both directions.

    Args:
        corpora: by name; ``train`` first.
    """
    for (other_name, other), (name, corpus) in combinations(corpora.items(), 2):
        yield from _ids(name, corpus, other_name, other)
        yield from _sentences(name, corpus, other_name, other)
        yield from _speakers(name, corpus, other_name, other)


def _ids(name: str, corpus: Corpus, other_name: str, other: Corpus) -> Iterator[Finding]:
    # one id in two Unicode forms is one id to whoever looks at it
    theirs = {unicodedata.normalize("NFC", clip) for clip in other.ids}
    shared = sorted(clip for clip in corpus.ids if unicodedata.normalize("NFC", clip) in theirs)
    if shared:
        yield Finding(
            "shared_ids",
            "warning",
            f"{name}: {len(shared)} clip ids are those of {other_name} too: {listed(shared)}",
            {"clips": len(shared), "with": other_name},
            "the same clips on both sides make scores worthless; the features tell whether they are",
            SOURCE,
        )


def _sentences(name: str, corpus: Corpus, other_name: str, other: Corpus) -> Iterator[Finding]:
    # single labels recur wherever there are more clips than labels
    here, there = (
        [text for text in map(one.transcript, range(len(one))) if len(text) > 1] for one in (corpus, other)
    )
    shared = set(here) & set(there)
    if not shared:
        return
    mine, theirs = (sum(text in shared for text in texts) for texts in (here, there))
    share, reverse = 100.0 * mine / len(here), 100.0 * theirs / len(there)
    many = share >= MANY or reverse >= MANY
    example = ("" if corpus.unit == "character" else " ").join(min(shared))
    yield Finding(
        "shared_sentences",
        "warning" if many else "info",
        f"{name}: {mine} of {len(here)} sentences ({share:.0f} %) are in {other_name} word for word, {theirs} of "
        f"{len(there)} there ({reverse:.0f} %) are in {name}: {example!r}",
        {"sentences": len(shared), "clips": mine, "share": share, "reverse_share": reverse, "with": other_name},
        f"a network may know them by heart: scores on {name} say little about new sentences" if many else "",
        SOURCE,
    )


def _speakers(name: str, corpus: Corpus, other_name: str, other: Corpus) -> Iterator[Finding]:
    for attribute in corpus.attribute_names:
        if attribute.casefold() not in SPEAKERS or attribute not in other.attribute_names:
            continue
        here, there = (
            {
                form_of(value): value
                for value in (one.attributes(index)[attribute] for index in range(len(one)))
                if value
            }
            for one in (corpus, other)
        )
        shared = sorted(set(here) & set(there))
        if not shared:
            continue
        # all of them in train is how a speaker-dependent split is made; some of them is how one leaks
        meant = set(here) <= set(there) or set(there) <= set(here)
        otherwise = [form for form in shared if here[form] != there[form]]
        spelt = f", {len(otherwise)} of them spelt otherwise there" if otherwise else ""
        yield Finding(
            "shared_speakers",
            "info" if meant and not otherwise else "warning",
            f"{name}: {len(shared)} of {len(here)} values of {attribute} are in {other_name} too, which has "
            f"{len(there)}: {listed([here[form] for form in shared])}{spelt}",
            {
                "attribute": attribute,
                "shared": len(shared),
                "share": 100.0 * len(shared) / len(here),
                "reverse_share": 100.0 * len(shared) / len(there),
                "with": other_name,
            },
            f"scores on {name} say nothing about new ones; `ctckit data split --by {attribute}` parts them",
            SOURCE,
        )
