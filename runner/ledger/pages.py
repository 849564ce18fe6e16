"""A batch's rows with their outcomes, page by page: what results are made of.

This is read for every row at the end of every run, so the rows come from the driver's own cursor as plain tuples, and
in as few cells as will do: a cell costs a tenth of a microsecond, also an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, literal_column, select

from runner.ledger.books import ROWS_AND_JOBS, batch_row
from runner.ledger.schema import JOBS, PAYLOAD, ROWS
from runner.ledger.sqlite import driver_cursor, hot_text
from runner.model import INT64_MIN

Page = list[tuple[Any, ...]]
"""Rows as the cells of `RESULT_CELLS`."""

RESULT_CELLS: Final = (
    ROWS.c.row,
    JOBS.c.state,
    JOBS.c.send_id,
    JOBS.c.scenario,
    JOBS.c.http_status,
    # An invalid row has no job, hence no state and no message, and no others: what it has instead stands in their
    # places, so that no row pays for two cells that hardly any has.
    func.coalesce(JOBS.c.message, ROWS.c.problems),
    JOBS.c.attempts,
    JOBS.c.evidence,
    JOBS.c.first_attempt_at,
    JOBS.c.finished_at,
    JOBS.c.latency_ms,
    *(JOBS.c[name] for name in PAYLOAD),
    func.coalesce(ROWS.c.others, ROWS.c.cells),
)
"""The cells of a row, in their order: the row, the outcome, the attributes, the file's other columns as a JSON array.

A row without a state is an invalid one: its message is the JSON of its problems, its last cell the JSON of its cells,
and but for its number it has nothing else.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultShape:
    """What can be said of a batch's results without counting its rows."""

    rows: int
    """As they were counted while staging."""
    other_columns: tuple[str, ...]
    attributes: dict[str, str]
    """Documented attribute name -> the header that holds it."""


def result_shape(connection: Connection, batch_id: int) -> ResultShape:
    """The shape of a batch's results.

    Raises:
        LedgerError: there is no such batch.
    """
    batch = batch_row(connection, batch_id)
    return ResultShape(
        rows=batch.row_count,
        other_columns=tuple(json.loads(batch.other_columns)),
        attributes=json.loads(batch.attributes),
    )


def result_pages(connection: Connection, batch_id: int, *, size: int) -> Generator[Page]:
    """The rows of a batch in row order, at most `size` in a page.

    Each page is a query of its own that goes on where the last one ended, so that memory stays flat with any driver,
    also one that would fetch a whole answer at once.
    """
    with closing(driver_cursor(connection)) as cursor:
        last = INT64_MIN
        while page := cursor.execute(_page_text(), (batch_id, last, size)).fetchall():
            yield page
            if len(page) < size:
                return
            last = page[-1][0]


@cache
def _page_text() -> str:
    # The offset is there because SQLite's dialect would bind one of its own.
    query = (
        select(*RESULT_CELLS)
        .select_from(ROWS_AND_JOBS)
        .where(ROWS.c.batch_id == bindparam("batch"), ROWS.c.row > bindparam("last"))
        .order_by(ROWS.c.row)
        .limit(bindparam("size"))
        .offset(literal_column("0"))
    )
    return hot_text(query, order=("batch", "last", "size"))
