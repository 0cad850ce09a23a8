"""The one pluggy hook through which every plugin comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ctckit.registry import Registry

PROJECT = "ctckit"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ctckit_register(registry: Registry) -> None:
    """Add models, schedules, penalties, monitors and recipes to ``registry``."""
