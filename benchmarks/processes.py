"""Runs a program and tells what it cost, by the operating system's own accounting.

`wait4` reports the processor time of a process and of all its descendants that were waited for, so a peer that starts
a curl for each job is charged for every one of them. Its peak memory is that of the largest single process. A child
begins as a copy of its parent's books, and Linux counts the parent's size at that moment as the child's first peak:
so whoever uses this module must stay small, and import neither pandas nor the runner.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 3600.0
"""A program that takes longer is stuck, and killed."""
MIB: Final = 1024 * 1024
_TAIL_BYTES: Final = 2000


class NotMeasuredError(Exception):
    """There is nothing to report: a program failed, did other work than was asked, or noise drowned what it cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process took, its descendants included."""

    wall_s: float
    cpu_s: float
    """User and system time."""
    peak_mib: float
    """Peak resident memory of the largest process."""
    started_ns: int
    """CLOCK_MONOTONIC just before the process was made."""
    output: str
    """Its standard output."""


def run(
    command: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    accepted: Sequence[int] = (0,),
) -> Cost:
    """Run a program to its end.

    Args:
        command: program and arguments.
        folder: where it runs, and where its output is kept (`stdout.txt`, `stderr.txt`; overwritten).
        env: added to the environment.
        accepted: exit codes that mean that it did its work.

    Raises:
        NotMeasuredError: another exit code; the message ends with what it wrote to stderr.
    """
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        started_ns = time.monotonic_ns()
        process = subprocess.Popen(  # noqa: S603 - our own programs and the peers, no one else's words
            command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
        )
        watchdog = threading.Timer(PATIENCE_S, process.send_signal, (signal.SIGKILL,))
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            watchdog.cancel()
        wall_s = (time.monotonic_ns() - started_ns) / 1e9
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        told = (err.read_bytes() or out.read_bytes())[-_TAIL_BYTES:].decode(errors="replace")
        raise NotMeasuredError(f"{' '.join(command)} ended with {process.returncode}:\n{told}")
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss * 1024 / MIB,
        started_ns=started_ns,
        output=out.read_text(encoding="utf-8", errors="replace"),
    )
