"""What transcripts give away before training: vocabularies that differ, padding, labels too rare to learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from ctckit.assemble import MOST_UNSEEN
from ctckit.data import Alphabet, Corpus
from ctckit.data.alphabet import BLANK_TOKEN, near_misses, written_alike
from ctckit.data.schema import LIST
from ctckit.data.statistics import label_counts, out_of_vocabulary
from ctckit.types import Finding

SOURCE = "docs/founding-document.md C5"

BLANK_LIKE = frozenset(
    {"blank", "<blk>", "<eps>", "<epsilon>", "<pad>", "[pad]", "[blank]", "pad", "<ctc>", "-", "_"}
)
"""Labels that other toolkits use for the blank or for padding, in lower case."""

RARE = 5
"""Occurrences below which a label is hardly learnt."""

MANY_UNSEEN = 5.0
"""Per cent of a corpus's tokens that train lacks, from which on its figures say less than they seem to."""

SHOWN = 5


def check_labels(corpora: Mapping[str, Corpus], alphabet: Alphabet) -> Iterator[Finding]:
    """Check the transcripts of ``train`` and of the other corpora against it.

    Args:
        corpora: by name; ``train`` first.
        alphabet: that the model is to have.
    """
    train = corpora["train"]
    counts = label_counts(train)
    yield from _tail(counts)
    yield from _unused(counts, alphabet)
    for name, corpus in corpora.items():
        prefix = "" if name == "train" else f"{name}: "
        own = counts if name == "train" else label_counts(corpus)
        yield from _blank_like(prefix, own)
        yield from _padding(prefix, corpus)
        yield from _list_syntax(name, corpus)
        yield from _all_alike(prefix, corpus)
        yield from _forms_within(name, prefix, own)
    for name, corpus in corpora.items():
        if name != "train":
            yield from _against_train(name, corpus, train, counts, alphabet)


def _tail(counts: Counter[str]) -> Iterator[Finding]:
    once = sum(count == 1 for count in counts.values())
    rare = sum(count < RARE for count in counts.values())
    share = 100.0 * once / len(counts)
    many = share > 50.0
    yield Finding(
        "label_tail",
        "warning" if many else "info",
        f"{once} of {len(counts)} labels occur once, {rare} fewer than {RARE} times",
        {"labels": len(counts), "once": once, "rare": rare, "once_share": share, "tokens": counts.total()},
        "merge rare labels or collect more: what is seen once is learnt by heart" if many else "",
        SOURCE,
    )


def _unused(counts: Counter[str], alphabet: Alphabet) -> Iterator[Finding]:
    unused = [label for label in alphabet.labels if label not in counts]
    if unused:
        share = 100.0 * len(unused) / len(alphabet.labels)
        yield Finding(
            "unused_classes",
            "warning" if share > 50.0 else "info",
            f"{len(unused)} of {len(alphabet.labels)} classes never occur in train: {listed(unused)}",
            {"unused": len(unused), "classes": len(alphabet), "share": share},
            "is this the alphabet of this corpus?" if share > 50.0 else "",
            SOURCE,
        )


def _blank_like(prefix: str, counts: Counter[str]) -> Iterator[Finding]:
    found = [label for label in counts if label.lower() in BLANK_LIKE | {BLANK_TOKEN}]
    if found:
        yield Finding(
            "blank_like_label",
            "warning",
            f"{prefix}{listed(found)} stands in transcripts as a label "
            f"({sum(counts[label] for label in found)} times)",
            {"labels": len(found), "tokens": sum(counts[label] for label in found)},
            "remove it where it means blank or padding: ctckit adds its own blank, class 0",
            f"{SOURCE} (padding with the blank id)",
        )


def _padding(prefix: str, corpus: Corpus) -> Iterator[Finding]:
    """A label that ends many clips in runs is padding that was stored as a transcript."""
    ends: Counter[str] = Counter()
    for index in range(len(corpus)):
        tokens = corpus.transcript(index)
        if len(tokens) > 1 and tokens[-1] == tokens[-2]:
            ends[tokens[-1]] += 1
    for label, clips in ends.most_common(1):
        share = 100.0 * clips / len(corpus)
        if share >= 20.0 and clips > 1:
            yield Finding(
                "padding_in_transcripts",
                "warning",
                f"{prefix}{clips} clips ({share:.0f} %) end in a run of {label!r}",
                {"label": label, "clips": clips, "share": share},
                "cut transcripts at their own length if that is padding",
                f"{SOURCE} (padding)",
            )


