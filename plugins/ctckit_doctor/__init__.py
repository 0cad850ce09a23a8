"""First-party plugin: the doctor as a monitor, which watches the states of a run and the document's red flags.

The rules are ctckit's own and serve ``ctckit diagnose`` too; here they become findings and, if asked for, actions.
"""

from __future__ import annotations

import ctckit
from ctckit_doctor.monitor import Doctor

CTCKIT_API = "1.0"


@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the monitor."""
    registry.monitor("doctor", Doctor)
