"""Examples and exit codes at the end of a verb's help."""


def examples(*lines: str) -> str:
    """Return an epilog that click leaves as it is: a paragraph that begins with a backspace."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def exit_codes(*lines: str) -> str:
    """Return what follows the examples of a verb whose exit code says more than success or failure."""
    return "\n".join(["", "", "\b", "Exit code:", *(f"  {line}" for line in lines)])
