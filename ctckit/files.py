"""Files that are written whole or not at all, and standard input and output in the place of one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctckit.errors import CtckitError

STANDARD = Path("-")
"""Standard input where a file is read, standard output where one is written."""


@contextmanager
def atomic(path: Path, failure: type[CtckitError]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; flush it to disk and rename it at the end.

    An earlier file at ``path`` stays until the new one is complete. On any error the temporary file is removed.

    Raises:
        CtckitError: of the kind ``failure``, where the file system refuses; one line with path and reason.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise failure(f"{path}: cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        # NotADirectoryError here would hide the failure that it comes from
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def write_text(path: Path, text: str, failure: type[CtckitError]) -> None:
    """Write a text in UTF-8, whole or not at all, or to standard output where ``path`` is ``STANDARD``.

    Raises:
        CtckitError: of the kind ``failure``, as ``atomic`` raises it.
    """
    if path == STANDARD:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
        return
    with atomic(path, failure) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
