"""What the author of a plugin tests with: the contract of each interface, a corpus, a fake installation.

One import tests a component::

    from ctckit.testing import parametrize_with_checks

    @parametrize_with_checks([CosineBlankPenalty()])
    def test_contract(component, check):
        check(component)

The fixtures ``tiny_corpus`` and ``installed_plugin`` are there in every test without an import. Names resolve on
first use, so that pytest, which loads the fixtures everywhere, does not pay for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctckit.testing.contract import (
        Check,
        ContractError,
        Outcome,
        check_component,
        checks_for,
        parametrize_with_checks,
        run_checks,
    )
    from ctckit.testing.fixtures import InstalledPlugin, TinyCorpus, installed_plugin, tiny_corpus
    from ctckit.testing.plugin import ComponentReport, check_plugin
    from ctckit.testing.scenario import make_epoch, make_progress, make_step

_HOMES = {
    "Check": "contract",
    "ComponentReport": "plugin",
    "ContractError": "contract",
    "InstalledPlugin": "fixtures",
    "Outcome": "contract",
    "TinyCorpus": "fixtures",
    "check_component": "contract",
    "check_plugin": "plugin",
    "checks_for": "contract",
    "installed_plugin": "fixtures",
    "make_epoch": "scenario",
    "make_progress": "scenario",
    "make_step": "scenario",
    "parametrize_with_checks": "contract",
    "run_checks": "contract",
    "tiny_corpus": "fixtures",
}

__all__ = [
    "Check",
    "ComponentReport",
    "ContractError",
    "InstalledPlugin",
    "Outcome",
    "TinyCorpus",
    "check_component",
    "check_plugin",
    "checks_for",
    "installed_plugin",
    "make_epoch",
    "make_progress",
    "make_step",
    "parametrize_with_checks",
    "run_checks",
    "tiny_corpus",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ctckit.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
