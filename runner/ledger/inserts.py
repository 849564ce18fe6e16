"""New rows into the ledger, many to a statement: what staging a file mostly consists of.

Three things cost more than the trees themselves, and are avoided here. A statement that may fail half-way and be
undone alone is dear (`all_or_nothing`); the schema has foreign keys checked at the commit for the same reason. To bind
None the driver goes through all its adapters, so a column that no row of a chunk has is left out instead. And the
driver gives Python's lock away and takes it back with every statement, so each has many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from itertools import chain, islice
from typing import Final

from sqlalchemy import Connection, insert
from sqlalchemy.schema import Table

from runner.ledger.schema import JOBS, ROWS
from runner.ledger.sqlite import all_or_nothing, hot_text, insert_unless_known

_ROWS_PER_INSERT: Final = 128

NEW_JOB: Final = ("id", "state", "batch_id", "row")
"""Columns of a job that is staged for the first time; those of its payload that are not all empty follow."""


class BulkInsert:
    """Inserts rows into some columns of a table, the others being null or their default.

    An error, even one that a statement alone could be blamed for, takes the whole transaction with it.
    """

    def __init__(self, table: Table, columns: Sequence[str], *, unless_known: str | None = None) -> None:
        self._table = table
        self._columns = tuple(columns)
        self._unless_known = unless_known

    def run(self, connection: Connection, rows: Iterable[tuple[object, ...]]) -> int:
        """Inserts all of `rows`, cells in the order of the columns.

        Returns:
            How many of them were inserted: fewer than given where some were known.
        """
        cells = chain.from_iterable(rows)
        width = len(self._columns)
        # Cut as they come: to have all cells in one tuple first would be as much memory again.
        groups = list(iter(lambda: tuple(islice(cells, width * _ROWS_PER_INSERT)), ()))
        rest = groups.pop() if groups and len(groups[-1]) < width * _ROWS_PER_INSERT else ()
        inserted = 0
        if groups:
            inserted += connection.exec_driver_sql(self._many, groups).rowcount
        if rest:
            ones = [rest[at : at + width] for at in range(0, len(rest), width)]
            inserted += connection.exec_driver_sql(self._one, ones).rowcount
        return inserted

    @cached_property
    def _many(self) -> str:
        # Compiled only for a file that needs it, since it takes longer than inserting a thousand rows.
        return self._text(_ROWS_PER_INSERT)

    @cached_property
    def _one(self) -> str:
        return self._text(1)

    def _text(self, rows: int) -> str:
        if self._unless_known is None:
            statement = insert(self._table).values([dict.fromkeys(self._columns)] * rows)
        else:
            statement = insert_unless_known(self._table, key=self._unless_known, columns=self._columns, rows=rows)
        return hot_text(
            all_or_nothing(statement), order=[f"{name}_m{i}" for i in range(rows) for name in self._columns]
        )


@cache
def into_jobs(payload: tuple[str, ...]) -> BulkInsert:
    """New jobs, cells as in `NEW_JOB` and then these columns; those whose name is known are left out."""
    return BulkInsert(JOBS, (*NEW_JOB, *payload), unless_known="message_name")


@cache
def into_rows(columns: tuple[str, ...]) -> BulkInsert:
    """Rows of a batch, cells in these columns."""
    return BulkInsert(ROWS, columns)
