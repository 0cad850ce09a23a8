"""Examples at the end of a verb's help."""


def examples(*lines: str) -> str:
    # click leaves a paragraph alone that begins with a backspace.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


_unit = click.option(
    "--unit",
    type=click.Choice(["word", "character"]),
    help="What a token is. Default: what the file says, else words.",
)
_features_key = click.option(
    "--features-key", default="features", show_default=True, help="Dataset of the features in each group."
)
_transcript_key = click.option(
    "--transcript-key",
    default="transcript",
    show_default=True,
    help="Attribute or dataset of the transcript in each group.",
)
_force = click.option("--force", is_flag=True, help="Replace files that exist.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
