"""``ctckit card``."""

from __future__ import annotations

from pathlib import Path

import click

from ctckit.cli.examples import examples


@click.command(epilog=examples("ctckit card runs/NAME", "ctckit card runs/NAME --out README.md"))
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write; standard output by default, or as -.")
def card(run: Path, out: Path | None) -> None:
    """Write a model card of RUN in Markdown, from its history.

    What the model is, what it reached on dev and test, what the doctor says of the run, where it is weak, how it
    was trained and how it is used; with the head that the Hugging Face Hub reads. Folders of
    corpora and plugins are left out.
    """
    from ctckit.doctor.verdict import judge
    from ctckit.errors import CheckpointError
    from ctckit.files import STANDARD, write_text
    from ctckit.record.history import read_history
    from ctckit.report.card import card as card_of

    recorded = read_history(run)
    write_text(out or STANDARD, card_of(recorded, judge(recorded)), CheckpointError)
