"""Trains the jobs of an ablation, several side by side, each in a process of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ctckit.ablation.job import FAILURE, LOG, SETTINGS, Job, spent_seconds, status_of
from ctckit.engine.folder import checkpoint_in
from ctckit.engine.interrupt import Interrupt
from ctckit.errors import CtckitError, DataError
from ctckit.files import atomic
from ctckit.record.history import HISTORY, read_history

POLL_SECONDS = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a training may use.

    Attributes:
        jobs: trainings side by side.
        threads: CPU threads of each.
        device: as ``--device`` takes it.
    """

    jobs: int
    threads: int
    device: str


@dataclass(slots=True)
class _Child:
    job: Job
    process: subprocess.Popen[bytes]
    began: float
    log_size: int
    """Bytes in the log before it; the output of earlier attempts."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def sole_user(folder: Path) -> Iterator[int]:
    """Lock an ablation's folder; the trainings hold the lock too, should they outlive their parent.

    Raises:
        DataError: another ablation is at work there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}; give another --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"{folder}: an ablation, or a training that it has started, is still at work here; wait for it"
            ) from error
        yield file.fileno()


def run_all(jobs: Sequence[Job], machine: Machine, lock: int, say: Say) -> bool:
    """Train what has not ended, in order; a failure does not keep the others from running.

    The first Ctrl-C lets every training stop between two steps, ready to resume; a second one ends them at once.

    Args:
        jobs: resolved and checked.
        machine: what a training may use.
        lock: of ``sole_user``.
        say: takes one line for each beginning and end.

    Returns:
        Whether all was done; False where it was interrupted.

    Raises:
        DataError: the history of a stored run cannot be read.
    """
    kept = [job for job in jobs if status_of(job.folder)[0] == "ended"]
    waiting = [job for job in jobs if job not in kept]
    for job in kept:
        say(f"{job.folder.name}: has ended, kept")
    done = len(kept)
    children: list[_Child] = []
    try:
        with Interrupt() as interrupt:
            told = False
            while children or (waiting and not interrupt.requested):
                while waiting and len(children) < machine.jobs and not interrupt.requested:
                    job = waiting.pop(0)
                    try:
                        children.append(_start(job, machine, lock))
                    except (CtckitError, OSError) as error:
                        done += 1
                        say(f"{job.folder.name}: failed: {_note_failure(job, str(error))}")
                    else:
                        say(f"{job.folder.name}: training ({done + len(children)} of {len(jobs)})")
                if interrupt.requested and not told:
                    told = True
                    say("interrupted: waiting for the trainings to save their state")
                    for child in children:
                        child.process.send_signal(signal.SIGINT)
                time.sleep(POLL_SECONDS)
                for child in [one for one in children if one.process.poll() is not None]:
                    children.remove(child)
                    done += 1
                    say(_ended(child, interrupted=interrupt.requested))
            return not interrupt.requested
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()


def training_options(job: Job, machine: Machine) -> list[str]:
    """Return what ``ctckit train`` is called with: to go on where there is a checkpoint, else from the beginning.

    Raises:
        DataError, CheckpointError: a stored run cannot be read.
    """
    options = [f"--threads={machine.threads}", f"--device={machine.device}"]
    if job.minutes is not None:
        left = job.minutes - spent_seconds(job.folder) / 60.0
        options.append(f"--max-minutes={max(left, 1e-3):.6f}")
    if job.updates is not None:
        options.append(f"--max-updates={job.updates}")
    if checkpoint_in(job.folder, "last").is_file():
        files = [f"--plugin={name}" for name in job.plugins if name.endswith(".py")]
        return [*options, *files, f"--resume={job.folder}"]
    options += [*(f"--plugin={name}" for name in job.plugins), f"--recipe={job.config.recipe}"]
    return [*options, f"--config={job.folder / SETTINGS}", f"--out={job.folder}"]


def _start(job: Job, machine: Machine, lock: int) -> _Child:
    options = training_options(job, machine)
    job.prepare()
    (job.folder / FAILURE).unlink(missing_ok=True)
    if not checkpoint_in(job.folder, "last").is_file():
        # it ended before its first checkpoint, so that there is nothing to go on from
        (job.folder / HISTORY).unlink(missing_ok=True)
    threads = str(machine.threads)
    with (job.folder / LOG).open("ab") as log:
        log_size = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "ctckit", "train", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "COLUMNS": "160"},
            # a group of its own: Ctrl-C comes from here, once, and not from the terminal as well
            start_new_session=True,
            pass_fds=(lock,),
        )
    return _Child(job, process, time.monotonic(), log_size)


def _ended(child: _Child, *, interrupted: bool) -> str:
    """Say in one line how a training ended; note a failure in its folder."""
    name, code = child.job.folder.name, child.process.returncode
    minutes = (time.monotonic() - child.began) / 60.0
    if interrupted:
        return f"{name}: interrupted after {minutes:.1f} min, goes on with the same command"
    error = ""
    try:
        status, reason = status_of(child.job.folder)
    except CtckitError as unreadable:
        status, reason, error = "failed", "", str(unreadable)
    if code == 0 and status == "ended":
        return f"{name}: {reason} after {minutes:.1f} min, {_best(child.job.folder)}"
    if code == 0 and status == "unfinished" and reason == "interrupted":
        return f"{name}: somebody interrupted it after {minutes:.1f} min, goes on with the same command"
    if code < 0 or not error:
        error = _last_error(child.job.folder / LOG, child.log_size, code)
    return f"{name}: failed after {minutes:.1f} min: {_note_failure(child.job, error)}"


def _note_failure(job: Job, error: str) -> str:
    with suppress(CtckitError), atomic(job.folder / FAILURE, DataError) as temporary:
        temporary.write_text(error + "\n", encoding="utf-8")
    return error


def _best(folder: Path) -> str:
    summary = read_history(folder)
    if not summary.epochs:
        return "no epoch was done"
    best = summary.best
    return "every epoch collapsed" if best is None else f"best epoch {best.epoch} with {best.val_wer:.2f} % on dev"


def _last_error(log: Path, start: int, code: int) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}; out of memory?"
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    if found:
        return found[-1]
    return f"exit code {code}: {lines[-1] if lines else 'no output'}; see {log.name}"
