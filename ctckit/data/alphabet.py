"""The labels of a corpus and their class numbers."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ctckit.errors import DataError
from ctckit.types import BLANK

BLANK_TOKEN = "<blank>"
"""How the blank class is written in files and reports. No transcript may hold it."""


class Alphabet:
    """An immutable, ordered set of labels; class `BLANK` (0) is the blank, labels follow from 1.

    Args:
        tokens: the labels without blank, in the order of their classes.

    Raises:
        DataError: there is no label, or one is empty, given twice, or the blank itself.
    """

    __slots__ = ("_classes", "_tokens")

    def __init__(self, tokens: Iterable[str]) -> None:
        labels = tuple(tokens)
        if not labels:
            raise DataError("an alphabet needs at least one label besides blank; the transcripts hold none")
        classes: dict[str, int] = {}
        for number, label in enumerate(labels, start=BLANK + 1):
            if not isinstance(label, str) or not label:
                raise DataError(f"label {number} of the alphabet is {label!r}; labels are non-empty strings")
            if label == BLANK_TOKEN:
                raise DataError(f"{BLANK_TOKEN!r} is reserved for class {BLANK}; rename that label")
            if label in classes:
                raise DataError(
                    f"label {label!r} occurs twice in the alphabet (classes {classes[label]}, {number})"
                )
            classes[label] = number
        self._tokens = (BLANK_TOKEN, *labels)
        self._classes = classes

    @classmethod
    def from_transcripts(cls, transcripts: Iterable[Sequence[str]]) -> Alphabet:
        """Collects the labels of transcripts, in sorted order, so that clip order does not matter."""
        return cls(sorted({token for transcript in transcripts for token in transcript}))

    @property
    def tokens(self) -> tuple[str, ...]:
        """Label of every class, blank included, by class number."""
        return self._tokens

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels without blank; ``Alphabet(alphabet.labels) == alphabet``."""
        return self._tokens[BLANK + 1 :]

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, label: object) -> bool:
        return label in self._classes

    def __eq__(self, other: object) -> bool:
        return self._tokens == other._tokens if isinstance(other, Alphabet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __repr__(self) -> str:
        shown = ", ".join(repr(label) for label in self.labels[:4])
        return f"Alphabet({len(self)} classes: blank, {shown}{', ...' if len(self) > 5 else ''})"

    def __reduce__(self) -> tuple[type[Alphabet], tuple[tuple[str, ...]]]:
        return Alphabet, (self.labels,)

    def encode(self, tokens: Sequence[str], where: str) -> npt.NDArray[np.int64]:
        """Turns labels into classes.

        Args:
            tokens: labels of one transcript.
            where: file and clip, for the message.

        Returns:
            int64 [U], each in 1 .. len(self) - 1.

        Raises:
            DataError: a token is unknown; the message names `where`, the token and a near miss.
        """
        try:
            classes = [self._classes[token] for token in tokens]
        except KeyError:
            unknown = next(token for token in tokens if token not in self._classes)
            raise DataError(f"{where}: token {unknown!r} {self._explain(unknown)}") from None
        return np.array(classes, dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Turns classes into labels.

        Raises:
            DataError: a class is not in the alphabet, or is the blank: targets never hold it.
        """
        out = []
        for raw in ids:
            number = int(raw)
            if not BLANK < number < len(self._tokens):
                kind = "the blank" if number == BLANK else f"outside 1 .. {len(self._tokens) - 1}"
                raise DataError(f"class {number} is {kind}; it stands for no label")
            out.append(self._tokens[number])
        return tuple(out)

    def _explain(self, token: str) -> str:
        if token == BLANK_TOKEN:
            return "is the blank, which is no label; remove it from the transcript"
        twin = near_misses([token], self._classes).get(token)
        if twin is not None:
            label, difference = twin
            return f"is not in the alphabet, {label!r} is: {difference}; make them agree"
        near = difflib.get_close_matches(token, self._classes, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"is not among the {len(self) - 1} labels of the alphabet{hint}; correct it or train with it"


def near_misses(tokens: Iterable[str], labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Find labels that differ from tokens only in how they are written.

    Args:
        tokens: to explain.
        labels: that there are.

    Returns:
        For each token that is no label but has such a twin: the label, and what differs.
    """
    known = set(labels)
    by_form: dict[str, str] = {}
    for label in sorted(known):
        by_form.setdefault(form_of(label), label)
    found = {}
    for token in tokens:
        twin = by_form.get(form_of(token))
        if token not in known and twin is not None:
            found[token] = (twin, _difference(token, twin))
    return found


def written_alike(labels: Iterable[str]) -> list[list[str]]:
    """Group labels that differ only in how they are written; groups of one are left out, the largest come first."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(form_of(label), []).append(label)
    return sorted((group for group in groups.values() if len(group) > 1), key=len, reverse=True)


def form_of(token: str) -> str:
    """What is left of a token once case, composition, width and invisible characters are taken away."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", token).casefold())
    return "".join(character for character in plain if unicodedata.category(character) != "Cf").strip()


def _difference(token: str, twin: str) -> str:
    if token.casefold() == twin.casefold():
        return "upper and lower case differ"
    if token.strip() == twin.strip():
        return "white space around it differs"
    if unicodedata.normalize("NFC", token) == unicodedata.normalize("NFC", twin):
        return "the same characters in another Unicode form (NFC, NFD)"
    invisible = sorted({f"U+{ord(c):04X}" for c in token + twin if unicodedata.category(c) == "Cf"})
    if invisible:
        return f"invisible characters differ ({', '.join(invisible)})"
    return "compatible characters in another width, form or case"
