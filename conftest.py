"""The flag ``--benchmark``: run benchmarks/ instead of tests/."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the flag; pytest-benchmark's own options all go on after a hyphen."""
    parser.addoption("--benchmark", action="store_true", help="run the benchmarks instead of the tests")


def pytest_configure(config: pytest.Config) -> None:
    """Turn what would have been testpaths into benchmarks/; named paths are left alone."""
    if config.getoption("--benchmark") and config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [str(Path(__file__).with_name("benchmarks"))]
