"""A compiler that remembers: tests compile the same sources again and again."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from suite import key

from ctckit.ops import build

# Compilations and links end in `-o NAME`, and one call is another's only if all of its arguments are.
SCRIPT = """#!/bin/sh
case "$*" in *--version*|-print*) exec {compiler} "$@" ;; esac
for out in "$@"; do :; done
kept={kept}/$(echo "$*" | sha256sum | cut -c1-16)
if [ ! -f "$kept" ]; then
    {compiler} "$@" {flags} || exit
    mkdir -p {kept}
    cp "$out" "$kept.$$" && mv "$kept.$$" "$kept"
fi
cp "$kept" "$out"
"""


def remembering_compiler(folder: Path, flags: str = "") -> Path:
    """Write a compiler that takes from the user's cache what it has made before, from the same csrc.

    Args:
        folder: where the compiler is to be, a script.
        flags: added to each call.

    Raises:
        BuildError: there is no compiler.
    """
    compiler = build.find_compiler()
    kept = build.cache_folder() / f"objects-{key(compiler, flags, importlib.metadata.version('torch'))}"
    script = folder / "c++"
    script.write_text(SCRIPT.format(compiler=compiler, kept=f"'{kept}'", flags=flags))
    script.chmod(0o755)
    return script
