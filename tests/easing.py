"""A plugin to install, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from click.testing import CliRunner, Result

from ctckit.cli import main

COSINE = '''
    """Easing."""
    from dataclasses import dataclass
    from typing import Annotated
    from pydantic import Field
    import ctckit

    CTCKIT_API = "1.0"

    @dataclass
    class Easing(ctckit.Penalty):
        """Ease away.

        Over the phase, that is.

        Args:
            start: where it begins,
                in nats.
            steps: how finely.
        """

        start: float
        steps: Annotated[int, Field(ge=1)] = 4

        def shift(self, at: ctckit.Progress) -> float:
            return self.start * (1.0 - at.phase_fraction)

    @ctckit.hookimpl
    def ctckit_register(registry: ctckit.Registry) -> None:
        registry.penalty("easing", Easing, example={"start": -2.0})
'''

Install = Callable[..., Any]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)
