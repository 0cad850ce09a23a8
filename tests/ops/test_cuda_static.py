"""What nvcc makes of the kernels, for every architecture it knows: no spills, 16-byte loads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter

import pytest
from suite import key

from ctckit.ops import build

pytestmark = pytest.mark.csrc


@pytest.fixture(scope="module")
def nvcc() -> str:
    path = build.find_nvcc({"PATH": os.environ["PATH"]})
    if path is None:
        pytest.skip("nvcc is not installed")
    return path


def architectures(nvcc: str) -> list[str]:
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    return [name.removeprefix("compute_") for name in listed.split()]


@pytest.fixture(scope="module")
def compiled(nvcc, tmp_path_factory):
    """ptxas's account, and the PTX, of one object with all architectures; kept as long as csrc is the same."""
    known = architectures(nvcc)
    flags = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in known]
    flags.append(f"-gencode=arch=compute_{known[0]},code=compute_{known[0]}")
    command = [nvcc, "-O3", "-std=c++17", "--threads=0", "-Xptxas=-v", "--keep", *flags]
    kept = build.cache_folder() / f"ptx-{key(*command)}.json"
    if not kept.exists():
        folder = tmp_path_factory.mktemp("cuda")
        source = build.sources_folder() / "cuda/launch.cu"
        done = subprocess.run(
            [*command, "-c", source, "-o", "all.o"], cwd=folder, capture_output=True, text=True, check=True
        )
        ptx = "".join(path.read_text() for path in folder.glob("*.ptx"))
        made = folder / "made.json"
        made.write_text(json.dumps([done.stdout + done.stderr, ptx]))
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, kept)
    return known, *json.loads(kept.read_text())


def test_no_kernel_spills_on_any_architecture(compiled):
    known, account, _ = compiled
    entries = re.findall(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", account)
    assert {architecture for _, architecture in entries} == set(known)
    kernels = Counter(architecture for _, architecture in entries)
    assert len(set(kernels.values())) == 1
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", account)
    assert len(spills) >= len(entries)
    assert all(store == load == "0" for store, load in spills)


def bodies(ptx: str, kernel: str) -> list[str]:
    """The PTX of each instance of a kernel."""
    parts = re.split(r"(?=\.entry )", ptx)
    return [part for part in parts if part.startswith(".entry") and kernel in part.split("(")[0]]


@pytest.mark.parametrize("kernel", ["frame_stats_kernel", "log_softmax_kernel", "gather_kernel", "ctc_gradient"])
def test_rows_are_read_in_16_byte_loads(compiled, kernel):
    instances = [body for body in bodies(compiled[2], kernel) if "backward" not in body.split("(")[0]]
    assert len(instances) >= 4  # one for each type of logits
    for body in instances:
        assert re.search(r"ld\.(global\.)?(nc\.)?v(4\.[bu]32|2\.[bu]64|4\.f32|2\.f64)", body)
