"""The books of batches: their rows by state, counted anew each time, and who worked on them last."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Connection, Row, RowMapping, func, select

from runner.errors import LedgerError
from runner.ledger.entries import BatchInfo, RunInfo
from runner.ledger.schema import BATCHES, JOBS, ROWS, RUNS
from runner.model import Balance, JobState

ROWS_AND_JOBS: Final = ROWS.outerjoin(JOBS, JOBS.c.id == ROWS.c.job_id)
"""Every row, with its job where it has one."""

_STATES: Final = (JobState.PENDING, JobState.IN_DOUBT, JobState.SENT, JobState.REJECTED)
_STANDING: Final = (
    func.count().filter(ROWS.c.job_id.is_(None)).label(JobState.INVALID.value),
    *(func.count().filter(JOBS.c.state == state.value).label(state.value) for state in _STATES),
)


def batch_row(connection: Connection, batch_id: int) -> Row[Any]:
    """The batch's own row.

    Raises:
        LedgerError: there is no such batch.
    """
    row = connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).one_or_none()
    if row is None:
        raise LedgerError(f"The ledger has no batch {batch_id}.", remedy="`sms-runner batches` lists those it has.")
    return row


def balances(connection: Connection, batch_id: int | None = None) -> dict[int, Balance]:
    """The books of one batch, or of all: `rows` is what was counted while staging, the states are counted now."""
    staged = select(BATCHES.c.id, BATCHES.c.row_count)
    standing = select(ROWS.c.batch_id, *_STANDING).select_from(ROWS_AND_JOBS).group_by(ROWS.c.batch_id)
    if batch_id is not None:
        staged = staged.where(BATCHES.c.id == batch_id)
        standing = standing.where(ROWS.c.batch_id == batch_id)
    counts: dict[int, dict[str, int]] = {}
    for row in connection.execute(standing).mappings():
        counts[row["batch_id"]] = {state: count for state, count in row.items() if state != "batch_id"}
    return {found: Balance(rows=rows, **counts.get(found, {})) for found, rows in connection.execute(staged)}


def last_runs(connection: Connection, batch_id: int | None = None) -> dict[int, RunInfo]:
    """The newest run of one batch, or of each; a batch nobody worked on is left out."""
    newest = select(func.max(RUNS.c.id)).group_by(RUNS.c.batch_id)
    if batch_id is not None:
        newest = newest.where(RUNS.c.batch_id == batch_id)
    runs = connection.execute(select(RUNS).where(RUNS.c.id.in_(newest))).mappings()
    return {row["batch_id"]: run_info(row) for row in runs}


def batch_info(row: Row[Any], *, balance: Balance, last_run: RunInfo | None) -> BatchInfo:
    """A batch as readers are told of it."""
    return BatchInfo(
        batch_id=row.id,
        name=row.name,
        source=row.source,
        digest=row.digest,
        created_at=row.created_at,
        headers=tuple(json.loads(row.headers)),
        other_columns=tuple(json.loads(row.other_columns)),
        attributes=json.loads(row.attributes),
        balance=balance,
        last_run=last_run,
    )


def run_info(row: RowMapping) -> RunInfo:
    """A run as readers are told of it."""
    columns = {column: value for column, value in row.items() if column != "id"}
    return RunInfo(run_id=row["id"], **columns)
