"""Processes that have torch already: a warm one imports what is heavy, and each call is a fork of it.

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


class Warm:
    """Runs Python programs with arguments, as `subprocess.run` does with captured text.

    Args:
        environment: of the warm process, and so of all.
        python: that runs it.
    """

    def __init__(self, environment: dict[str, str], python: Path = Path(sys.executable)) -> None:
        self.environment = environment
        self.python = python
        self.process: subprocess.Popen[str] | None = None

    def run(self, program: str | Path, arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """Call a program in a process of its own.

        Args:
            program: a module, to be run as by `python -m`, or the path of a script.
            arguments: of the program.
            cwd: where it runs.
        """
        if self.process is None:
            self.process = subprocess.Popen(
                [self.python, __file__],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            call: dict[str, Any] = {"arguments": arguments, "cwd": str(cwd), "out": str(out), "err": str(err)}
            call["script" if isinstance(program, Path) else "module"] = str(program)
            self.process.stdin.write(json.dumps(call) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            command = [str(program), *arguments]
            return subprocess.CompletedProcess(command, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def close(self) -> None:
        """End the warm process; the next call starts another, which sees what was installed since."""
        if self.process is not None:
            self.process.communicate()
            self.process = None


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
    """Be the program from here on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(SECONDS)
    os.chdir(call["cwd"])
    for descriptor, path in ((0, os.devnull), (1, call["out"]), (2, call["err"])):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv[1:] = call["arguments"]
    if "script" in call:
        sys.argv[0] = call["script"]
        sys.path[0] = str(Path(call["script"]).parent)
        runpy.run_path(call["script"], run_name="__main__")
    else:
        sys.path[0] = call["cwd"]
        runpy.run_module(call["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
