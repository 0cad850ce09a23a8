"""Choosing, building and caching the kernels; every instruction set; life without a compiler."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ctckit import ops
from ctckit.ops import build

from .compiler import remembering_compiler

HERE = Path(__file__).parent
SHOW = "from ctckit import ops; b = ops.backend(); print(b.name, b.isa, b.reason)"


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def compiled() -> None:
    if ops.backend().name == "reference":
        pytest.skip(ops.backend().reason)


@pytest.mark.csrc
@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512"])
def test_each_instruction_set_passes_the_property_tests(isa, compiled):
    seen = run(SHOW, CTCKIT_ISA=isa)
    if "this machine has no" in seen.stderr:
        pytest.skip(f"this machine has no {isa}")
    assert seen.stdout.split()[1] == isa
    if isa == ops.backend().isa:
        return  # test_kernels.py runs on it
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_kernels.py")],
        env={**os.environ, "CTCKIT_ISA": isa},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_an_instruction_set_that_does_not_exist_is_an_error(compiled):
    seen = run(SHOW, CTCKIT_ISA="sse9")
    assert "ConfigError" in seen.stderr
    assert "sse9" in seen.stderr


def test_the_reference_passes_the_contracts():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_contracts.py")],
        env={**os.environ, "CTCKIT_OPS": "reference"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_choices():
    assert run(SHOW, CTCKIT_OPS="reference").stdout.startswith("reference none")
    wrong = run(SHOW, CTCKIT_OPS="gpu")
    assert "ConfigError: CTCKIT_OPS=gpu is not one of" in wrong.stderr
    cuda = run(SHOW, CTCKIT_OPS="cuda", CUDA_VISIBLE_DEVICES="")
    assert "ConfigError: CTCKIT_OPS=cuda: torch sees no CUDA device" in cuda.stderr


def test_no_compiler_means_the_reference_said_once(tmp_path):
    environment = {"CTCKIT_CACHE": str(tmp_path), "CXX": "no-such-compiler"}
    program = "import ctckit.ops.build as b; b.matches_sources = lambda path: False; " + SHOW + "; ops.backend()"
    seen = run(program, **environment)
    assert seen.stdout.startswith("reference none")
    assert seen.stderr.count("running the reference in plain torch: no C++ compiler") == 1
    named = run(program, CTCKIT_OPS="cpu", **environment)
    assert "ConfigError: CTCKIT_OPS=cpu: no C++ compiler" in named.stderr


def test_a_compiler_that_fails_leaves_a_log(tmp_path):
    broken = tmp_path / "broken-cc"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho out of luck >&2\nexit 1\n')
    broken.chmod(0o755)
    environment = {**os.environ, "CXX": str(broken), "CTCKIT_CUDA": "0", "CTCKIT_CACHE": str(tmp_path)}
    with pytest.raises(build.BuildError, match="did not compile; see") as caught:
        build.cached_library(environment)
    assert "out of luck" in Path(str(caught.value).split("see ")[1]).read_text()
    assert not list(tmp_path.rglob("*.so"))
    assert not list(tmp_path.rglob("build-*"))


def test_two_processes_compile_once(tmp_path, compiled):
    program = "import ctckit.ops.build as b; b.matches_sources = lambda path: False; " + SHOW
    compiler = str(remembering_compiler(tmp_path))
    chosen = {"CTCKIT_CACHE": str(tmp_path), "CTCKIT_CUDA": "0", "CTCKIT_OPS": "cpu", "CXX": compiler}
    environment = {**os.environ, **chosen}
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in pair]
    assert all(out.startswith("cpu") for out, _ in outputs), outputs
    assert sum(err.count("compiling its kernels, once") for _, err in outputs) == 1
    again = run(program, **chosen)
    assert again.stderr == ""


def test_the_key_follows_flags_and_architectures():
    plain = {**os.environ, "CTCKIT_CUDA": "0"}
    assert build.build_key(plain) == build.build_key(plain)
    assert build.architecture_flags({"TORCH_CUDA_ARCH_LIST": "8.0;9.0a+PTX"}) == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_90a,code=compute_90a",
    ]
    with pytest.raises(build.BuildError, match="Hopper"):
        build.architecture_flags({"TORCH_CUDA_ARCH_LIST": "Hopper"})
    with pytest.raises(build.BuildError, match="CTCKIT_CUDA=maybe"):
        build.find_nvcc({"CTCKIT_CUDA": "maybe"})
    with pytest.raises(build.BuildError, match="CTCKIT_CUDA=1, but nvcc"):
        build.find_nvcc({"CTCKIT_CUDA": "1", "PATH": ""})
    assert build.find_nvcc({"CTCKIT_CUDA": "0", "PATH": os.environ["PATH"]}) is None


def test_importing_the_build_needs_no_torch():
    program = f"""
