"""``python -m ctckit``."""

from ctckit.cli import main

main(prog_name="ctckit")
