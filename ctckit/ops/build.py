"""Compiles csrc into one shared library, ahead of time from setup.py or on first use.

Only the standard library is imported, and torch is found without importing it: setup.py loads this file by its
path. The library uses torch's stable ABI alone, so one build serves every Python and every torch from 2.10 on.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

LIBRARY = "libctckit_kernels.so"
_TARGET_TORCH = "0x020a000000000000"  # 2.10: the oldest torch whose stable ABI has all we call
_SUFFIXES = {".h", ".cpp", ".cuh", ".cu"}

_COMMON = ["-O3", "-fPIC", "-std=c++17", "-fvisibility=hidden", "-Wall", "-Wextra"]
# errno and floating-point traps are nobody's business here; the vector extensions warn about their calling
# convention (everything is inlined) and GCC 12 about its own intrinsics.
_KERNEL = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
    "-Wno-ignored-attributes",
    "-Wno-maybe-uninitialized",
]
_INSTRUCTION_SETS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c"],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "generic": [],
}
# A device runs the code of its own generation up to its own number, or PTX of a lower number: sm_86, 87 and 89 run
# sm_80's code, 103 sm_100's, 121 sm_120's; sm_110 compiles the PTX of 100, and what comes later that of 120.
_ARCHITECTURES = ["7.5", "8.0", "9.0", "10.0+PTX", "12.0+PTX"]


class BuildError(Exception):
    """The kernels cannot be compiled here; the message is one line."""


def sources_folder() -> Path:
    """Where csrc is: in the checkout, or beside the installed package."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "csrc"
    return checkout if (checkout / "cpu").is_dir() else package / "csrc"


def source_hash() -> str:
    """Hash of everything under csrc that is compiled."""
    digest = hashlib.sha256()
    folder = sources_folder()
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SUFFIXES and "shim" not in path.relative_to(folder).parts:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def matches_sources(library: Path) -> bool:
    """Whether a library was built from the sources that are here now."""
    return f"ctckit-sources:{source_hash()}".encode() in library.read_bytes()


def find_compiler(environment: Mapping[str, str] = os.environ) -> str:
    """The C++ compiler: CXX, else c++, g++ or clang++.

    Raises:
        BuildError: There is none, or CXX names one that does not exist, or none would do on this system.
    """
    if sys.platform not in ("linux", "darwin"):
        raise BuildError(f"kernels are built on Linux and macOS, not on {sys.platform}")
    wanted = environment.get("CXX")
    for name in [wanted] if wanted else ["c++", "g++", "clang++"]:
        path = shutil.which(name.split()[0], path=environment.get("PATH"))
        if path:
            return path
    raise BuildError(f"no C++ compiler: {wanted or 'c++, g++ and clang++'} not found")


def find_nvcc(environment: Mapping[str, str] = os.environ) -> str | None:
    """Nvcc, unless CTCKIT_CUDA=0; never a question of whether a GPU is in this machine.

    Raises:
        BuildError: CTCKIT_CUDA=1 and there is no nvcc, or CTCKIT_CUDA is not auto, 1 or 0.
    """
    choice = environment.get("CTCKIT_CUDA", "auto")
    if choice not in ("auto", "1", "0"):
        raise BuildError(f"CTCKIT_CUDA={choice} is not auto, 1 or 0")
    if choice == "0":
        return None
    home = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    nvcc = shutil.which("nvcc", path=str(Path(home) / "bin") if home else environment.get("PATH"))
    if nvcc is None and choice == "1":
        raise BuildError("CTCKIT_CUDA=1, but nvcc is neither under CUDA_HOME nor on the PATH")
    return nvcc


def _torch_root() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise BuildError("torch is not importable")
    return Path(spec.origin).parent


def _ninja(environment: Mapping[str, str]) -> list[str]:
    if importlib.util.find_spec("ninja") is not None:
        return [sys.executable, "-m", "ninja"]
    path = shutil.which("ninja", path=environment.get("PATH"))
    if path is None:
        raise BuildError("ninja not found")
    return [path]


