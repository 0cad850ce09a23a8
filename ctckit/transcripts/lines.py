"""A line a clip: Kaldi's ``text``, and the JSON lines of ``ctckit decode``."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ctckit.errors import DataError
from ctckit.transcripts.transcript import Transcript, check_words


def write_text(transcript: Transcript) -> str:
    """Return the clip as a line of Kaldi's ``text``, ``id words``."""
    check_words(transcript, "text")
    return " ".join([transcript.clip_id, *transcript.tokens]) + "\n"


def read_text(lines: Iterator[tuple[str, str]]) -> Iterator[Transcript]:
    """Yield the clips of a ``text`` file, of which lines come with where they stand."""
    for _, line in lines:
        clip_id, *tokens = line.split()
        yield Transcript(clip_id, tuple(tokens))


def read_jsonl(lines: Iterator[tuple[str, str]]) -> Iterator[Transcript]:
    """Yield the clips of JSON lines with the keys ``clip`` and ``tokens``, of which each has a ``token``."""
    for where, line in lines:
        try:
            row = json.loads(line)
            clip_id, tokens = row["clip"], tuple(one["token"] for one in row["tokens"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f'{where}: expected an object with "clip" and "tokens", each with a "token"') from error
        if not all(isinstance(text, str) for text in (clip_id, *tokens)):
            raise DataError(f"{where}: clip and tokens are not all text")
        yield Transcript(clip_id, tokens)
