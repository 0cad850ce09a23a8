"""NIST's formats, as sclite reads them: STM and TRN, a line a clip, and CTM, a line a word.

``;;`` begins a remark in all three.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from ctckit.errors import DataError
from ctckit.transcripts.transcript import Segment, Transcript, check_words, refused, word_fault

REMARK = ";;"
CHANNEL = "1"
LABEL = "<o>"
"""Stands between the times and the words of a written STM line, so that no first word is taken for a label."""

SPECIAL = frozenset({"{", "}", "@"})
"""Alternatives ``{ a / b }``, and the word that stands for none."""

CUT = ";"
"""Within a word sclite compares what stands before it alone."""

UNKNOWN = "unknown"
"""Stands in the place of a speaker."""

IGNORED = "ignore_time_segment_in_scoring"
"""Stands in the place of words where nobody transcribed."""

_ALTERNATIVES = frozenset({"<ALT_BEGIN>", "<ALT>", "<ALT_END>"})
_TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*")
_SILENT = re.compile(rf"{REMARK} (\S+) has no words\s*")


def write_trn(transcript: Transcript) -> str:
    """Return the clip as a line of TRN, ``words (id)``."""
    _check(transcript, "trn", SPECIAL)
    if set("()") & set(transcript.clip_id):
        raise refused(transcript, "trn", "its id holds parentheses, between which it has to stand")
    return " ".join([*transcript.tokens, f"({transcript.clip_id})"]) + "\n"


def write_stm(transcript: Transcript) -> str:
    """Return the clip as a line of STM, from 0 to its length."""
    _check(transcript, "stm", SPECIAL)
    if transcript.seconds is None:
        raise refused(transcript, "stm", "its length in seconds is not known; give --frame-rate")
    if [token.casefold() for token in transcript.tokens] == [IGNORED]:
        raise refused(transcript, "stm", f"{transcript.tokens[0]!r} alone means that nobody transcribed it")
    speaker = transcript.speaker or UNKNOWN
    if fault := word_fault(speaker):
        raise refused(transcript, "stm", f"the speaker {speaker!r} {fault}")
    times = f"0.000 {transcript.seconds:.3f}"
    return " ".join([transcript.clip_id, CHANNEL, speaker, times, LABEL, *transcript.tokens]) + "\n"


def write_ctm(transcript: Transcript) -> str:
    """Return the clip as lines of CTM; a clip without words as a remark, which reading takes back."""
    _check(transcript, "ctm", SPECIAL | _ALTERNATIVES)
    if transcript.spans is None:
        raise refused(transcript, "ctm", "its times in seconds are not known; give --frame-rate")
    if not transcript.tokens:
        return f"{REMARK} {transcript.clip_id} has no words\n"
    confidences = transcript.confidences or [None] * len(transcript.tokens)
    lines = []
    for token, (start, end), confidence in zip(transcript.tokens, transcript.spans, confidences, strict=True):
        start, end = round(start, 3), round(end, 3)
        line = f"{transcript.clip_id} {CHANNEL} {start:.3f} {end - start:.3f} {token}"
        lines.append(line + ("\n" if confidence is None else f" {confidence:.4f}\n"))
    return "".join(lines)


def _check(transcript: Transcript, kind: str, special: frozenset[str]) -> None:
    check_words(transcript, kind, special)
    for token in transcript.tokens:
        if CUT in token:
            raise refused(transcript, kind, f"the token {token!r} holds {CUT!r}, behind which sclite reads nothing")
        if optional(token):
            raise refused(
                transcript, kind, f"the token {token!r} stands in parentheses, as a word that may be missing"
            )
    first = " ".join(transcript.tokens) if kind == "trn" else transcript.clip_id
    if first.startswith(REMARK):
        raise refused(transcript, kind, f"its line would begin with {REMARK}, as a remark does")


def optional(word: str) -> bool:
    """Whether a word stands in parentheses, by which sclite knows what may be missing."""
    return len(word) > 2 and word.startswith("(") and word.endswith(")")


def read_trn(lines: Iterator[tuple[str, str]]) -> Iterator[Transcript]:
    """Yield the clips of a TRN file, of which lines come with where they stand."""
    for where, line in lines:
        if line.startswith(REMARK):
            continue
        found = _TRN.fullmatch(line)
        if found is None:
            raise DataError(f"{where}: expected words and then the id in parentheses")
        yield Transcript(found[2], _plain(found[1].split(), where))


def read_stm(lines: Iterator[tuple[str, str]]) -> Iterator[Transcript]:
    """Yield the files of an STM file, each with its segments; its tokens are theirs in order of time."""
    segments: dict[str, list[Segment]] = {}
    channels: dict[str, str] = {}
    for where, line in lines:
        fields = line.split()
        if line.startswith(REMARK):
            continue
        if not is_stm(fields):
            raise DataError(f"{where}: expected file, channel, speaker, start, end (seconds) and words")
        words = fields[5:]
        if words and words[0].startswith("<") and words[0].endswith(">"):
            words = words[1:]
        if channels.setdefault(fields[0], fields[1]) != fields[1]:
            raise DataError(
                f"{where}: {fields[0]!r} has another channel above; give each channel a file of its own"
            )
        ignored = [word.casefold() for word in words] == [IGNORED]
        speaker = "" if fields[2] == UNKNOWN else fields[2]
        tokens = None if ignored else _plain(words, where)
        segments.setdefault(fields[0], []).append(Segment(float(fields[3]), float(fields[4]), speaker, tokens))
    for name, known in segments.items():
        known.sort(key=lambda segment: segment.start)
        speakers = dict.fromkeys(segment.speaker for segment in known)
        yield Transcript(
            name,
            tuple(word for segment in known for word in segment.tokens or ()),
            speaker=next(iter(speakers)) if len(speakers) == 1 else "",
            segments=tuple(known) if len(known) > 1 or known[0].tokens is None else (),
        )


def parted(segments: Sequence[Segment], words: Transcript) -> list[tuple[str, ...]]:
    """Return the words of a recording by segment, as sclite deals them out.

    A word belongs to the first segment that ends behind its middle, the last segment takes the rest: what lies
    between two segments counts against the later one.

    Args:
        segments: in order of time.
        words: of the recording, with their spans.
    """
    found: list[list[str]] = [[] for _ in segments]
    ends = [segment.end for segment in segments]
    for token, (start, end) in zip(words.tokens, words.spans or (), strict=True):
        found[min(bisect_right(ends, (start + end) / 2), len(ends) - 1)].append(token)
    return [tuple(tokens) for tokens in found]


def read_ctm(lines: Iterator[tuple[str, str]]) -> Iterator[Transcript]:
    """Yield the files of a CTM file, their words by time; all words have a confidence, or none is taken."""
    words: dict[str, list[tuple[float, float, str, float | None]]] = {}
    channels: dict[str, str] = {}
    for where, line in lines:
        if silent := _SILENT.fullmatch(line):
            words.setdefault(silent[1], [])
            continue
        if line.startswith(REMARK):
            continue
        fields = line.split()
        if not is_ctm(fields):
            raise DataError(
                f"{where}: expected file, channel, start, duration (seconds), one word and a confidence"
            )
        if fields[4] in _ALTERNATIVES:
            raise DataError(f"{where}: has alternatives, which are not read; choose one")
        if channels.setdefault(fields[0], fields[1]) != fields[1]:
            raise DataError(
                f"{where}: {fields[0]!r} has another channel above; give each channel a file of its own"
            )
        (word,) = _plain(fields[4:5], where) or ("",)
        start, length = float(fields[2]), float(fields[3])
        confidence = seconds_of(fields[5]) if len(fields) > 5 else None
        words.setdefault(fields[0], []).append((start, start + length, word, confidence))
    for name, found in words.items():
        found.sort(key=lambda word: word[0])
        confidences = [confidence for *_, confidence in found if confidence is not None]
        yield Transcript(
            name,
            tuple(word for _, _, word, _ in found),
            tuple((start, end) for start, end, *_ in found),
            tuple(confidences) if len(confidences) == len(found) else None,
        )


def is_stm(fields: Sequence[str]) -> bool:
    """Whether the words of a line begin as those of an STM do."""
    return len(fields) >= 5 and None not in (seconds_of(fields[3]), seconds_of(fields[4]))


def is_ctm(fields: Sequence[str]) -> bool:
    """Whether the words of a line are those of a CTM: file, channel, start, duration, one word, a confidence."""
    return len(fields) in (5, 6) and None not in (seconds_of(fields[2]), seconds_of(fields[3]))


def reads_as_stm(fields: Sequence[str]) -> bool:
    """Whether a line of which nothing is known is rather one of an STM than words that happen to be numbers."""
    return is_stm(fields) and float(fields[3]) <= float(fields[4])


def reads_as_ctm(fields: Sequence[str]) -> bool:
    """Whether a line of which nothing is known is rather one of a CTM than words that happen to be numbers."""
    return is_ctm(fields) and seconds_of(fields[4]) is None


def is_trn(line: str) -> bool:
    """Whether a line ends as those of a TRN do, in an id between parentheses."""
    return _TRN.fullmatch(line) is not None


def seconds_of(text: str) -> float | None:
    """Read a number from 0 on; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def _plain(words: Sequence[str], where: str) -> tuple[str, ...]:
    if {"{", "}"} & set(words):
        raise DataError(f"{where}: has alternatives, {{ a / b }}, which are not read; choose one")
    if missing := [word for word in words if optional(word)]:
        raise DataError(f"{where}: {missing[0]!r} may be missing, which is not known here; take it out")
    return tuple(word for word in words if word != "@")
