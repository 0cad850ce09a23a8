"""What a file of transcripts says of a clip, and what no text format can carry."""

from __future__ import annotations

from dataclasses import dataclass

from ctckit.errors import DataError


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording.

    Attributes:
        start: in seconds.
        end: in seconds.
        speaker: who speaks or signs; "" where unknown.
        tokens: what was said; None where nobody transcribed it, so that it is not scored.
    """

    start: float
    end: float
    speaker: str
    tokens: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Transcript:
    """Tokens of a clip, as said or as recognised.

    Attributes:
        clip_id: the clip.
        tokens: in order; none for silence.
        spans: start and end of each token, seconds; None where unknown.
        confidences: of each token, 0 to 1; None where unknown.
        seconds: length of the clip; None where unknown.
        speaker: who speaks or signs; "" where unknown.
        segments: of a recording that an STM parts, its stretches in order of time; empty for a clip in one piece.
    """

    clip_id: str
    tokens: tuple[str, ...]
    spans: tuple[tuple[float, float], ...] | None = None
    confidences: tuple[float, ...] | None = None
    seconds: float | None = None
    speaker: str = ""
    segments: tuple[Segment, ...] = ()


def refused(transcript: Transcript, kind: str, why: str) -> DataError:
    """Return the error that names a clip which a format cannot carry."""
    return DataError(f"clip {transcript.clip_id!r} cannot be written as {kind}: {why}")


def check_words(transcript: Transcript, kind: str, special: frozenset[str] = frozenset()) -> None:
    """Refuse a clip whose id or tokens are not single words between spaces.

    Args:
        transcript: the clip.
        kind: of the file.
        special: words that mean something else there.

    Raises:
        DataError: names the clip and the token.
    """
    for what, word in (("its id", transcript.clip_id), *(("the token", token) for token in transcript.tokens)):
        if fault := word_fault(word):
            raise refused(transcript, kind, f"{what} {word!r} {fault}")
        if what == "the token" and word in special:
            raise refused(transcript, kind, f"the token {word!r} means something else there")


def word_fault(word: str) -> str:
    """Say what keeps a text from being one word of a line in UTF-8, "" where nothing does."""
    if not word:
        return "is empty"
    if word.split() != [word]:
        return "holds white space, which parts words"
    return text_fault(word)


def text_fault(text: str) -> str:
    """Say what keeps a text from a file in UTF-8, "" where nothing does."""
    if "\0" in text:
        return "holds a NUL character, at which many programs end a text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is not UTF-8"
    return ""
