"""How `make test` runs: slow files first, and tests of csrc only where they have not passed before."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ctckit.ops import build

TESTS = Path(__file__).parent
SECONDS = TESTS / "seconds.json"
"""Seconds of each file that took one or more, from `make seconds`; they only decide what starts first."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another one that hears of all of them."""
    return hasattr(config, "workerinput")


class SlowestFirst:
    """Starts slow files first, so that none is left over for one process while the others have nothing to do."""

    def __init__(self, *, store: bool) -> None:
        self.store = store
        self.seconds: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        seconds = json.loads(SECONDS.read_text())

        def place(item: pytest.Item) -> float:
            inside = item.path.is_relative_to(TESTS)
            return -seconds.get(item.path.relative_to(TESTS).as_posix(), 0.0) if inside else 0.0

        items.sort(key=place)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0].removeprefix("tests/")] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.store and not is_worker(session.config):
            found = {name: round(seconds) for name, seconds in self.seconds.most_common() if seconds >= 0.5}
            SECONDS.write_text(json.dumps(found, indent=2) + "\n")


class PassedBefore:
    """Skips tests marked `csrc` that passed on this machine with the same sources, tests and compilers.

    What is known is a file in the user's cache, a line for each test; a fresh clone on a new machine runs all.
    """

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.known: set[str] = set()
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if not self.full and any(item.get_closest_marker("csrc") for item in items) and stamp(config).exists():
            self.known = set(stamp(config).read_text().splitlines())

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # from here, and not by a marker, all of them are one line of the summary
        if item.get_closest_marker("csrc") and item.nodeid in self.known:
            pytest.skip("passed before with this very csrc; `make FULL=1 test` runs them again")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and "csrc" in report.keywords:
            self.passed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.passed and not is_worker(session.config):
            path = stamp(session.config)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.writelines(f"{name}\n" for name in sorted(self.passed))


def stamp(config: pytest.Config) -> Path:
    """The file of the tests that have passed with all that can make a difference to them."""
    drawn = (config.getoption("--hypothesis-profile"), config.getoption("--hypothesis-seed"))
    versions = [importlib.metadata.version(name) for name in ("torch", "hypothesis", "pytest")]
    tests = [*TESTS.joinpath("ops").glob("*.py"), *Path(build.__file__).parent.glob("*.py")]
    return build.cache_folder() / f"passed-{key(*drawn, *versions, platform.python_version(), files=tests)}"


def key(*parts: object, files: Iterable[Path] = ()) -> str:
    """Hash of csrc, of the compilers, of this machine, and of what else is given."""
    digest = hashlib.sha256(repr((parts, platform.node(), sorted(instructions()))).encode())
    csrc = [path for path in build.sources_folder().rglob("*") if path.is_file()]
    for path in sorted([*csrc, *files]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for tool in compilers():
        digest.update(subprocess.run([tool, "--version"], capture_output=True, check=True).stdout)
    return digest.hexdigest()[:16]


def compilers() -> Iterator[str]:
    """Those that are installed, for C++ and for CUDA."""
    with contextlib.suppress(build.BuildError):
        yield build.find_compiler()
    nvcc = build.find_nvcc({"PATH": os.environ["PATH"]})
    if nvcc is not None:
        yield nvcc


def instructions() -> set[str]:
    """Names of the extensions that the processor has, where Linux tells them."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}
