"""The CPU kernels under AddressSanitizer and UBSan: hostile callers and random problems."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctckit import ops
from ctckit.ops import build

from .compiler import remembering_compiler

pytestmark = pytest.mark.csrc

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> dict[str, str]:
    """An environment in which the kernels are compiled with sanitizers, whose run times come first."""
    if ops.backend().name == "reference":
        pytest.skip(ops.backend().reason)
    compiler = build.find_compiler()
    libraries = []
    for name in ("libasan.so", "libubsan.so", "libstdc++.so.6"):
        asked = [compiler, f"-print-file-name={name}"]
        path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(path).is_absolute():
            pytest.skip(f"{compiler} has no {name} to preload")
        libraries.append(path)
    folder = tmp_path_factory.mktemp("sanitized")
    flags = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    wrapper = remembering_compiler(folder, flags)
    environment = {**os.environ, "CXX": str(wrapper), "CTCKIT_CUDA": "0", "CTCKIT_OPS": "cpu"}
    environment["CTCKIT_CACHE"] = str(folder)
    build.cached_library(environment)
    environment["ASAN_OPTIONS"] = "detect_leaks=0:alloc_dealloc_mismatch=0"  # torch's, not ours to judge
    environment["LD_PRELOAD"] = ":".join(libraries)
    return environment


# A library built with the package would be taken instead of the sanitized one.
PROGRAM = """
import sys, pytest

class Sanitized:
    def pytest_sessionstart(self):
        from ctckit.ops import build
        build.matches_sources = lambda library: False

sys.exit(pytest.main(sys.argv[1:], plugins=[Sanitized()]))
"""


def test_no_op_reads_or_writes_astray(sanitized):
    chosen = "hostile or bad_logits or align or ctc_loss or greedy or log_softmax or frame_stats or sweep"
    files = [str(HERE / "test_contracts.py"), str(HERE / "test_kernels.py")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "-q", "-x", "-p", "no:cacheprovider", "-k", chosen, *files],
        env=sanitized,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
