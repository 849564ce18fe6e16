"""What SQLite, SQLAlchemy and the system complain of, as the project's errors: what happened, and what to do about it.

The line that matters is between a ledger that is wrong (`LedgerError`: do not go on with it, nor without it)
and one that just cannot be written now (`LedgerWriteError`: put that right and run the same command again).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from runner.errors import LedgerError, LedgerLockedError, LedgerWriteError

_NOT_WRITABLE: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space on that disk, then run the same command again."),
    sqlite3.SQLITE_READONLY: ("it is read-only", "Give yourself the right to write the file and its directory."),
    sqlite3.SQLITE_PERM: ("access is denied", "Give yourself the right to write the file and its directory."),
    sqlite3.SQLITE_CANTOPEN: (
        "it could not be opened for writing",
        "See that its directory exists and that you may write there.",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk reports an error",
        "See that the disk is well and is a local one, then try again.",
    ),
    sqlite3.SQLITE_NOMEM: ("there is not enough memory", "Free some memory, then try again."),
}
_LOCKED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what SQLite, SQLAlchemy and the system raise into the project's errors, naming the file and the remedy."""
    try:
        yield
    except DBAPIError as error:
        _raise_for(path, error.orig if isinstance(error.orig, sqlite3.Error) else None, error)
    except SQLAlchemyError as error:
        raise _damaged(path, type(error).__name__) from error
    except sqlite3.Error as error:
        _raise_for(path, error, error)
    except OSError as error:
        raise LedgerWriteError(
            f"The ledger {path} cannot be used: {error.strerror or 'the system refused it'}.",
            remedy="See that its directory exists and that you may write there.",
        ) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise LedgerError(
            f"A value cannot be kept in the ledger {path}: it is no valid text, or a number beyond 64 bits.",
            remedy="Check the jobs before staging them.",
        ) from error


def _raise_for(path: Path, error: sqlite3.Error | None, source: Exception) -> NoReturn:
    # Without a code it is the driver itself that complains: a value of a type it cannot store, a closed connection.
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_NOTADB:
        raise not_a_ledger(path) from source
    if primary in _LOCKED:
        raise LedgerLockedError(
            f"The ledger {path} cannot be used: another process keeps it locked.",
            remedy="Wait for the other process to end, then try again.",
        ) from source
    if primary in _NOT_WRITABLE:
        cause, remedy = _NOT_WRITABLE[primary]
        raise LedgerWriteError(f"The ledger {path} cannot be used: {cause}.", remedy=remedy) from source
    raise _damaged(path, str(error)) from source


def not_a_ledger(path: Path) -> LedgerError:
    """For a file that is something else; it is left as it is."""
    return LedgerError(
        f"{path} is not a ledger of this program.",
        remedy="Name another file as the ledger; this one is left as it is.",
    )


def _damaged(path: Path, detail: str) -> LedgerError:
    return LedgerError(
        f"The ledger {path} is damaged or does not have the shape of a ledger.",
        cause=f"SQLite says: {detail}.",
        remedy="Put back its latest backup. Do not start with an empty one: what was sent already would be sent again.",
    )
