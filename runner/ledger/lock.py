"""One run at a time on a ledger: a lock that dies with its process.

The lock is the only truth about whether a run is at work. A process id in the ledger may be long dead, or be another
program's by now; it is shown to people and never believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from runner.errors import LedgerBusyError, LedgerWriteError

_PATIENCE_S: Final = 0.3
"""A look whether the lock is held holds it for an instant; a run that starts just then must not be turned away."""


def _lock(ledger: Path) -> FileLock:
    return FileLock(f"{ledger.resolve()}.lock", mode=0o600, thread_local=False)


@contextmanager
def hold_run_lock(ledger: Path, *, who: Callable[[], str]) -> Iterator[None]:
    """Holds the lock beside the ledger for the block.

    Raises:
        LedgerBusyError: another run holds it; `who` says which, as far as is known.
        LedgerWriteError: the lock's file cannot be made.
    """
    lock = _lock(ledger)
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=0.02)
    except Timeout as error:
        raise LedgerBusyError(
            f"Another run is at work on the ledger {ledger}.",
            cause=who(),
            remedy="Wait until it has ended, or look how far it is with `sms-runner show`.",
        ) from error
    except OSError as error:
        raise LedgerWriteError(
            f"The lock beside the ledger {ledger} could not be taken: {error.strerror or 'the system refused it'}.",
            remedy="Give yourself the right to write the ledger's directory.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_held(ledger: Path) -> bool:
    """Whether a run is at work right now; False too where the lock's file cannot be opened, as no run could either."""
    if not Path(f"{ledger.resolve()}.lock").exists():
        return False
    lock = _lock(ledger)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