import importlib.util, sys
sys.modules["torch"] = None
spec = importlib.util.spec_from_file_location("build", {str(Path(build.__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.source_hash())
"""
    assert run(program).stdout.strip() == build.source_hash()


def test_x86_has_three_tables_and_others_one():
    names = [name for name in build._commands({**os.environ, "CTCKIT_CUDA": "0"}) if name.startswith("kernels_")]
    assert len(names) == (3 if platform.machine() in ("x86_64", "AMD64") else 1)


def test_ctckit_imports_without_the_compiler_of_torch():
    """torch._dynamo takes longer to import than all of ctckit."""
    program = "import sys, ctckit.assemble, ctckit.ops; print('torch._dynamo' in sys.modules)"
    assert run(program).stdout.strip() == "False"


def test_a_compiled_function_may_be_the_first_to_use_an_op():
    program = """
import torch
from ctckit import ops
lengths = torch.full((2,), 6)
compiled = torch.compile(lambda x: ops.greedy(x, lengths).counts_B, backend="aot_eager", fullgraph=True)
logits = torch.randn(6, 2, 5)
assert torch.equal(compiled(logits), ops.greedy(logits, lengths).counts_B)
"""
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_a_cache_that_cannot_be_written_falls_back_to_the_reference(tmp_path):
    (tmp_path / "file").touch()
    program = """
from ctckit.ops import build, loader
build.matches_sources = lambda library: False
print(loader.load().name)
"""
    done = run(program, CTCKIT_CACHE=str(tmp_path / "file"))
    assert done.stdout.split() == ["reference"], done.stderr
    assert "set CTCKIT_CACHE to a folder to write to" in done.stderr


def test_the_reference_runs_where_nothing_can_be_built():
    """As on Windows, which has no fcntl; a compiler there changes nothing."""
    program = """
import sys
sys.modules["fcntl"] = None
import torch
import ctckit.assemble
from ctckit import ops
from ctckit.ops import build
build.matches_sources = lambda library: False
sys.platform = "win32"  # not before the imports: the standard library's look at it too
print(ops.backend().name, ops.greedy(torch.zeros(3, 1, 2), torch.tensor([3])).counts_B.tolist())
"""
    done = run(program)
    assert done.stdout.split() == ["reference", "[0]"], done.stderr
    assert "kernels are built on Linux and macOS, not on win32" in done.stderr


def test_every_choice_says_what_would_change_it():
    show = "from ctckit import ops; print(ops.backend().otherwise)"
    assert "CTCKIT_OPS=auto" in run(show, CTCKIT_OPS="reference").stdout
    wanted = "CUDA" if torch.version.cuda else "CUDA kernels need a torch built for CUDA"
    assert run(show, CTCKIT_OPS="auto").stdout.startswith(wanted)
    broken = "import ctckit.ops.build as b; b.matches_sources = lambda path: False; " + show
    assert "C++ compiler" in run(broken, CXX="no-such-compiler").stdout
