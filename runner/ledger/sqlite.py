"""Everything that is SQLite's own: the file, its modes and pragmas, its errors, its dialect. The rest is Core.

Durability is the point of the ledger, so it is settled here once. Write-ahead logging lets `show` read while a run
writes; `synchronous=FULL` makes every commit wait for the disk, because a claim that a power cut can undo is a job that
may be sent twice. Transactions are begun by us (`BEGIN IMMEDIATE` to write), since the driver's own habit of beginning
late would let two writers read the same state before one of them finds the other's lock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Insert,
    Integer,
    Transaction,
    create_engine,
    event,
    func,
)
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import Table

from runner.errors import LedgerError, LedgerWriteError
from runner.ledger.sqlite_errors import not_a_ledger, translated

Cursor = sqlite3.Cursor
"""What `Database.writing_hot` hands out; to be used as any driver's cursor: execute(many), fetchall, rowcount."""

KEY: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit key; SQLite makes it the row's own number only when it is declared as INTEGER."""

CLUSTERED: Final[Mapping[str, Any]] = {"sqlite_with_rowid": False}
"""For a table that is read in the order of its primary key: no second tree beside it."""

json_object: Final = func.json_object
"""`json_object('key', value, ...)`: a JSON text made in the database."""

_MAGIC: Final = b"SQLite format 3\x00"
_APPLICATION_ID: Final = 0x534D5352
"""Marks the file as one of ours ("SMSR"), so that another program's database is never taken for an empty ledger."""
_OLDEST: Final = (3, 35)
"""The first with RETURNING, which claims are made by."""
_DIALECT: Final = dialect()
_BEGIN_WRITING: Final = "BEGIN IMMEDIATE"
_BUSY_TIMEOUT_S: Final = 5.0
_CACHE_KIB: Final = 64 * 1024
"""Page cache. With the default of 2 MB the index of a million names is read and written over and over in staging."""
_READERS_CACHE_KIB: Final = 4 * 1024
"""Who only reads goes over most pages once."""
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024


def partial(condition: ColumnElement[bool]) -> dict[str, Any]:
    """The keywords that make an index hold only the rows that meet `condition` (made of literals).

    PostgreSQL's keyword says the same, but naming it loads its dialect, which every start would pay for.
    """
    return {"sqlite_where": condition}


def insert_unless_known(table: Table, *, key: str, columns: Sequence[str], rows: int) -> SqliteInsert:
    """An INSERT of `rows` rows at once that leaves out those whose `key` the table has already."""
    return insert(table).values([dict.fromkeys(columns)] * rows).on_conflict_do_nothing(index_elements=[key])


def all_or_nothing(statement: Insert) -> Insert:
    """The INSERT, made to end the whole transaction if it fails.

    One that might fail half-way and be undone alone makes SQLite copy every page it changes into a journal of its own.
    """
    return statement.prefix_with("OR ROLLBACK", dialect="sqlite")


