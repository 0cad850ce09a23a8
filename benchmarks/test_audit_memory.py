"""The audit streams: its peak memory does not grow with the corpus. Simulated features, 1024-d, float16."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="reads the peak of a process with os.wait4")

CLIPS = {"small": 50, "large": int(os.environ.get("CTCKIT_AUDIT_CLIPS", "1500"))}
"""7,000 clips are 5.0 GB; fewer by default, to spare the disk."""

GROWTH = 1.1
"""Largest peak of the large corpus, as a multiple of the small one's."""


def audit(path: Path) -> tuple[float, float]:
    """Peak memory of an audit in MiB, as the kernel counts it for the process, and its seconds."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ctckit", "audit", str(path)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # else its destructor takes it to be running still
    assert process.returncode in (0, 10, 11), "the audit failed"
    return usage.ru_maxrss / 2**10, time.perf_counter() - began


def test_audit_memory(benchmark: Any, table: Any, tmp_path: Path) -> None:
    peaks: dict[str, float] = {}
    for name, clips in CLIPS.items():
        path = tmp_path / f"{name}.h5"
        synth = [sys.executable, "-m", "ctckit", "data", "synth", str(path), "--clips", str(clips)]
        subprocess.run(synth, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if name == "small":
            peaks[name], _ = audit(path)
        else:
            peaks[name], seconds = benchmark.pedantic(audit, args=(path,), rounds=1)
    size = path.stat().st_size / 1e9
    table.add(
        f"audit, {size:.1f} GB: peak memory of {CLIPS['large']} clips over {CLIPS['small']}",
        peaks["large"] / peaks["small"],
        goal=1.05,
        floor=GROWTH,
        note=f"{peaks['large']:.0f} MiB, {peaks['small']:.0f} MiB, {seconds:.0f} s",
        more_is_better=False,
    )
    assert peaks["large"] < GROWTH * peaks["small"]
