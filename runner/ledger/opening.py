"""Opening a ledger: made where there is none, and otherwise recognised before anything in it is believed.

A wrong file here would be the costliest of all mistakes: a ledger of another org, or an empty one in place of the
real one, knows nothing of what was sent. So a file is taken for a ledger only when it says so itself, in this
version's words and for this org; everything else is an error that leaves the file alone.
"""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy import insert, select

from runner.errors import LedgerError
from runner.ledger.schema import LEDGER_INFO, METADATA, SCHEMA_VERSION
from runner.ledger.sqlite import Database
from runner.ledger.sqlite_errors import not_a_ledger


def open_ledger(path: Path, *, org: str, read_only: bool, create: bool) -> Database:
    """The ledger at `path`, made for `org` if there is none and `create` allows it and `read_only` does not forbid it.

    Raises:
        LedgerError: no such file, not a ledger, damaged, of another org, or written by a newer version.
        LedgerWriteError: it cannot be made, or not be opened for writing.
    """
    may_create = create and not read_only
    database = Database.create(path) if may_create else Database.open(path, writable=not read_only)
    try:
        if may_create and database.is_blank():
            _found(database, org=org)
        _recognise(database, org=org)
    except BaseException:
        database.close()
        raise
    return database


def program_version() -> str:
    """This program's version, as the ledger notes it; `unknown` where it runs without being installed."""
    try:
        return version("acoustic-sms-runner")
    except PackageNotFoundError:
        return "unknown"


def _found(database: Database, *, org: str) -> None:
    database.switch_to_wal()
    with database.writing() as connection:
        # Another process may have been faster between the look and the lock.
        if not database.is_blank():
            return
        METADATA.create_all(connection)
        database.mark()
        connection.execute(
            insert(LEDGER_INFO).values(
                schema_version=SCHEMA_VERSION,
                org=org,
                created_at=time.time_ns() // 1_000_000,
                created_by=program_version(),
            )
        )


def _recognise(database: Database, *, org: str) -> None:
    with database.reading() as connection:
        if not database.is_marked():
            raise not_a_ledger(database.path)
        # Only what every version has, since a newer one may have named the rest anew.
        found = connection.execute(select(LEDGER_INFO.c.schema_version, LEDGER_INFO.c.org)).first()
    if found is None:
        raise not_a_ledger(database.path)
    if found.schema_version != SCHEMA_VERSION:
        raise LedgerError(
            f"The ledger {database.path} was written by another version of this program "
            f"(ledger version {found.schema_version}, this program reads {SCHEMA_VERSION}).",
            remedy="Install the version that wrote it, or a newer one.",
        )
    if found.org != org:
        raise LedgerError(
            f'The ledger {database.path} belongs to the org "{found.org}", not to "{org}".',
            remedy="Each org needs a ledger of its own: correct `ledger` or `org` in the configuration.",
        )
