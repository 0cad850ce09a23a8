"""A clean environment in which to be a user: only what is installed there beside the environment of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

collect_ignore = ["ctckit-outside"]  # its tests run where it is installed

SCRIPTS = {
    "ctckit": "from ctckit.cli import main; main(prog_name='ctckit')",
    "pip": "import runpy; runpy.run_module('pip', run_name='__main__')",
    "pytest": "import pytest; raise SystemExit(pytest.main())",
}


@dataclass(frozen=True)
class Venv:
    """A virtual environment that sees the packages of the tests' own, and installs without network."""

    folder: Path
    home: Path

    def run(self, command: str, cwd: Path, *, succeed: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))},
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", "")]),
            "VIRTUAL_ENV": str(self.folder),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            # pip as printed in the tutorial, without network: what it would download is there
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the 0 as "no isolation"
            "PIP_QUIET": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        outcome = subprocess.run(
            ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        if succeed:
            assert outcome.returncode == 0, f"$ {command}\n{outcome.stdout}{outcome.stderr}"
        return outcome


@pytest.fixture(scope="module")
def clean_venv(tmp_path_factory: pytest.TempPathFactory) -> Venv:
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
    return Venv(folder, tmp_path_factory.mktemp("home"))
