"""How the process ends: cleanly when it is terminated, and with its own exit code when nobody listens any more."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from runner.errors import ExitCode


@contextlib.contextmanager
def ended_cleanly_when_terminated() -> Iterator[None]:
    """Outside of a run, which has ways of its own, let SIGTERM and SIGHUP end the process through its `finally`s."""

    def end(_number: int, _frame: object) -> None:
        sys.exit(int(ExitCode.TERMINATED))

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def flush_what_can_be() -> None:
    """Python would end with 120 where an output cannot be flushed any more; the run's own code says more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
