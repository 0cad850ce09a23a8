"""A clean environment in which to be a user: only what is installed there beside the environment of the tests."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from warm import Warm

from ctckit.ops import build

collect_ignore = ["ctckit-outside"]  # its tests run where it is installed

SCRIPTS = {
    "ctckit": "from ctckit.cli import main; main(prog_name='ctckit')",
    "pip": "import runpy; runpy.run_module('pip', run_name='__main__')",
    "pytest": "import pytest; raise SystemExit(pytest.main())",
}

WARM = ("ctckit", "pytest")
SHELL = {"&&", "||", "|", ";", "&", "<", ">", ">>"}


@dataclass(frozen=True)
class Venv:
    """A virtual environment that sees the packages of the tests' own, and installs without network."""

    folder: Path
    warm: Warm

    def run(self, command: str, cwd: Path, *, succeed: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of a shell; a single call of ctckit or pytest is a fork of a process that is warm."""
        program, *arguments = words(command)
        if program in WARM and not set(arguments) & SHELL:
            outcome = self.warm.run(self.folder / "bin" / program, arguments, cwd)
        else:
            self.warm.close()  # what is installed now is seen by a new process
            outcome = subprocess.run(
                ["bash", "-c", command],
                cwd=cwd,
                env=self.warm.environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if succeed:
            assert outcome.returncode == 0, f"$ {command}\n{outcome.stdout}{outcome.stderr}"
        return outcome


def words(command: str) -> list[str]:
    """Split a line as a shell does, its operators apart."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    return list(lexer)


def environment_of(folder: Path, home: Path) -> dict[str, str]:
    """What a user has set who activated the environment in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")]),
        "VIRTUAL_ENV": str(folder),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "CTCKIT_CACHE": str(build.cache_folder()),  # whoever has compiled the kernels has them
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        # pip as printed in the tutorial, without network: what it would download is there
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the 0 as "no isolation"
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture(scope="module")
def clean_venv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venv]:
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    shared = sysconfig.get_path("purelib")
    (site / "environment_of_the_tests.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
    for name, program in SCRIPTS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{python}\n{program}\n")
        script.chmod(0o755)
    warm = Warm(environment_of(folder, tmp_path_factory.mktemp("home")), python)
    yield Venv(folder, warm)
    warm.close()
