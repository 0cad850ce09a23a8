"""Transcripts written in the format that a verb is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctckit.errors import DataError
    from ctckit.transcripts import Transcript

TIMED = ("ctm", "stm", "textgrid")
"""Formats that hold seconds."""


def check_output(kind: str, frame_rate: float | None, out: Path | None) -> None:
    """Refuse what cannot be written before anything is computed.

    Raises:
        ConfigError: a format with times without a frame rate, or one with a file a clip without a folder.
    """
    from ctckit.errors import ConfigError
    from ctckit.files import STANDARD

    if kind in TIMED and frame_rate is None:
        raise ConfigError(f"{kind} holds times in seconds, and the run has no frame rate: give --frame-rate")
    if kind == "textgrid" and out in (None, STANDARD):
        raise ConfigError("a TextGrid holds one clip: name a folder with --out, which gets a file for each")


def write_transcripts(
    transcripts: Iterable[Transcript], kind: str, unit: str, out: Path | None, faults: list[DataError]
) -> None:
    """Write clips as a file or a folder; what is wrong with others is said at the end.

    Args:
        transcripts: in tokens of the model.
        kind: a name of ``ctckit.transcripts.FORMATS``.
        unit: what a token is; characters are joined to words.
        out: the file or, for a format with a file a clip, the folder.
        faults: what was wrong with clips before.

    Raises:
        DataError: clips have faults, or nothing can be written.
    """
    from ctckit.errors import DataError
    from ctckit.files import STANDARD, write_text
    from ctckit.transcripts import FORMATS, of_words, write

    worded = (of_words(one) if unit == "character" else one for one in transcripts)
    texts = write(worded, kind, faults)
    if FORMATS[kind].folder:
        assert out is not None
        for clip_id, text in texts.items():
            path = PurePosixPath(clip_id)
            if path.is_absolute() or ".." in path.parts or "\0" in clip_id or not path.name:
                faults.append(DataError(f"clip {clip_id!r} cannot be written as {kind}: its id is no file name"))
                continue
            write_text(out / f"{path}{FORMATS[kind].suffix}", text, DataError)
    elif texts or not faults:
        write_text(out or STANDARD, "".join(texts.values()), DataError)
    for fault in faults:
        click.echo(f"left out: {fault}", err=True)
    if faults:
        raise DataError(f"{len(faults)} clips could not be written, as said above")
