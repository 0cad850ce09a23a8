"""`python -m ctckit` in processes that have torch already: a warm one imports what is heavy, a call is a fork of it.

An import of torch takes longer than most of what the tests ask of the command line. The warm process imports and
does nothing else, so that no thread of OpenMP is lost in a fork; it loads no plugin and none of ctckit's kernels.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SECONDS = 240
"""What a call may take before it is killed."""

HEAVY = ("h5py", "numpy", "pydantic", "rich.console", "torch", "ctckit.assemble")


class WarmCli:
    """Runs `ctckit` with arguments, as `subprocess.run` does with captured text."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Call it in a process of its own, forked from the warm one."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            call = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "out": str(out), "err": str(err)}
            self.process.stdin.write(json.dumps(call) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            command = [sys.executable, "-m", "ctckit", *arguments]
            return subprocess.CompletedProcess(command, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def close(self) -> None:
        """End the warm process."""
        if self.process is not None:
            self.process.communicate()


def serve() -> None:
    """Answer each line of standard input with the exit code of the process that it asks for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at ctrl-c it is pytest that closes
    for name in HEAVY:
        __import__(name)
    gc.freeze()  # a collection in a child would touch, and so copy, all that is shared
    for line in sys.stdin:
        child = multiprocessing.get_context("fork").Process(target=become, args=(json.loads(line),))
        child.start()
        child.join()
        print(child.exitcode, flush=True)  # noqa: T201


def become(call: dict[str, Any]) -> None:
    """Be `python -m ctckit` from here on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(SECONDS)
    os.chdir(call["cwd"])
    for descriptor, path in ((0, os.devnull), (1, call["out"]), (2, call["err"])):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.path[0] = call["cwd"]  # as `-m` does it, where a script has its own folder
    sys.argv[1:] = call["arguments"]
    runpy.run_module("ctckit", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