def architecture_flags(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The -gencode flags: TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX"), else one per generation, and PTX for others.

    Raises:
        BuildError: TORCH_CUDA_ARCH_LIST holds something that is not an architecture.
    """
    wanted = re.split(r"[;,\s]+", environment.get("TORCH_CUDA_ARCH_LIST", "").strip())
    if wanted == [""]:
        wanted = _ARCHITECTURES
    flags = []
    for entry in wanted:
        match = re.fullmatch(r"(\d+)\.?(\d[af]?)(\+PTX)?", entry)
        if match is None:
            raise BuildError(f"TORCH_CUDA_ARCH_LIST: {entry} is not an architecture such as 9.0 or 12.0+PTX")
        number = match[1] + match[2]
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if match[3]:
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def _commands(environment: Mapping[str, str]) -> dict[str, tuple[Path, list[str]]]:
    """Object name -> (source, compiler command without input and output)."""
    folder, compiler, torch = sources_folder(), find_compiler(environment), _torch_root()
    binding = [f"-DTORCH_TARGET_VERSION={_TARGET_TORCH}", "-isystem", str(torch / "include")]
    identity = [f'-DCTCKIT_SOURCES=\\"{source_hash()}\\"']
    host = [compiler, *_COMMON]
    sets = _INSTRUCTION_SETS if platform.machine() in ("x86_64", "AMD64") else {"generic": []}
    commands = {
        f"kernels_{isa}.o": (folder / "cpu/kernels.cpp", [*host, *_KERNEL, f"-DCTCKIT_ISA={isa}", *flags])
        for isa, flags in sets.items()
    }
    commands["dispatch.o"] = (folder / "cpu/dispatch.cpp", host)
    commands["arpa.o"] = (folder / "lm/arpa.cpp", host)
    commands["binding_cpu.o"] = (folder / "binding/cpu.cpp", [*host, *binding])
    commands["identity.o"] = (folder / "binding/identity.cpp", [*host, *identity])
    nvcc = find_nvcc(environment)
    if nvcc is not None:
        device = [nvcc, "-O3", "-std=c++17", "-Xcompiler=-fPIC,-fvisibility=hidden", "-ccbin", compiler]
        kernels = [*device, "--threads=0", *architecture_flags(environment)]
        commands["cuda.o"] = (folder / "cuda/launch.cu", kernels)
        commands["binding_cuda.o"] = (folder / "binding/cuda.cpp", [*device, *binding])
    return commands


def _link(objects: list[str], environment: Mapping[str, str]) -> list[str]:
    compiler, nvcc = find_compiler(environment), find_nvcc(environment)
    # nvcc knows where its runtime is, which it links statically.
    command = [nvcc, "-ccbin", compiler] if nvcc else [compiler]
    # No run path: torch's libraries are loaded before this one, and are found by their names alone.
    return [*command, "-shared", *objects, f"-L{_torch_root() / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]


def _escape(text: str) -> str:
    return text.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def build(output: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Compile and link to ``output``, which appears all at once or not at all.

    Raises:
        BuildError: Something is missing, or the compiler refused; the message then names the log.
    """
    commands = _commands(environment)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=output.parent) as work:
        _compile(Path(work), output, commands, environment)


def _compile(
    work: Path, output: Path, commands: Mapping[str, tuple[Path, list[str]]], environment: Mapping[str, str]
) -> None:
    lines = ["rule run", "  command = $command"]
    for name, (source, command) in commands.items():
        run = " ".join([*command, "-c", f"'{source}'", "-o", name])
        lines += [f"build {name}: run {_escape(str(source))}", "  command = " + run.replace("$", "$$")]
    objects = list(commands)
    lines += [f"build {LIBRARY}: run {' '.join(objects)}"]
    lines += ["  command = " + " ".join([*_link(objects, environment), "-o", LIBRARY]).replace("$", "$$")]
    (work / "build.ninja").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [*_ninja(environment), "-C", str(work), LIBRARY],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        log = output.parent / "build.log"
        log.write_text(done.stdout)
        raise BuildError(f"the kernels did not compile; see {log}")
    (work / LIBRARY).replace(output)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where libraries compiled on first use live: CTCKIT_CACHE, else the user's cache."""
    named = environment.get("CTCKIT_CACHE")
    if named:
        return Path(named)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ctckit"


def _version_of(tool: str) -> str:
    return subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout


def build_key(environment: Mapping[str, str] = os.environ) -> str:
    """Hash of the sources, of every command and of the compilers' versions.

    Raises:
        BuildError: As `build`.
    """
    digest = hashlib.sha256(source_hash().encode())
    for name, (_, command) in _commands(environment).items():
        digest.update(repr((name, command)).encode())
    for tool in (find_compiler(environment), find_nvcc(environment)):
        if tool is not None:
            digest.update(_version_of(tool).encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    import fcntl  # there is none on Windows, which only runs the reference

    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # released when the file is closed, even by a crash
        yield


def torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA, without importing it."""
    return re.search(r"^cuda\b.*= *['\"]", (_torch_root() / "version.py").read_text(), re.MULTILINE) is not None


def for_installed_torch(environment: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """The environment of a library that only this torch will load: without CUDA in it, CTCKIT_CUDA=auto means 0."""
    if environment.get("CTCKIT_CUDA", "auto") == "auto" and not torch_has_cuda():
        return {**environment, "CTCKIT_CUDA": "0"}
    return environment


def cached_library(environment: Mapping[str, str] = os.environ) -> Path:
    """The library for these sources and flags and `for_installed_torch`, compiled now if no process has done so.

    Raises:
        BuildError: As `build`, or the cache cannot be written.
    """
    environment = for_installed_torch(environment)
    folder = cache_folder(environment) / f"kernels-{build_key(environment)}"
    library = folder / LIBRARY
    try:
        if not library.exists():
            with _locked(folder / "lock"):
                if not library.exists():
                    print(f"ctckit: compiling its kernels, once, into {folder}", file=sys.stderr, flush=True)  # noqa: T201
                    build(library, environment)
    except OSError as error:
        raise BuildError(
            f"{folder}: {error.strerror or error}; set CTCKIT_CACHE to a folder to write to"
        ) from error
    return library
