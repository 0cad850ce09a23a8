"""What the errors of a corpus are made of: words and characters, confusions, clips, speakers. Knows no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ctckit.edits import aligned, edit_counts

if TYPE_CHECKING:
    from ctckit.data.schema import Unit

Name = TypeVar("Name", str, tuple[str, str])


@dataclass(frozen=True, slots=True)
class Utterance:
    """A clip as transcribed and as recognised.

    Attributes:
        clip_id: the clip.
        reference: tokens of the transcript; none for silence.
        hypothesis: tokens recognised.
        speaker: who speaks or signs; "" where unknown.
    """

    clip_id: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Errors:
    """Edit counts, and what they are of.

    Attributes:
        substitutions: see ``ctckit.edits``, as are the next two.
        deletions: see above.
        insertions: see above.
        of: words, characters or tokens in the references.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    of: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.of + other.of,
        )

    @property
    def total(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Per cent; NaN where the references hold nothing."""
        return 100.0 * self.total / self.of if self.of else math.nan

    @property
    def share(self) -> float:
        """Errors a token, by which clips and speakers are ranked; in silence, errors."""
        return self.total / max(self.of, 1)

    def row(self) -> dict[str, Any]:
        """Return the counts and the rate under their names."""
        return {"rate": self.rate, **asdict(self)}


@dataclass(slots=True)
class Breakdown:
    """Errors of a corpus, taken apart.

    Attributes:
        unit: what a token is.
        words: errors in words: the tokens, or what stands between the spaces of tokens that are characters.
        characters: errors in characters (code points): those of the words joined by single spaces, or the tokens.
        clips: each clip with the errors in its tokens, those with most errors a token first, equal ones by id.
        substitutions: tokens of the reference with what was recognised in their place, by how often.
        deletions: tokens that were left out, by how often.
        insertions: tokens too many, by how often.
        speakers: errors in tokens by speaker; empty where no speaker is known.
    """

    unit: Unit
    words: Errors = field(default_factory=Errors)
    characters: Errors = field(default_factory=Errors)
    clips: list[tuple[Utterance, Errors]] = field(default_factory=list)
    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)
    speakers: dict[str, Errors] = field(default_factory=dict)

    @property
    def tokens(self) -> Errors:
        """Errors in tokens."""
        return self.words if self.unit == "word" else self.characters

    def row(self, details: int) -> dict[str, Any]:
        """Return everything as values of JSON, ``details`` entries of each list, and all speakers."""
        return {
            "unit": self.unit,
            "words": self.words.row(),
            "characters": self.characters.row(),
            "substituted": [[*pair, count] for pair, count in self.substitutions.most_common(details)],
            "deleted": [[token, count] for token, count in self.deletions.most_common(details)],
            "inserted": [[token, count] for token, count in self.insertions.most_common(details)],
            "worst": [
                {"clip": one.clip_id, **errors.row(), "reference": one.reference, "hypothesis": one.hypothesis}
                for one, errors in self.worst(details)
            ],
            "speakers": {speaker: errors.row() for speaker, errors in self.speakers.items()},
        }

    def worst(self, number: int) -> list[tuple[Utterance, Errors]]:
        """Return the clips with most errors a token, those without an error left out."""
        return [(one, errors) for one, errors in self.clips[:number] if errors.total]


def broken_down(utterances: Iterable[Utterance], unit: Unit, *, sclite: bool = False) -> Breakdown:
    """Count the errors of a corpus and take them apart.

    Args:
        utterances: references may be empty; every token of such a clip is an insertion.
        unit: what a token is.
        sclite: align as sclite does even where another alignment has fewer errors; see ``ctckit.edits.aligned``.
    """
    found = Breakdown(unit)
    for one in utterances:
        pairs = aligned(one.reference, one.hypothesis, sclite=sclite)
        wrong = [(wanted, got) for wanted, got in pairs if wanted != got]
        for wanted, got in wrong:
            if wanted is not None and got is not None:
                found.substitutions[wanted, got] += 1
            elif wanted is not None:
                found.deletions[wanted] += 1
            elif got is not None:
                found.insertions[got] += 1
        deleted, inserted = (sum(pair[side] is None for pair in wrong) for side in (1, 0))
        tokens = Errors(len(wrong) - deleted - inserted, deleted, inserted, len(one.reference))
        found.clips.append((one, tokens))
        if one.speaker:
            found.speakers[one.speaker] = found.speakers.get(one.speaker, Errors()) + tokens
        others = [_other_side(side, unit) for side in (one.reference, one.hypothesis)]
        other = Errors(*edit_counts(*others, sclite=sclite), len(others[0]))
        found.words += tokens if unit == "word" else other
        found.characters += other if unit == "word" else tokens
    found.clips.sort(key=lambda clip: (-clip[1].share, clip[0].clip_id))
    found.speakers = dict(sorted(found.speakers.items(), key=lambda item: (-item[1].share, item[0])))
    found.substitutions = _ranked(found.substitutions)
    found.deletions, found.insertions = _ranked(found.deletions), _ranked(found.insertions)
    return found


def _ranked(counts: Counter[Name]) -> Counter[Name]:
    """Order equal counts by name, so that nothing depends on the order of the clips."""
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _other_side(tokens: tuple[str, ...], unit: Unit) -> list[str]:
    return list(" ".join(tokens)) if unit == "word" else "".join(tokens).split()
