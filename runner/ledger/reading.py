"""What a ledger can tell, while a run is going on or not: books, scenarios, batches, rows.

Every question is asked of the tables themselves, inside one consistent view; nothing is kept in memory that could
differ from what is on disk. Only plain columns are read, so the same statements serve another database.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Final, Self

from sqlalchemy import func, select

from runner.ledger.books import ROWS_AND_JOBS, balances, batch_info, batch_row, last_runs, run_info
from runner.ledger.entries import BatchInfo, PastDates, RunInfo, ScenarioCount
from runner.ledger.lock import is_held
from runner.ledger.pages import Page, ResultShape, result_pages, result_shape
from runner.ledger.schema import BATCHES, IS_IN_DOUBT, IS_PENDING, JOBS, ROWS, RUNS
from runner.ledger.sqlite import Database
from runner.ledger.wording import invalid_row, scheduled
from runner.model import Balance, Evidence, InvalidRow, JobState, Scenario

_OFFSET_REACH: Final = timedelta(hours=25)
"""More than any offset from UTC, so that comparing dates as text can only let through too many."""
_LATENCIES: Final = 1_000


class LedgerReader:
    """The questions; `store.Ledger` adds the changes. Used by one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def path(self) -> Path:
        """Where the ledger is."""
        return self._database.path

    def close(self) -> None:
        """Closes the ledger; a staging that was not committed is undone."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def at_work(self) -> bool:
        """Whether a run is at work on this ledger right now, in whatever process."""
        return is_held(self.path)

    def balance(self, batch_id: int) -> Balance:
        """The books of a batch, counted row by row; `rows` is the number that was staged.

        Raises:
            LedgerError: there is no such batch.
        """
        with self._database.reading() as connection:
            batch_row(connection, batch_id)
            return balances(connection, batch_id)[batch_id]

    def scenarios(self, batch_id: int) -> list[ScenarioCount]:
        """How the rows of a batch ended, the most frequent first; rows not finished are counted by state too."""
        kinds = (JOBS.c.state, JOBS.c.scenario, JOBS.c.evidence)
        query = (
            select(*kinds, func.count(), func.max(JOBS.c.message))
            .select_from(ROWS_AND_JOBS)
            .where(ROWS.c.batch_id == batch_id)
            .group_by(*kinds)
            .order_by(func.count().desc())
        )
        with self._database.reading() as connection:
            batch_row(connection, batch_id)
            return [
                ScenarioCount(
                    state=JobState(state) if state is not None else JobState.INVALID,
                    scenario=Scenario(scenario) if scenario is not None else None,
                    evidence=Evidence(evidence) if evidence is not None else None,
                    count=count,
                    message=message,
                )
                for state, scenario, evidence, count, message in connection.execute(query)
            ]

    def batches(self) -> list[BatchInfo]:
        """All batches, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(BATCHES).order_by(BATCHES.c.id.desc())).all()
            books, runs = balances(connection), last_runs(connection)
            return [batch_info(row, balance=books[row.id], last_run=runs.get(row.id)) for row in rows]

    def batch(self, batch_id: int) -> BatchInfo:
        """One batch.

        Raises:
            LedgerError: there is no such batch.
        """
        with self._database.reading() as connection:
            row = batch_row(connection, batch_id)
            books, runs = balances(connection, batch_id), last_runs(connection, batch_id)
            return batch_info(row, balance=books[batch_id], last_run=runs.get(batch_id))

    def newest(self) -> BatchInfo | None:
        """The batch that was staged last; None in an empty ledger."""
        with self._database.reading() as connection:
            newest = connection.execute(select(func.max(BATCHES.c.id))).scalar_one()
        return None if newest is None else self.batch(newest)

    def newest_unfinished(self) -> BatchInfo | None:
        """The newest batch that a run would have something to do for: it owns jobs pending or in doubt."""
        with self._database.reading() as connection:
            newest = [
                connection.execute(select(func.max(JOBS.c.batch_id)).where(unfinished)).scalar_one()
                for unfinished in (IS_PENDING, IS_IN_DOUBT)
            ]
            found = [batch_id for batch_id in newest if batch_id is not None]
            return self.batch(max(found)) if found else None

    def runs(self, batch_id: int) -> list[RunInfo]:
        """The runs of a batch, the newest first."""
        query = select(RUNS).where(RUNS.c.batch_id == batch_id).order_by(RUNS.c.id.desc())
        with self._database.reading() as connection:
            batch_row(connection, batch_id)
            return [run_info(row) for row in connection.execute(query).mappings()]

    def last_run(self) -> RunInfo | None:
        """The run that was started last, of whatever batch."""
        query = select(RUNS).order_by(RUNS.c.id.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
            return None if row is None else run_info(row)

    def jobs_in_doubt(self) -> int:
        """Jobs in doubt, of all batches."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(JOBS).where(IS_IN_DOUBT)).scalar_one())

    def usual_latency_ms(self) -> float | None:
        """The median time to an answer among the first thousand outcomes of the batch last worked on; None: no outcome.

        For estimates. Not taken from the jobs staged last, which are a million without an outcome when it matters.
        """
        with self._database.reading() as connection:
            last = select(RUNS.c.batch_id).order_by(RUNS.c.id.desc()).limit(1).scalar_subquery()
            query = (
                select(JOBS.c.latency_ms)
                .select_from(ROWS_AND_JOBS)
                .where(ROWS.c.batch_id == last, JOBS.c.latency_ms.is_not(None))
                .limit(_LATENCIES)
            )
            latencies = connection.scalars(query).all()
        return median(latencies) if latencies else None

    def invalid_rows(self, batch_id: int, *, limit: int | None = None) -> list[InvalidRow]:
        """The batch's invalid rows in row order, at most `limit` of them."""
        query = (
            select(ROWS.c.row, ROWS.c.cells, ROWS.c.problems)
            .where(ROWS.c.batch_id == batch_id, ROWS.c.job_id.is_(None))
            .order_by(ROWS.c.row)
            .limit(limit)
        )
        with self._database.reading() as connection:
            batch_row(connection, batch_id)
            return [invalid_row(row, cells=cells, problems=why) for row, cells, why in connection.execute(query)]

    def past_dates(
        self, batch_id: int, *, now: datetime, first: int = 20, state: JobState = JobState.PENDING
    ) -> PastDates:
        """The pending (or rejected) jobs this batch owns whose scheduled date lies before `now` (aware)."""
        is_wanted = IS_PENDING if state is JobState.PENDING else JOBS.c.state == state.value
        latest_text = (now.astimezone(UTC) + _OFFSET_REACH).isoformat()
        query = (
            select(JOBS.c.row, JOBS.c.scheduled_date)
            .where(JOBS.c.batch_id == batch_id, is_wanted, JOBS.c.scheduled_date < latest_text)
            .order_by(JOBS.c.row)
        )
        # One text may stand in every row; it is read once.
        is_past: dict[str, bool] = {}
        count = 0
        rows: list[int] = []
        with self._database.reading() as connection:
            for row, text in connection.execute(query):
                if text not in is_past:
                    moment = scheduled(text)
                    is_past[text] = moment is not None and moment < now
                if is_past[text]:
                    count += 1
                    if len(rows) < first:
                        rows.append(row)
        return PastDates(count=count, first_rows=tuple(rows))

    def result_shape(self, batch_id: int) -> ResultShape:
        """What can be said of a batch's results without counting its rows.

        Raises:
            LedgerError: there is no such batch.
        """
        with self._database.reading() as connection:
            return result_shape(connection, batch_id)

    def result_pages(self, batch_id: int, *, size: int) -> Generator[Page]:
        """The rows of a batch in row order, `size` at a time, as the cells of `pages.RESULT_CELLS`; all from one view.

        Nothing else must use this ledger until the iterator is exhausted or closed.

        Raises:
            LedgerError: there is no such batch, or the ledger turned out to be damaged.
        """
        with self._database.reading() as connection:
            batch_row(connection, batch_id)
            yield from result_pages(connection, batch_id, size=size)