def _list_syntax(name: str, corpus: Corpus) -> Iterator[Finding]:
    joint = " " if corpus.unit == "word" else ""
    texts = [joint.join(corpus.transcript(index)) for index in range(len(corpus))]
    lists = [clip for clip, text in zip(corpus.ids, texts, strict=True) if LIST.fullmatch(text)]
    if lists:
        yield Finding(
            "list_in_transcript",
            "error",
            f"{name}: {len(lists)} transcripts are lists written out, with brackets and quotes: {listed(lists)}",
            {"clips": len(lists)},
            "write the words with spaces between them; brackets, quotes and commas would be learnt as labels",
            SOURCE,
        )


def _all_alike(prefix: str, corpus: Corpus) -> Iterator[Finding]:
    first = corpus.transcript(0)
    if len(corpus) > 1 and all(corpus.transcript(index) == first for index in range(1, len(corpus))):
        yield Finding(
            "transcripts_alike",
            "error",
            f"{prefix}all {len(corpus)} clips have the same transcript",
            {"clips": len(corpus)},
            "there is nothing to tell apart; check how transcripts were matched to clips",
            SOURCE,
        )


def _forms_within(name: str, prefix: str, counts: Counter[str]) -> Iterator[Finding]:
    alike = written_alike(counts)
    other = [labels for labels in alike if len({label.casefold() for label in labels}) > 1]
    if other:
        difference = next(iter(near_misses([other[0][1]], [other[0][0]]).values()))[1]
        yield Finding(
            "forms_in_train",
            "warning",
            f"{prefix}{len(other)} labels of {name} are written in several ways that look alike: "
            f"{listed([' / '.join(labels) for labels in other])}: {difference}",
            {"labels": len(other)},
            "write each in one way: one Unicode form (NFC), without invisible characters",
            f"{SOURCE} (case mismatch)",
        )
    double = [labels for labels in alike if labels not in other]
    # Single letters and sign-language glosses such as "IX-a" use case on purpose; most labels doing so does not.
    if double:
        yield Finding(
            "case_in_train",
            "warning",
            f"{prefix}{len(double)} labels of {name} occur in spellings that differ by case alone: "
            f"{listed([' / '.join(labels) for labels in double])}",
            {"labels": len(double)},
            "make them agree, unless case carries meaning",
            f"{SOURCE} (case mismatch)",
        )


def _against_train(
    name: str, corpus: Corpus, train: Corpus, counts: Counter[str], alphabet: Alphabet
) -> Iterator[Finding]:
    missing = out_of_vocabulary(train, corpus)
    twins = near_misses([label for label, _ in missing.labels], counts)
    by_case = [label for label, (twin, _) in twins.items() if twin.casefold() == label.casefold()]
    by_form = [label for label in twins if label not in by_case]
    if by_form:
        label = by_form[0]
        twin, difference = twins[label]
        yield Finding(
            "form_mismatch",
            "error",
            f"{name}: {len(by_form)} labels look like train's and are written otherwise: {listed(by_form)}: "
            f"{difference}",
            {"labels": len(by_form), "example": label, "in_train": twin},
            "write them as train does; each is an error as it stands",
            f"{SOURCE} (case mismatch)",
        )
    if by_case:
        label = by_case[0]
        yield Finding(
            "case_mismatch",
            "error",
            f"{name}: {len(by_case)} labels differ from train's by case alone: {listed(by_case)}",
            {"labels": len(by_case), "example": label, "in_train": twins[label][0]},
            "write them as train does; each is an error as it stands",
            f"{SOURCE} (case mismatch)",
        )
    refused = [label for label, _ in missing.labels if label not in alphabet]
    other = [label for label, _ in missing.labels if label not in twins]
    if other:
        stops = name == "dev" and missing.share > 100.0 * MOST_UNSEEN
        yield Finding(
            "unseen_labels",
            "error" if stops else "warning" if missing.share >= MANY_UNSEEN else "info",
            f"{name}: {len(other)} labels never occur in train, {missing.share:.2f} % of tokens: {listed(other)}",
            {
                "labels": len(other),
                "not_in_alphabet": len(refused),
                "tokens": missing.tokens,
                "share": missing.share,
                "clips": len(missing.clips),
            },
            "training refuses a dev corpus that is mostly foreign to train: is it the same language and unit?"
            if stops
            else "no model can emit them: a floor under the error rate",
            f"{SOURCE} (vocabulary mismatch)",
        )


def listed(labels: list[str]) -> str:
    """Name the first few of several."""
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(map(repr, labels[:SHOWN])) + more
