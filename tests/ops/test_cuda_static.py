"""What nvcc makes of the kernels, for every architecture that the build names: no local memory, registers that a
block has, 16-byte loads; and a build against torch with CUDA, where one is installed."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from suite import key

from ctckit.ops import build, loader

pytestmark = pytest.mark.csrc

REGISTERS = 65536  # of a block, on every generation from Turing on


class Kernel(NamedTuple):
    architecture: str
    name: str
    stack: int
    spilled: int
    registers: int


@pytest.fixture(scope="module")
def nvcc() -> str:
    path = build.find_nvcc({"PATH": os.environ["PATH"]})
    if path is None:
        pytest.skip("nvcc is not installed")
    return path


@pytest.fixture(scope="module")
def compiled(nvcc, tmp_path_factory) -> tuple[list[Kernel], str]:
    """ptxas's account of each kernel on each architecture, and the PTX; kept as long as csrc is the same."""
    command = [nvcc, "-O3", "-std=c++17", "--threads=0", "-Xptxas=-v", "--keep", *build.architecture_flags({})]
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
    said, ptx = json.loads(kept.read_text())
    account = re.findall(
        r"Compiling entry function '(\w+)' for 'sm_(\w+)'\n.*\n\s*(\d+) bytes stack frame, "
        r"(\d+) bytes spill stores, (\d+) bytes spill loads\n.*Used (\d+) registers",
        said,
    )
    kernels = [
        Kernel(architecture, name, int(stack), int(stores) + int(loads), int(registers))
        for name, architecture, stack, stores, loads, registers in account
    ]
    return kernels, ptx


def bodies(ptx: str, kernel: str) -> list[str]:
    """The PTX of each instance of a kernel."""
    parts = re.split(r"(?=\.entry )", ptx)
    return [part for part in parts if part.startswith(".entry") and kernel in part.split("(")[0]]


def test_every_kernel_is_accounted_for(compiled):
    kernels, ptx = compiled
    names = {re.match(r"\.entry (\w+)", body)[1] for body in bodies(ptx, "")}
    for architecture in ("75", "80", "90", "100", "120"):
        assert {kernel.name for kernel in kernels if kernel.architecture == architecture} == names
    for word in ("ctc_warp", "ctc_wide", "viterbi_warp", "viterbi_wide", "gather", "gradient", "collapse", "sweep"):
        assert any(word in name for name in names)


def test_no_kernel_uses_local_memory(compiled):
    """Neither spilled registers nor arrays that are indexed or whose address is taken."""
    assert [kernel for kernel in compiled[0] if kernel.stack or kernel.spilled] == []


def test_a_block_has_the_registers_of_every_kernel(compiled):
    """Threads times registers, which are handed out to warps by 256. Who bounds its threads launches that many."""
    kernels, ptx = compiled
    threads = {}
    for body in bodies(ptx, ""):
        bound = re.search(r"\.maxntid (\d+)", body.split("{")[0])
        threads[re.match(r"\.entry (\w+)", body)[1]] = int(bound[1]) if bound else None
    rows = int(
        re.search(r"constexpr int kThreads = (\d+);", (build.sources_folder() / "cuda/launch.cu").read_text())[1]
    )
    assert max(filter(None, threads.values())) == 512
    for kernel in kernels:
        count = threads[kernel.name] or rows
        assert count * ((kernel.registers + 7) // 8 * 8) <= REGISTERS, kernel


@pytest.mark.parametrize("kernel", ["frame_stats_kernel", "log_softmax_kernel", "gather_kernel", "ctc_gradient"])
def test_rows_are_read_in_16_byte_loads(compiled, kernel):
    instances = [body for body in bodies(compiled[1], kernel) if "backward" not in body.split("(")[0]]
    assert len(instances) >= 4  # one for each type of logits
    for body in instances:
        assert re.search(r"ld\.(global\.)?(nc\.)?v(4\.[bu]32|2\.[bu]64|4\.f32|2\.f64)", body)


def test_why_the_kernels_cannot_run_reaches_the_loader(tmp_path):
    """A driver too old for the runtime that is linked in: the library knows, before any op is tried."""
    try:
        compiler = build.find_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    source = tmp_path / "library.cpp"
    for number, (answer, said) in enumerate((('"driver too old"', "driver too old"), ("nullptr", None))):
        source.write_text(f'extern "C" const char* ctckit_cuda_problem() {{ return {answer}; }}')
        path = tmp_path / f"{number}.so"
        subprocess.run([compiler, "-shared", "-fPIC", source, "-o", path], check=True)
        library = ctypes.CDLL(str(path))
        assert loader._has_cuda(library)
        assert loader._cuda_problem(library) == said


def test_a_cuda_build_loads_without_a_device(nvcc, tmp_path):
    """As on the login node of a cluster: the library links, registers its CUDA kernels, and CPU ops run."""
    if not build.torch_has_cuda():
        pytest.skip("the installed torch was built without CUDA")
    program = """
import torch
from ctckit import ops
print(ops.backend().name, ops.greedy(torch.zeros(2, 1, 3), torch.tensor([2])).counts_B.tolist())
has = torch._C._dispatch_has_kernel_for_dispatch_key
print(all(has(f"ctckit::{op}", "CUDA") for op in ("align", "ctc_loss", "sweep")))
"""
    environment = {
        "CUDA_VISIBLE_DEVICES": "",
        "CTCKIT_CUDA": "1",
        "CTCKIT_OPS": "auto",
        "CTCKIT_CACHE": str(tmp_path),
    }
    environment |= {"TORCH_CUDA_ARCH_LIST": "9.0", "CUDA_HOME": str(Path(nvcc).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["cpu [0]", "True"], done.stderr[-2000:]
