"""The one pluggy hook through which every plugin comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ctckit.registry import Registry

PROJECT = "ctckit"
"""Name of the pluggy project and of the entry-point group."""

VERBS = "ctckit.verbs"
"""Entry-point group of command-line verbs that plugins bring; each points to a click command."""

DEFAULT = "ctckit.default"
"""Entry-point group with the plugin whose recipe is used where no named plugin brings one."""

PLUGIN_API = "1.1"
"""Version of what plugins may rely on. The first number rises when something is taken away, the second when
something is added; a plugin says what it was written for as ``CTCKIT_API = "1.1"`` beside its hook."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks the one function through which a plugin comes in, ``ctckit_register``."""


@hookspec
def ctckit_register(registry: Registry) -> None:
    """Add models, schedules, penalties, regularizers, monitors and recipes to ``registry``."""
