"""Examples at the end of a verb's help."""


def examples(*lines: str) -> str:
    """Return an epilog that click leaves as it is: a paragraph that begins with a backspace."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
