"""A file's rows on their way into the ledger: one write transaction, held while the operator is asked.

Nearly every row is new, so a chunk is inserted at once, names that are known left out; only where some were left out
are they looked up and decided about one by one (`known`). The caller sees the plan from inside the transaction; leaving
without `commit`, or dying, leaves no trace.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress, repeat
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, distinct, func, or_, select, update

from runner.errors import LedgerError
from runner.ledger.entries import TOP_SHARES, Share, StagedPlan
from runner.ledger.inserts import into_jobs, into_rows
from runner.ledger.known import KnownNames
from runner.ledger.schema import BATCHES, IS_IN_DOUBT, IS_PENDING, JOBS, PAYLOAD, ROWS
from runner.ledger.sqlite import Database
from runner.ledger.sqlite_errors import translated
from runner.ledger.statements import STATEMENTS
from runner.ledger.tally import Span, Tally
from runner.ledger.twin import Twin
from runner.ledger.wording import json_text, problems_text
from runner.model import InvalidRow, JobChunk, JobState

_VALID: Final = ("batch_id", "row", "job_id")
_VALID_WITH_OTHERS: Final = (*_VALID, "others")
_INVALID: Final = ("batch_id", "row", "cells", "problems")
_MESSAGE: Final = JOBS.c.published_message_id


class Staging:
    """A batch being staged. Made by `Ledger.staging`; of no use after its block, nor after `commit`."""

    def __init__(
        self,
        *,
        database: Database,
        connection: Connection,
        batch: Mapping[str, str],
        now_ms: int,
    ) -> None:
        self._path = database.path
        self._connection = connection
        self._batch_id = _next_id(connection, BATCHES.c.id)
        self._next_job_id = _next_id(connection, JOBS.c.id)
        self._twin = Twin.find(
            connection, **{key: batch[key] for key in ("name", "headers", "other_columns", "attributes")}
        )
        self._names = KnownNames(
            connection=connection,
            batch_id=self._batch_id,
            twin_id=self._twin.batch_id if self._twin is not None else None,
            first_new_id=self._next_job_id,
            attributes=json.loads(batch["attributes"]),
            other_columns=json.loads(batch["other_columns"]),
            now_ms=now_ms,
        )
        self._rows = self._invalid = self._new = self._edited = 0
        self._broken = False
        self._unchanged: Counter[str] = Counter()
        self._messages = Tally()
        self._contact_sources = Tally(numeric=True)
        self._dates = Span()
        connection.execute(
            BATCHES.insert().values(id=self._batch_id, created_at=now_ms, digest="", row_count=0, **batch)
        )

    def settled(self, names: Sequence[str]) -> set[str]:
        """Those of `names` whose job is sent, in doubt or rejected, whatever its payload: it is sent by no new row."""
        with self._step():
            known = STATEMENTS.known(self._connection, names)
        return {name for name, job in known.items() if job.state != JobState.PENDING}

    def add(self, chunk: JobChunk) -> list[InvalidRow]:
        """Stages rows, `chunk.invalid` among them, and hands back those that conflict with the ledger.

        A name that is new becomes a pending job. A known one that is pending or rejected takes another payload as an
        edit (its past goes to the history, its attempts go on counting); with the same payload a pending or doubtful
        job goes over to this batch, a sent or rejected one stays as it is. A name that is sent or in doubt with another
        payload, and one that stands in an earlier row of this batch, is a conflict: it is kept as an invalid row and
        returned with a `Problem` whose code is in `meeting`.
        """
        with self._step():
            count = len(chunk.rows)
            ids = range(self._next_job_id, self._next_job_id + count)
            self._next_job_id += count
            payload = {name: getattr(chunk, name) for name in PAYLOAD}
            given = tuple(name for name, column in payload.items() if not _is_empty(column))
            batch = repeat(self._batch_id)
            state = repeat(JobState.PENDING.value)
            jobs = zip(ids, state, batch, chunk.rows, *(payload[name] for name in given), strict=False)
            inserted = into_jobs(given).run(self._connection, jobs)
            conflicts: list[InvalidRow] = []
            job_ids: Sequence[int | None] = ids
            if inserted == count:
                self._new += count
            else:
                job_ids, to_send, conflicts = self._resolve(chunk, ids)
                payload = {name: list(compress(column, to_send)) for name, column in payload.items()}
            self._count(payload)
            self._add_valid(chunk, job_ids)
            self._add_invalid((*chunk.invalid, *conflicts))
            self._rows += count + len(chunk.invalid)
            return conflicts

    def plan(self) -> StagedPlan:
        """What a commit would mean. Sees everything added so far; may be asked for more than once."""
        with self._step():
            return StagedPlan(
                rows=self._rows,
                invalid=self._invalid,
                new=self._new,
                edited=self._edited,
                sent=self._unchanged[JobState.SENT],
                rejected=self._unchanged[JobState.REJECTED],
                in_doubt=self._unchanged[JobState.IN_DOUBT],
                pending=self._unchanged[JobState.PENDING],
                by_message=self._top_messages(),
                messages=self._distinct_messages(),
                by_contact_source=self._contact_sources.top(),
                contact_sources=self._contact_sources.distinct,
                default_audience=self._contact_sources.absent,
                immediate=self._dates.absent,
                earliest=self._dates.earliest,
                latest=self._dates.latest,
            )

    def commit(self, *, digest: str) -> int:
        """Makes it all durable, and returns the batch's id.

        That is the id of the newest batch of the same file name, and no batch is added, when the same file is staged
        again and nothing came out differently: same `digest`, same columns, every row the same job, cells and problems.

        Raises:
            LedgerWriteError: nothing was staged; what the ledger held before is still there.
        """
        with self._step():
            batch_id = self._settle_batch(digest)
            self._connection.commit()
            return batch_id

    def _settle_batch(self, digest: str) -> int:
        if self._twin is not None:
            # An edit is something new to say, even where the file is the same and only a default has changed.
            if not self._edited and self._twin.is_same(
                self._connection, batch_id=self._batch_id, digest=digest, row_count=self._rows
            ):
                self._twin.replace(self._connection, batch_id=self._batch_id)
                return self._twin.batch_id
            self._twin.hand_over(self._connection, batch_id=self._batch_id)
        self._connection.execute(
            update(BATCHES).where(BATCHES.c.id == self._batch_id).values(digest=digest, row_count=self._rows)
        )
        return self._batch_id

    def _resolve(self, chunk: JobChunk, ids: range) -> tuple[list[int | None], bytearray, list[InvalidRow]]:
        """For a chunk with known names: the job of each row, whether it is to be sent, and the conflicts."""
        inserted = set(self._connection.scalars(select(JOBS.c.id).where(JOBS.c.id >= ids.start)))
        places = [place for place, job_id in enumerate(ids) if job_id not in inserted]
        resolved = self._names.resolve(chunk, places)
        job_ids: list[int | None] = list(ids)
        to_send = bytearray(b"\x01") * len(ids)
        for place, job_id in resolved.job_ids.items():
            job_ids[place] = job_id
        for place in resolved.settled:
            to_send[place] = 0
        self._new += len(inserted)
        self._edited += len(resolved.edits)
        self._unchanged += resolved.unchanged
        return job_ids, to_send, resolved.conflicts

    def _add_valid(self, chunk: JobChunk, job_ids: Sequence[int | None]) -> None:
        """The rows that stand for a job."""
        others = () if _is_empty(chunk.others) else (chunk.others,)
        cells: Iterable[tuple[Any, ...]] = zip(repeat(self._batch_id), chunk.rows, job_ids, *others, strict=False)
        if not isinstance(job_ids, range):  # there may be conflicts
            cells = (row for row in cells if row[2] is not None)
        into_rows(_VALID_WITH_OTHERS if others else _VALID).run(self._connection, cells)

    def _add_invalid(self, invalid: Iterable[InvalidRow]) -> None:
        rows = [(self._batch_id, one.row, json_text(one.cells), problems_text(one.problems)) for one in invalid]
        into_rows(_INVALID).run(self._connection, rows)
        self._invalid += len(rows)

    def _count(self, payload: Mapping[str, list[Any]]) -> None:
        """Takes jobs that are to be sent into the plan's figures."""
        self._messages.add(payload["published_message_id"])
        self._contact_sources.add(payload["contact_source_id"])
        self._dates.add(payload["scheduled_date"])

    @contextmanager
    def _step(self) -> Iterator[None]:
        """A step that, once it failed, leaves nothing to go on with: what was staged may be undone already."""
        if self._broken:
            raise LedgerError(
                "This staging failed before; nothing of it is kept.", remedy="Run the same command again."
            )
        self._broken = True
        with translated(self._path):
            yield
        self._broken = False

    def _top_messages(self) -> tuple[Share, ...]:
        if not self._messages.overflowed:
            return self._messages.top()
        query = (
            select(_MESSAGE, func.count())
            .select_from(ROWS.join(JOBS))
            .where(*self._to_send())
            .group_by(_MESSAGE)
            .order_by(func.count().desc())
            .limit(TOP_SHARES)
        )
        return tuple(Share(value=value, count=count) for value, count in self._connection.execute(query))

    def _distinct_messages(self) -> int:
        if not self._messages.overflowed:
            return self._messages.distinct
        query = select(func.count(distinct(_MESSAGE))).select_from(ROWS.join(JOBS)).where(*self._to_send())
        return self._connection.execute(query).scalar_one()

    def _to_send(self) -> tuple[ColumnElement[bool], ...]:
        return (ROWS.c.batch_id == self._batch_id, or_(IS_PENDING, IS_IN_DOUBT))


def _is_empty(column: Sequence[object]) -> bool:
    """Whether there is nothing but None in a column."""
    return not any(column) and column.count(None) == len(column)


def _next_id(connection: Connection, column: ColumnElement[int]) -> int:
    return int(connection.execute(select(func.coalesce(func.max(column), 0) + 1)).scalar_one())
