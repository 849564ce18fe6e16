"""A batch's rows with their outcomes, page by page: what results are made of."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from runner.ledger.books import ROWS_AND_JOBS
from runner.ledger.schema import JOBS, PAYLOAD, ROWS

RESULT_CELLS: Final = (
    ROWS.c.row,
    JOBS.c.state,
    JOBS.c.send_id,
    JOBS.c.scenario,
    JOBS.c.http_status,
    JOBS.c.message,
    JOBS.c.attempts,
    JOBS.c.evidence,
    JOBS.c.first_attempt_at,
    JOBS.c.finished_at,
    JOBS.c.latency_ms,
    *(JOBS.c[name] for name in PAYLOAD),
    ROWS.c.others,
    ROWS.c.cells,
    ROWS.c.problems,
)
"""The cells of a page, in their order: the row, the outcome, the attributes, what the file had."""


def result_pages(connection: Connection, batch_id: int, *, size: int) -> Generator[Sequence[Row[Any]]]:
    """The rows of a batch in row order, at most `size` in a page, as the cells of `RESULT_CELLS`.

    Each page is a query of its own that goes on where the last one ended, so that memory stays flat with any driver,
    also one that would fetch a whole answer at once.
    """
    query = (
        select(*RESULT_CELLS)
        .select_from(ROWS_AND_JOBS)
        .where(ROWS.c.batch_id == batch_id)
        .order_by(ROWS.c.row)
        .limit(size)
    )
    page = connection.execute(query).all()
    while page:
        yield page
        page = connection.execute(query.where(ROWS.c.row > page[-1][0])).all() if len(page) == size else []