class Database:
    """One connection to one ledger file; used by one thread at a time, whichever that is."""

    def __init__(self, path: Path, *, connection: Connection, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> Database:
        """Connects to an existing file.

        Raises:
            LedgerError: there is no such file, or it is no SQLite database.
            LedgerWriteError: it cannot be opened for writing (or at all, where `writable` is false).
        """
        with translated(path):
            _require_version()
            _look_at_head(path)
            connection = _connect(path, mode="rw" if writable else "ro")
            if not writable and _needs_immutable(path, connection):
                connection.close()
                connection = _connect(path, mode="ro&immutable=1")
            database = cls(path, connection=connection, writable=writable)
            try:
                database.prepare()
            except BaseException:
                database.close()
                raise
            return database

    @classmethod
    def create(cls, path: Path) -> Database:
        """Makes an empty file that only its owner can read (-wal and -shm take its mode), and connects to it.

        A file that is there already is opened as it is.

        Raises:
            LedgerError, LedgerWriteError: as for `open`.
        """
        with translated(path):
            if not path.parent.is_dir():
                raise LedgerWriteError(
                    f"The ledger {path} could not be made: its directory does not exist.",
                    remedy=f'Make it with: mkdir -p "{path.parent}"',
                )
            # Two processes may come here at once; the loser finds the winner's file and goes on with it.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
                _sync_directory(path.parent)
        return cls.open(path, writable=True)

    def close(self) -> None:
        """Closes the connection; an open transaction is rolled back."""
        with translated(self.path):
            self._connection.close()
            self._connection.engine.dispose()

    def prepare(self) -> None:
        """Sets what holds for this connection only, and reads the file's head, so that a damaged one is found here."""
        run = self._driver().execute
        run("PRAGMA foreign_keys = ON")
        run(f"PRAGMA cache_size = -{_CACHE_KIB if self.writable else _READERS_CACHE_KIB}")
        if self.writable:
            run("PRAGMA synchronous = FULL")
            run(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        else:
            run("PRAGMA query_only = ON")
        run("SELECT count(*) FROM sqlite_master")

    def is_blank(self) -> bool:
        """Whether the file holds nothing yet: just made, or its maker died before its tables were committed."""
        tables = int(self._driver().execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        return tables == 0 and self._application_id() == 0

    def is_marked(self) -> bool:
        """Whether the file says that it is a ledger."""
        return self._application_id() == _APPLICATION_ID

    def _application_id(self) -> int:
        return int(self._driver().execute("PRAGMA application_id").fetchone()[0])

    def switch_to_wal(self) -> None:
        """Turns write-ahead logging on, which stays with the file; outside any transaction."""
        with translated(self.path):
            mode = self._driver().execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise LedgerWriteError(
                f"The ledger {self.path} cannot be made: its disk does not support write-ahead logging.",
                cause="Network drives usually do not.",
                remedy="Put the ledger on a local disk.",
            )

    def mark(self) -> None:
        """Marks the file as a ledger, within the transaction that makes its tables."""
        self._driver().execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction: committed and on disk when the block ends, rolled back when it raises.

        Raises:
            LedgerWriteError: disk full, read-only, or locked by another process for more than five seconds.
            LedgerError: the file turned out to be damaged.
        """
        with translated(self.path), self._begin_writing():
            yield self._connection

    @contextmanager
    def writing_hot(self, *, wait: bool = True) -> Iterator[Cursor]:
        """As `writing`, for statements from `hot_text` on the driver's own cursor.

        It leaves out all that SQLAlchemy does around a statement and a transaction, some fifty microseconds each, which
        at ten jobs to a transaction would cost more than SQLite does. Only leaving the block waits for the disk, and
        that may happen in another thread than the block; with `wait` false, entering never waits for another process.

        Raises:
            LedgerLockedError: another process is writing; after five seconds, or at once with `wait` false.
            LedgerWriteError, LedgerError: as for `writing`.
        """
        with translated(self.path):
            self._refuse_to_write()
            driver = self._driver()
            cursor = driver.cursor()
            if wait:
                cursor.execute(_BEGIN_WRITING)
            else:
                cursor.execute("PRAGMA busy_timeout = 0")
                try:
                    cursor.execute(_BEGIN_WRITING)
                finally:
                    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000:.0f}")
            try:
                yield cursor
                driver.commit()
            except BaseException:
                driver.rollback()
                raise
            finally:
                cursor.close()

    @contextmanager
    def held(self) -> Iterator[Connection]:
        """One write transaction that is kept open over the block, and undone at its end unless it was committed.

        What the block itself raises passes through untouched: it is the caller's, who may ask a person meanwhile.

        Raises:
            LedgerWriteError: as for `writing`.
        """
        with translated(self.path):
            transaction = self._begin_writing()
        try:
            yield self._connection
        finally:
            with translated(self.path):
                transaction.close()
                if self._driver().in_transaction:
                    self._driver().rollback()  # the commit failed, which is the end for SQLAlchemy only

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view for the whole block, also while another process writes; inside a staging, its view."""
        with translated(self.path):
            if self._connection.in_transaction():
                yield self._connection
                return
            self._connection.info["begin"] = "BEGIN"
            with self._connection.begin():
                yield self._connection

    def _driver(self) -> sqlite3.Connection:
        # Pragmas and looks at the file's head go past SQLAlchemy, which would begin a transaction for them.
        return _driver_of(self._connection)

    def _begin_writing(self) -> Transaction:
        self._refuse_to_write()
        self._connection.info["begin"] = _BEGIN_WRITING
        return self._connection.begin()

    def _refuse_to_write(self) -> None:
        if not self.writable:
            raise LedgerWriteError(
                f"The ledger {self.path} was opened for reading only.", remedy="Open it for writing to change it."
            )
        if self._connection.in_transaction():
            raise LedgerError(
                f"The ledger {self.path} is busy in this process: a staging or an export is not finished.",
                remedy="Finish it first, or open the ledger a second time.",
            )


def hot_text(statement: Executable, *, order: Sequence[str]) -> str:
    """The text of a statement for a driver's cursor, to be given plain tuples whose cells stand in `order`.

    Compiling once saves what Core spends on each execution, which is more than SQLite itself spends on one row.
    That the order is the compiled one is verified, so that a column can never silently take another's value.
    """
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined] # Executable lacks it
    found = tuple(compiled.positiontup or ())
    if found != tuple(order):
        raise AssertionError(f"the statement binds {found}, not {tuple(order)}")
    return str(compiled)


def driver_cursor(connection: Connection) -> Cursor:
    """The driver's own cursor, for statements from `hot_text` inside the transaction that `connection` has begun."""
    return _driver_of(connection).cursor()


def _driver_of(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _require_version() -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        raise LedgerError(
            f"The ledger needs SQLite {'.'.join(map(str, _OLDEST))} or later, not {sqlite3.sqlite_version}.",
            remedy="Use a newer Python, or one built with a newer SQLite.",
        )


def _look_at_head(path: Path) -> None:
    # SQLite takes any file below 512 bytes for an empty database, and would write over it.
    if not path.exists():
        raise LedgerError(
            f"There is no ledger {path}.",
            remedy="See that the path is right; `sms-runner send` makes a ledger when it first needs one.",
        )
    if not path.is_file():
        raise not_a_ledger(path)
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head not in {b"", _MAGIC}:
        raise not_a_ledger(path)


def _connect(path: Path, *, mode: str) -> Connection:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", _begin)
    return engine.connect()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.info.pop("begin"))


def _needs_immutable(path: Path, connection: Connection) -> bool:
    # A ledger on a read-only medium cannot be given the -shm file that reading a write-ahead log asks for. Where
    # there is no such log either, nobody is writing, and the file alone is the whole truth.
    file = path.resolve()
    if os.access(file.parent, os.W_OK) or Path(f"{file}-wal").exists():
        return False
    try:
        _driver_of(connection).execute("SELECT 1 FROM sqlite_master")
    except sqlite3.Error as error:
        return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
    return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
