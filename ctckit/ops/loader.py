"""Chooses the kernels once, at the first op: the compiled library where it can be had, else the reference."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

import torch

from ctckit.errors import ConfigError
from ctckit.ops import build, registration
from ctckit.ops.results import Backend

_CHOICES = ("auto", "cpu", "cuda", "reference")


def _library() -> tuple[Path, str]:
    """The library built with the package if it fits the sources, else one from the cache; and its story."""
    shipped = Path(__file__).with_name(build.LIBRARY)
    if shipped.exists() and build.matches_sources(shipped):
        return shipped, "built with the package"
    return build.cached_library(), "compiled on first use"


def _has_cuda(library: ctypes.CDLL) -> bool:
    return hasattr(library, "ctckit_cuda_problem")


def _cuda_problem(library: ctypes.CDLL) -> str | None:
    """Why the CUDA kernels cannot run here, a driver too old for the runtime that was linked in, or None."""
    ask = library.ctckit_cuda_problem
    ask.restype = ctypes.c_char_p
    why = ask()
    return None if why is None else str(why.decode())


def _reference(reason: str, otherwise: str) -> Backend:
    for key in ("CPU", "CUDA"):
        registration.register_reference(key)
    return Backend("reference", reason, "none", "none", otherwise)


def _otherwise(choice: str, with_cuda: bool) -> str:
    """What a user of the compiled kernels would do for other ones."""
    if not torch.version.cuda:
        return "CUDA kernels need a torch built for CUDA; CTCKIT_OPS=reference runs plain torch."
    if not with_cuda:
        return "CUDA kernels need nvcc, on the PATH or under CUDA_HOME, when the library is built (CTCKIT_CUDA=1)."
    if not torch.cuda.is_available():
        return "CUDA kernels are there and run once torch sees a device; CTCKIT_OPS=reference runs plain torch."
    if choice == "cpu":
        return "CTCKIT_OPS=auto runs the CUDA kernels on CUDA tensors."
    return "CTCKIT_OPS=reference runs plain torch."


@functools.cache
def load() -> Backend:
    """Load the kernels that CTCKIT_OPS asks for; done once a process.

    Raises:
        ConfigError: CTCKIT_OPS is unknown or names kernels that cannot be had, or CTCKIT_ISA an instruction set
            that this machine lacks.
    """
    choice = os.environ.get("CTCKIT_OPS", "auto")
    if choice not in _CHOICES:
        raise ConfigError(f"CTCKIT_OPS={choice} is not one of {', '.join(_CHOICES)}")
    if choice == "reference":
        return _reference("CTCKIT_OPS=reference asks for the reference in plain torch.", "CTCKIT_OPS=auto.")
    if choice == "cuda" and not torch.cuda.is_available():
        raise ConfigError("CTCKIT_OPS=cuda: torch sees no CUDA device; use auto or cpu")
    try:
        path, story = _library()
    except build.BuildError as error:
        if choice != "auto":
            raise ConfigError(f"CTCKIT_OPS={choice}: {error}; use auto or reference") from error
        print(f"ctckit: running the reference in plain torch: {error}", file=sys.stderr)  # noqa: T201
        return _reference(f"The kernels cannot be compiled: {error}.", "A C++ compiler (see CXX) and ninja.")
    torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
    library = ctypes.CDLL(str(path))
    isa = _isa(library)
    version = library.ctckit_sources
    version.restype = ctypes.c_char_p
    with_cuda = _has_cuda(library)
    if choice == "cuda" and not with_cuda:
        raise ConfigError("CTCKIT_OPS=cuda: the library was built without nvcc; rebuild with CTCKIT_CUDA=1")
    registration.register_reference("CUDA", *([registration.NOT_ON_CUDA] if with_cuda else []))
    runs_cuda = with_cuda and choice != "cpu" and torch.cuda.is_available()
    problem = _cuda_problem(library) if runs_cuda else None
    if problem is not None:
        if choice == "cuda":
            raise ConfigError(f"CTCKIT_OPS=cuda: the CUDA kernels cannot run: {problem}; use cpu or reference")
        runs_cuda = False
        story += f"; the CUDA kernels cannot run: {problem}"
    devices = "CPU kernels (CUDA tensors take the reference)"
    if with_cuda:
        devices = f"CPU and CUDA kernels (CUDA tensors take the reference in {', '.join(registration.NOT_ON_CUDA)})"
    return Backend(
        "cuda" if runs_cuda else "cpu",
        f"CTCKIT_OPS={choice}: {devices}, {story}.",
        isa,
        version().decode().partition(":")[2],
        _otherwise(choice, with_cuda),
    )


def _isa(library: ctypes.CDLL) -> str:
    ask = library.ctckit_isa
    ask.restype = ctypes.c_char_p
    why = ctypes.create_string_buffer(256)
    isa = ask(why, ctypes.c_size_t(len(why)))
    if isa is None:
        raise ConfigError(why.value.decode())
    return str(isa.decode())
