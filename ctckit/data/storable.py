"""Which texts a corpus file gives back as they were put in.

HDF5 ends a text at its first NUL, knows no lone surrogates, and reads a slash in a name as a group. Each function
says what is wrong, to stand behind the text in a message, or "" where nothing is.
"""

from __future__ import annotations

from ctckit.data.alphabet import BLANK_TOKEN


def text_fault(text: object) -> str:
    """What keeps a value from being stored as text."""
    if not isinstance(text, str):
        return f"is {type(text).__name__}, expected text"
    if "\0" in text:
        return "holds a NUL character, at which HDF5 ends a text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is not UTF-8"
    return ""


def path_fault(text: str) -> str:
    """What keeps a text from being a path in a file, or in a folder."""
    parts = text.split("/")
    if "" in parts:
        return "is empty or has an empty part between slashes"
    odd = next((part for part in parts if part in (".", "..")), "")
    return f"has the part {odd!r}, which stands for another place" if odd else ""


def token_fault(token: object, unit: str) -> str:
    """What keeps a text from being one token of a transcript."""
    fault = text_fault(token)
    if fault:
        return fault
    assert isinstance(token, str)
    if not token:
        return "is empty"
    if token == BLANK_TOKEN:
        return ""  # the alphabet refuses it by its own name
    if unit == "character":
        if len(token) > 1:
            return "is more than one character, in a corpus of characters"
        return "is white space other than the plain space" if token.isspace() and token != " " else ""
    return "holds white space, which parts words" if token.split() != [token] else ""
