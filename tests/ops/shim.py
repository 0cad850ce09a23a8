"""Builds the host shim once a session and runs problems on the CUDA kernels through it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ctckit.ops import build

from .compiler import remembering_compiler

_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
_FAULTS = ("lengths", "target_lengths", "labels", "logits")


class Traffic(NamedTuple):
    kernel: str
    sector_bytes: int
    lane_bytes: int
    vector_loads: int
    scalar_loads: int
    exponentials: int


class Outcome(NamedTuple):
    arrays: dict[str, Tensor]
    traffic: list[Traffic]
    fault: tuple[str, int] | None
    """What is wrong first, "lengths", "target_lengths", "labels" or "logits", and which: see csrc/cuda/launch.h."""


def compile_shim(folder: Path, defines: tuple[str, ...] = ()) -> Path:
    """The kernels' own launch code and bodies under g++, with AddressSanitizer and UBSan."""
    program = folder / "shim"
    csrc = build.sources_folder()
    sources = [csrc / "cuda/launch.cu", csrc / "shim/shim.cpp", csrc / "shim/main.cpp"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    # -g1: lines for the sanitizers' reports; the rest of -g takes a third of the time
    flags = ["-std=c++17", "-O1", "-g1", *sanitizers, *defines]
    compiler = remembering_compiler(folder)
    subprocess.run([compiler, *flags, "-x", "c++", *sources, "-o", "shim"], check=True, cwd=folder)
    return program


def _storage(tensor: Tensor) -> bytes:
    return bytes(tensor.untyped_storage())


class Shim:
    """Collects problems, runs them in one process, and hands out what came back."""

    def __init__(self, program: Path, folder: Path):
        self.program = program
        self.folder = folder

    def run(self, problems: list[dict[str, object]]) -> list[Outcome]:
        shutil.rmtree(self.folder, ignore_errors=True)
        folders = []
        for number, problem in enumerate(problems):
            folder = self.folder / str(number)
            folder.mkdir(parents=True)
            self._write(folder, problem)
            folders.append(folder)
        done = subprocess.run(
            [self.program, *folders],
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr[:4000])
        return [self._read(folder, problem) for folder, problem in zip(folders, problems, strict=True)]

    @staticmethod
    def _write(folder: Path, problem: dict[str, object]) -> None:
        logits = problem["logits"]
        assert isinstance(logits, Tensor)
        frames, batch, classes = logits.shape
        out = torch.empty_like(logits)
        values = {
            "T": frames,
            "B": batch,
            "C": classes,
            "S": 0,
            "shift": 0.0,
            "seed": 0,
            "type": _TYPES[logits.dtype],
        }
        values["out_bytes"] = out.untyped_storage().nbytes()
        arrays = {"logits": logits, "out": out}
        for name, value in problem.items():
            if not isinstance(value, Tensor):
                values[name] = value if isinstance(value, str) else float(value) if name == "shift" else int(value)
            elif value.is_floating_point() and value.dim() == 3:
                arrays[name] = value
            else:
                (folder / f"{name}.bin").write_bytes(value.contiguous().numpy().tobytes())
                if name == "targets":
                    values["S"] = value.shape[1]
        for name, tensor in arrays.items():
            values[f"{name}_offset"] = tensor.storage_offset()
            for letter, stride in zip("tbc", tensor.stride(), strict=True):
                values[f"{name}_stride_{letter}"] = stride
            if name != "out":
                (folder / f"{name}.bin").write_bytes(_storage(tensor))
        for name in ("lengths", "targets", "target_lengths"):
            if name not in problem:
                (folder / f"{name}.bin").write_bytes(b"")
        (folder / "problem.txt").write_text("".join(f"{name} {value}\n" for name, value in values.items()))

    @staticmethod
    def _read(folder: Path, problem: dict[str, object]) -> Outcome:
        logits = problem["logits"]
        assert isinstance(logits, Tensor)
        working = np.float64 if logits.dtype == torch.float64 else np.float32
        integers = ("best", "tokens", "counts", "starts", "ends", "paths", "fault")
        arrays = {}
        for path in folder.glob("*.out"):
            data = path.read_bytes()
            if path.stem == "out":
                like = torch.empty_like(logits)
                storage = torch.frombuffer(bytearray(data), dtype=logits.dtype) if data else logits.new_empty(0)
                arrays["out"] = storage.as_strided(like.shape, like.stride())
                continue
            kind = np.int64 if path.stem in integers else working
            arrays[path.stem] = torch.from_numpy(np.frombuffer(data, kind).copy())
        word = int(arrays.pop("fault"))
        fault = None if word == -1 else (_FAULTS[word >> 60 & 15], word & (1 << 60) - 1)
        lines = (folder / "traffic.txt").read_text().splitlines()
        traffic = [Traffic(name, *map(int, rest)) for name, *rest in (line.split() for line in lines)]
        return Outcome(arrays, traffic, fault)
