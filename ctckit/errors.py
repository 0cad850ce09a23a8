"""Every error that a user can cause, each with the exit code that the command line ends with.

Messages are one line and answer three questions: what is wrong, where (file, clip id, key), what to do.
"""

import difflib
from collections.abc import Iterable
from typing import Self


class CtckitError(Exception):
    """Base of all errors that ctckit raises on purpose."""

    exit_code = 1


class ConfigError(CtckitError):
    """A configuration key, value or combination is unknown or impossible."""

    exit_code = 2


class DataError(CtckitError):
    """A corpus, clip, transcript or feature array cannot be used."""

    exit_code = 3


class ClipError(DataError):
    """One clip of a corpus cannot be used.

    Attributes:
        clip_id: the clip.
        reasons: all that is wrong with it, each with what to do.
    """

    def __init__(self, where: str, clip_id: str, *reasons: str) -> None:
        super().__init__(f"{where}: clip {clip_id!r}: {'; also: '.join(reasons)}")
        self.clip_id = clip_id
        self.reasons = reasons
        self._where = where

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        return type(self), (self._where, self.clip_id, *self.reasons)


class PluginError(CtckitError):
    """A plugin cannot be found, imported or registered, or breaks its contract."""

    exit_code = 4


class CheckpointError(CtckitError):
    """A checkpoint is missing, unreadable or belongs to another run."""

    exit_code = 5


class TrainingError(CtckitError):
    """Training cannot go on: the loss or a gradient is not finite, or nothing is left to train on."""

    exit_code = 6


def reason_of(error: BaseException) -> str:
    """Return what an error of another library says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` or, failing a near miss, the list of what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there is {', '.join(names)}" if names else "; there is none"
