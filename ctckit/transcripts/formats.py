"""The formats by name: which there are, how a file's is told, and tokens of characters as words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ctckit.errors import DataError, reason_of
from ctckit.transcripts import lines as plain
from ctckit.transcripts import nist, textgrid
from ctckit.transcripts.transcript import Transcript

Lines = Iterator[tuple[str, str]]
"""Each line that holds something, behind where it stands."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        write: a clip as text; None of JSON lines, which say more than a transcript does.
        read: the clips of a file's lines; None where it is written alone.
        suffix: of its files; more than one clip in a file unless ``folder``.
        folder: whether each clip is a file of its own.
    """

    write: Callable[[Transcript], str] | None
    read: Callable[[Lines], Iterator[Transcript]] | None
    suffix: str
    folder: bool = False


FORMATS = {
    "jsonl": Format(None, plain.read_jsonl, ".jsonl"),
    "ctm": Format(nist.write_ctm, nist.read_ctm, ".ctm"),
    "stm": Format(nist.write_stm, nist.read_stm, ".stm"),
    "trn": Format(nist.write_trn, nist.read_trn, ".trn"),
    "text": Format(plain.write_text, plain.read_text, ".txt"),
    "textgrid": Format(textgrid.write_textgrid, None, ".TextGrid", folder=True),
}
"""By the name that ``--format`` takes."""


@dataclass(frozen=True, slots=True)
class Read:
    """A file as read.

    Attributes:
        transcripts: by clip id, in the order of the file.
        kind: a name of `FORMATS`.
        said: by what it was told, for people.
    """

    transcripts: dict[str, Transcript]
    kind: str
    said: str


def write(transcripts: Iterable[Transcript], kind: str, faults: list[DataError]) -> dict[str, str]:
    """Return each clip as text, by clip id; ``faults`` gets each that the format cannot carry."""
    writer = FORMATS[kind].write
    assert writer is not None
    found = {}
    for transcript in transcripts:
        try:
            found[transcript.clip_id] = writer(transcript)
        except DataError as error:
            faults.append(error)
    return found


def read(path: Path, kind: str | None = None) -> Read:
    """Read a file of transcripts.

    Args:
        path: the file, UTF-8.
        kind: a name of `FORMATS`; None tells it by the file's name, or else by its lines.

    Raises:
        DataError: it cannot be read, is of another form, names a clip twice, or holds none.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text in UTF-8 ({reason_of(error)})") from error
    # not splitlines: it parts at characters that a token may hold
    numbered = [(f"{path}: line {n}", line) for n, line in enumerate(content.split("\n"), start=1) if line.strip()]
    said = "as told"
    if kind is None:
        kind, said = _told(path, [line for _, line in numbered])
    reader = FORMATS[kind].read
    if reader is None:
        raise DataError(f"{path}: {kind} is written, not read")
    found: dict[str, Transcript] = {}
    for transcript in reader(iter(numbered)):
        if transcript.clip_id in found:
            raise DataError(f"{path}: clip {transcript.clip_id!r} occurs twice; ids must be unique")
        found[transcript.clip_id] = transcript
    if not found:
        raise DataError(f"{path}: holds no transcripts")
    return Read(found, kind, said)


def of_words(transcript: Transcript) -> Transcript:
    """Join tokens that are characters to the words between the spaces.

    A word lasts from its first character to its last, and its confidence is the geometric mean of theirs.
    """
    words: list[list[int]] = []
    within = False
    for number, token in enumerate(transcript.tokens):
        if token.isspace():
            within = False
        elif within:
            words[-1].append(number)
        else:
            words.append([number])
            within = True
    spans, confidences = transcript.spans, transcript.confidences
    return Transcript(
        transcript.clip_id,
        tuple("".join(transcript.tokens[number] for number in word) for word in words),
        None if spans is None else tuple((spans[word[0]][0], spans[word[-1]][1]) for word in words),
        None
        if confidences is None
        else tuple(math.prod(confidences[number] for number in word) ** (1 / len(word)) for word in words),
        transcript.seconds,
        transcript.speaker,
    )


def _told(path: Path, lines: list[str]) -> tuple[str, str]:
    by_name = {".json": "jsonl", **{one.suffix: name for name, one in FORMATS.items() if name != "text"}}
    if path.name == "text":
        return "text", "by its name"
    if path.suffix in by_name:
        return by_name[path.suffix], "by its name"
    # of all lines, because a line of Kaldi's text may hold numbers where the others hold times
    said = [line for line in lines if not line.startswith(nist.REMARK)]
    tests = {
        "jsonl": lambda line: line.lstrip().startswith("{"),
        "trn": nist.is_trn,
        "ctm": lambda line: nist.reads_as_ctm(line.split()),
        "stm": lambda line: nist.reads_as_stm(line.split()),
    }
    for kind, test in tests.items():
        if said and all(map(test, said)):
            return kind, "by its lines"
    return "text", "by its lines, which have no other form"
