"""Counts the instructions of the CUDA dynamic programmes' loops over frames: `sass_loops.py [ARCHITECTURE...]`.

Needs nvcc and cuobjdump (with nvdisasm beside it) on the PATH; no GPU. A line is a loop: the kernel, how many
rounds its unrolled body holds; and of a warp in a round instructions, double-precision ones and loads.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "csrc/cuda/launch.cu"
KERNEL = re.compile(r"(ctc|viterbi)_warp_kernelI([fd])Li(\d)")


def loops(body: str) -> list[list[str]]:
    """The innermost loops that exchange values between lanes: backward branches around a SHFL.UP."""
    lines = re.findall(r"/\*([0-9a-f]{4,5})\*/\s+(.*?);", body)
    index = {int(address, 16): i for i, (address, _) in enumerate(lines)}
    found: list[tuple[int, int]] = []
    for i, (address, text) in enumerate(lines):
        target = re.search(r"BRA (?:\S+, )?0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < int(address, 16):
            begin = index.get(int(target[1], 16), i)
            apart = all(i < other or end < begin for other, end in found)
            if apart and any("SHFL.UP" in line for _, line in lines[begin:i]):
                found.append((begin, i))
    return [[line for _, line in lines[begin : end + 1]] for begin, end in found]


def main() -> None:
    for architecture in sys.argv[1:] or ["80", "90", "120"]:
        with tempfile.TemporaryDirectory() as folder:
            cubin = Path(folder) / "launch.cubin"
            subprocess.run(
                ["nvcc", "-O3", "-std=c++17", f"-arch=sm_{architecture}", "-cubin", SOURCE, "-o", cubin], check=True
            )
            listing = subprocess.run(["cuobjdump", "-sass", cubin], capture_output=True, text=True, check=True)
        for function in listing.stdout.split("Function : ")[1:]:
            kernel = KERNEL.search(function.split("\n")[0])
            if kernel is None:
                continue
            shuffles = 3 if kernel[1] == "ctc" else 2
            name = f"sm_{architecture} {kernel[1]} {'float' if kernel[2] == 'f' else 'double'}"
            for body in loops(function):
                rounds = sum("SHFL.UP" in line for line in body) // shuffles
                double = sum(re.search("D(ADD|MUL|FMA|SETP)", line) is not None for line in body)
                loads = sum("LDG" in line for line in body)
                if rounds not in (2, 4, 8) or loads == 0:  # not one of the loops: code that jumps back into them
                    continue
                print(
                    f"{name}, {kernel[3]} pairs a lane: {rounds} rounds; a round {len(body) / rounds:.0f}"
                    f" instructions, {double / rounds:.0f} double, {loads / rounds:.0f} loads"
                )


if __name__ == "__main__":
    main()
