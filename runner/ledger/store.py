"""The ledger as the send loop and the console use it: opened, staged to, claimed from, recorded in.

One `turn` is one transaction: outcomes are written and the next jobs claimed in the same commit, so that durability
costs one wait for the disk per group of jobs and not two per job. When `turn` returns, what it claimed is in doubt on
disk, and only then may a request leave.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Final, Self

from sqlalchemy import insert, select, update

from runner.errors import LedgerError
from runner.ledger.books import batch_row
from runner.ledger.claims import claimed_job, doubt_detail, result_cells
from runner.ledger.entries import ClaimedJob, DoubtfulJob, JobResult
from runner.ledger.lock import hold_run_lock
from runner.ledger.opening import open_ledger, program_version
from runner.ledger.reading import LedgerReader
from runner.ledger.retrying import make_retryable
from runner.ledger.schema import IS_IN_DOUBT, JOBS, RUNS
from runner.ledger.sqlite import Cursor
from runner.ledger.staging import Staging
from runner.ledger.statements import CLAIM, STATEMENTS
from runner.ledger.wording import json_text, moment
from runner.model import JobState, Scenario

_BY_ROW: Final = attrgetter("row")


class Ledger(LedgerReader):
    """One org's ledger. Synchronous, and used by one thread at a time; to look on from elsewhere, open another."""

    @classmethod
    def open(cls, path: Path, *, org: str, read_only: bool = False, create: bool = True) -> Self:
        """Opens the ledger of `org`, making it where there is none unless `read_only`, or `create` is false.

        A new file can be read and written by its owner only. With `read_only`, nothing of it can be changed, and a run
        going on in another process is not disturbed.

        Raises:
            LedgerError: no such file, not a ledger, damaged, of another org, or of another version.
            LedgerWriteError: it cannot be made or opened for writing: read-only, disk full, locked.
        """
        return cls(open_ledger(path, org=org, read_only=read_only, create=create))

    def lock_for_run(self) -> AbstractContextManager[None]:
        """The right to send from this ledger, for one run at a time; it ends with the block or with the process.

        Raises:
            LedgerBusyError: another run is at work; says which, since when, and what can be done.
            LedgerWriteError: the lock's file beside the ledger cannot be made.
        """
        return hold_run_lock(self.path, who=self._who_is_at_work)

    @contextmanager
    def staging(
        self,
        *,
        name: str,
        source: str,
        headers: Sequence[str],
        other_columns: Sequence[str],
        attributes: Mapping[str, str],
        now_ms: int,
    ) -> Iterator[Staging]:
        """Stages a file's rows in one write transaction, which lasts as long as the block; without `commit`, no trace.

        Args:
            name: the file's name, without its directory.
            source: where it was read from, for people.
            headers: as the file writes them, in its order.
            other_columns: those of them that are no attribute, in the order of `JobChunk.others`.
            attributes: documented attribute name -> header.
            now_ms: the time of staging.

        Raises:
            LedgerWriteError: disk full, read-only, or another process is writing for more than five seconds.
        """
        batch = {
            "name": name,
            "source": source,
            "headers": json_text(list(headers)),
            "other_columns": json_text(list(other_columns)),
            "attributes": json_text(dict(attributes)),
        }
        with self._database.held() as connection:
            yield Staging(
                database=self._database,
                connection=connection,
                batch=batch,
                now_ms=now_ms,
            )

    def start_run(self, batch_id: int, *, settle_s: float, now_ms: int) -> int:
        """Notes that this process begins to work on a batch; the run's id."""
        with self._database.writing() as connection:
            batch_row(connection, batch_id)
            run = insert(RUNS).values(
                batch_id=batch_id,
                pid=os.getpid(),
                host=socket.gethostname(),
                version=program_version(),
                started_at=now_ms,
                alive_at=now_ms,
                settle_s=settle_s,
            )
            return int(connection.execute(run.returning(RUNS.c.id)).scalar_one())

    def beat(self, run_id: int, *, now_ms: int) -> None:
        """A sign of life; `turn` and `release` give one too."""
        with self._database.writing_hot() as cursor:
            cursor.execute(STATEMENTS.beat, (now_ms, run_id))

    def end_run(self, run_id: int, *, reason: str, exit_code: int, now_ms: int) -> None:
        """Notes that a run has ended, why, and what it said to whoever started it."""
        ended = {"ended_at": now_ms, "alive_at": now_ms, "end_reason": reason, "exit_code": int(exit_code)}
        with self._database.writing() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(ended))

    def turn(
        self, run_id: int, *, results: Sequence[JobResult], batch_id: int, claim: int, now_ms: int
    ) -> list[ClaimedJob]:
        """Records `results`, then claims up to `claim` pending jobs that the batch owns, in row order; one commit.

        On return everything is on disk: the claimed jobs are in doubt for this run. Jobs that earlier runs left in
        doubt are never among them (see `doubts`). A result `PENDING` means that the API has surely not accepted the
        job, which can be claimed again in this very turn. A job that was in doubt before the attempt must be given back
        as `IN_DOUBT` instead. Each `IN_DOUBT` result is kept in the history as well.

        Raises:
            LedgerWriteError: nothing was recorded and nothing claimed.
            LedgerError: a result is for a job that this run has not claimed, or is recorded already; nothing was done.
        """
        with self.turning(run_id, results=results, batch_id=batch_id, claim=claim, now_ms=now_ms) as claimed:
            return claimed

    @contextmanager
    def turning(
        self,
        run_id: int,
        *,
        results: Sequence[JobResult],
        batch_id: int,
        claim: int,
        now_ms: int,
        wait: bool = True,
    ) -> Iterator[list[ClaimedJob]]:
        """A `turn` in two steps: entering does it, leaving commits it, and nothing of it is true before that.

        Entering takes the processor for some microseconds a job, and with `wait` false never waits for another
        process. Leaving waits for the disk, and may happen in another thread.

        Raises:
            LedgerLockedError: on entering, with `wait` false: another process is writing at this moment.
            LedgerWriteError, LedgerError: as for `turn`, on entering or leaving.
        """
        with self._database.writing_hot(wait=wait) as cursor:
            if results:
                self._record(cursor, run_id, results, now_ms)
            claimed = self._claim(cursor, run_id, batch_id, claim) if claim > 0 else []
            cursor.execute(STATEMENTS.beat, (now_ms, run_id))
            yield claimed

    def release(self, run_id: int, *, job_ids: Collection[int], now_ms: int) -> None:
        """Gives back claims whose request never left: pending again, or in doubt if they were before the claim."""
        with self._database.writing_hot() as cursor:
            if job_ids:
                cells = [(job_id, run_id) for job_id in job_ids]
                cursor.executemany(STATEMENTS.release, cells)
            cursor.execute(STATEMENTS.beat, (now_ms, run_id))

    def doubts(self, batch_id: int, *, run_id: int | None = None) -> list[DoubtfulJob]:
        """The jobs in doubt that the batch owns, in row order; without those that `run_id` has claimed itself.

        An attempt that nobody recorded may have been under way until the last sign of life of the run that claimed the
        job, so the settle time counts from there even where an earlier attempt's end is known.
        """
        columns = (JOBS.c.doubt_since, RUNS.c.alive_at, RUNS.c.settle_s)
        query = (
            select(*CLAIM, *columns)
            .join(RUNS, RUNS.c.id == JOBS.c.run_id)
            .where(JOBS.c.batch_id == batch_id, IS_IN_DOUBT)
            .order_by(JOBS.c.row)
        )
        if run_id is not None:
            query = query.where(JOBS.c.run_id != run_id)
        with self._database.reading() as connection:
            return [
                DoubtfulJob(
                    claim=claimed_job(cells, doubted=True),
                    doubt_since_ms=max(doubt_since or alive_at, alive_at),
                    settle_s=settle_s,
                )
                for *cells, doubt_since, alive_at, settle_s in connection.execute(query)
            ]

    def adopt(self, run_id: int, *, job_ids: Collection[int], now_ms: int) -> None:
        """Makes jobs that are in doubt this run's claims, durably, so that it may attempt and record them.

        Raises:
            LedgerError: one of them is not in doubt; none was adopted.
        """
        with self._database.writing_hot() as cursor:
            if job_ids:
                cells = [(run_id, job_id) for job_id in job_ids]
                adopted = cursor.executemany(STATEMENTS.adopt, cells).rowcount
                if adopted != len(cells):
                    raise LedgerError(
                        f"{len(cells) - adopted} of {len(cells)} jobs to be taken over are not in doubt.",
                        remedy="Look at the batch with `sms-runner show` before sending again.",
                    )
            cursor.execute(STATEMENTS.beat, (now_ms, run_id))

    def make_retryable(self, batch_id: int | None, *, scenario: Scenario | None = None, now_ms: int) -> int:
        """Makes rejected jobs pending again; how many. Each rejection stays in the history, attempts go on counting.

        With a batch: the jobs of its rows, which it owns from then on. Without: all of the ledger.
        """
        with self._database.writing() as connection:
            if batch_id is not None:
                batch_row(connection, batch_id)
            return make_retryable(connection, batch_id=batch_id, scenario=scenario, now_ms=now_ms)

    def _claim(self, cursor: Cursor, run_id: int, batch_id: int, most: int) -> list[ClaimedJob]:
        claimed = cursor.execute(STATEMENTS.claim, (run_id, batch_id, most)).fetchall()
        return sorted((claimed_job(cells, doubted=False) for cells in claimed), key=_BY_ROW)

    def _record(self, cursor: Cursor, run_id: int, results: Sequence[JobResult], now_ms: int) -> None:
        cells = [result_cells(result, run_id=run_id, now_ms=now_ms) for result in results]
        recorded = cursor.executemany(STATEMENTS.record, cells).rowcount
        if recorded != len(cells):
            raise LedgerError(
                f"{len(cells) - recorded} of {len(cells)} results are for jobs that this run has not claimed.",
                cause="Two runs may have worked on the same ledger, or a result was recorded twice.",
                remedy="Look at the batch with `sms-runner show` before sending again.",
            )
        doubts = [
            (result.job_id, now_ms, "doubt", doubt_detail(result))
            for result in results
            if result.state is JobState.IN_DOUBT
        ]
        if doubts:
            cursor.executemany(STATEMENTS.insert_history, doubts)

    def _who_is_at_work(self) -> str:
        run = self.last_run()
        if run is None or run.ended_at is not None:
            return "It has not begun to send yet."
        with self._database.reading() as connection:
            name = batch_row(connection, run.batch_id).name
        return (
            f"It has been at work since {moment(run.started_at)}: "
            f"process {run.pid} on {run.host}, batch {run.batch_id} ({name})."
        )
