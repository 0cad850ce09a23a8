"""Options that several verbs have."""

from __future__ import annotations

import click

plugin_files = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Plugin file that the run was trained with; its code runs only if it is named and unchanged.",
)
