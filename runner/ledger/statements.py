"""The statements that run once per job, compiled once.

Core spends tens of microseconds on each execution of a statement object and turns every row into a dictionary. Here
the text is taken from it once, and the driver is handed plain tuples in the order that `hot_text` verified.
Many rows go to one statement. That saves most of what SQLite spends on starting and ending one, and above all the
changes of hands: the driver gives up Python's lock around each step of a statement, and where ten workers are busy on
the event loop's thread, getting it back costs more than the step itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Row,
    Select,
    bindparam,
    column,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
    values,
)

from runner.ledger.schema import HISTORY, IS_IN_DOUBT, IS_PENDING, JOBS, LAST_ATTEMPT, PAYLOAD, RUNS
from runner.ledger.sqlite import Cursor, execute_counted, hot_text, json_rows
from runner.model import JobState

_RESULTS_PER_UPDATE: Final = (8, 64)
_NAMES_PER_QUERY: Final = 250
_NAME: Final = PAYLOAD.index("message_name")

OUTCOME: Final = (
    "state",
    "attempts",
    "send_id",
    "scenario",
    "http_status",
    "message",
    "evidence",
    "first_attempt_at",
    "finished_at",
    "latency_ms",
    "doubt_since",
)
"""Columns that a result sets, in the order of its cells."""

RESULT: Final = ("job", *OUTCOME)
"""The cells of a result: whose it is, and what it sets."""

KNOWN: Final = (
    *(JOBS.c[name] for name in PAYLOAD),
    JOBS.c.id,
    JOBS.c.state,
    JOBS.c.batch_id,
    JOBS.c.row,
    JOBS.c.attempts,
    JOBS.c.scenario,
    JOBS.c.http_status,
    JOBS.c.message,
    JOBS.c.finished_at,
)
"""Columns of a job that a file's row meets again: the payload first."""

CLAIM: Final = (JOBS.c.id, JOBS.c.row, *(JOBS.c[name] for name in PAYLOAD), JOBS.c.attempts, JOBS.c.first_attempt_at)
"""Columns of a claim, in the order of its cells."""

_NO_RESULT: Final = (None,) * len(RESULT)


class Statements:
    """The hot statements; each is compiled when it is first needed. See `STATEMENTS`."""

    @cached_property
    def move(self) -> str:
        """Makes another batch the owner of a job: batch, row, job."""
        statement = (
            update(JOBS)
            .where(JOBS.c.id == bindparam("job"))
            .ordered_values((JOBS.c.batch_id, bindparam("batch")), (JOBS.c.row, bindparam("at_row")))
        )
        return hot_text(statement, order=("batch", "at_row", "job"))

    @cached_property
    def edit(self) -> str:
        """Gives a job another payload and owner and makes it pending: payload, batch, row, job."""
        statement = (
            update(JOBS)
            .where(JOBS.c.id == bindparam("job"))
            .ordered_values(
                *((JOBS.c[name], bindparam(name)) for name in PAYLOAD),
                (JOBS.c.batch_id, bindparam("batch")),
                (JOBS.c.row, bindparam("at_row")),
                (JOBS.c.state, literal_column(f"'{JobState.PENDING.value}'")),
                *((JOBS.c[name], null()) for name in LAST_ATTEMPT),
            )
        )
        return hot_text(statement, order=(*PAYLOAD, "batch", "at_row", "job"))

    def known(self, connection: Connection, names: Sequence[str]) -> dict[str, Row[Any]]:
        """Those of `names` that the ledger has: name -> the columns of `KNOWN`."""
        found: dict[str, Row[Any]] = {}
        for start in range(0, len(names), _NAMES_PER_QUERY):
            asked = tuple(names[start : start + _NAMES_PER_QUERY])
            # The text is for so many names; to ask for one twice does no harm.
            asked += asked[:1] * (_NAMES_PER_QUERY - len(asked))
            found.update((job[_NAME], job) for job in connection.exec_driver_sql(self._known, asked).all())
        return found

    @cached_property
    def _known(self) -> str:
        order = [f"name_{i}" for i in range(_NAMES_PER_QUERY)]
        statement = select(*KNOWN).where(JOBS.c.message_name.in_([bindparam(name) for name in order]))
        return hot_text(statement, order=order)

    @cached_property
    def insert_history(self) -> str:
        """What a job was: job, time, what happened to it, detail."""
        columns = ("job_id", "at", "what", "detail")
        statement = insert(HISTORY).values({name: bindparam(name) for name in columns})
        return hot_text(statement, order=columns)

    def record(self, cursor: Cursor, run_id: int, results: Sequence[tuple[object, ...]]) -> int:
        """Writes results, cells as in `RESULT`; how many. Touches nothing that this run has not claimed."""
        recorded = 0
        for start in range(0, len(results), _RESULTS_PER_UPDATE[-1]):
            group = results[start : start + _RESULTS_PER_UPDATE[-1]]
            size = next(size for size in _RESULTS_PER_UPDATE if size >= len(group))
            # The text is for so many results; one for no job changes nothing.
            cells = [*chain.from_iterable(group), *_NO_RESULT * (size - len(group)), run_id]
            recorded += execute_counted(cursor, self._record[size], cells)
        return recorded

    @cached_property
    def _record(self) -> dict[int, str]:
        return {size: _record_text(size) for size in _RESULTS_PER_UPDATE}

    @cached_property
    def claimable(self) -> str:
        """The jobs that `claim` would claim: batch, how many at most. One JSON text of rows with the cells of `CLAIM`.

        Rows come in any order.
        """
        wanted = _wanted(CLAIM).subquery()
        statement = select(json_rows(wanted.c[column.name] for column in CLAIM))
        return hot_text(statement, order=("batch", "claim"))

    @cached_property
    def claim(self) -> str:
        """Claims for a run: run, batch, how many at most."""
        statement = (
            update(JOBS)
            .where(JOBS.c.id.in_(_wanted([JOBS.c.id])))
            .ordered_values(
                (JOBS.c.state, literal_column(f"'{JobState.IN_DOUBT.value}'")), (JOBS.c.run_id, bindparam("run"))
            )
        )
        return hot_text(statement, order=("run", "batch", "claim"))

    @cached_property
    def beat(self) -> str:
        """A run's sign of life: time, run."""
        statement = update(RUNS).where(RUNS.c.id == bindparam("run")).values(alive_at=bindparam("now"))
        return hot_text(statement, order=("now", "run"))

    @cached_property
    def release(self) -> str:
        """Gives a claim back: job, run. A job that was in doubt before the claim stays in doubt."""
        statement = (
            update(JOBS)
            .where(
                JOBS.c.id == bindparam("job"),
                JOBS.c.run_id == bindparam("run"),
                IS_IN_DOUBT,
                JOBS.c.doubt_since.is_(None),
            )
            .values(state=literal_column(f"'{JobState.PENDING.value}'"))
        )
        return hot_text(statement, order=("job", "run"))

    @cached_property
    def adopt(self) -> str:
        """Takes over a job in doubt: run, job. An unknown end of its attempt is its claimer's last sign of life."""
        sign_of_life = select(RUNS.c.alive_at).where(RUNS.c.id == JOBS.c.run_id).scalar_subquery()
        statement = (
            update(JOBS)
            .where(JOBS.c.id == bindparam("job"), IS_IN_DOUBT)
            .values(run_id=bindparam("run"), doubt_since=func.coalesce(JOBS.c.doubt_since, sign_of_life))
        )
        return hot_text(statement, order=("run", "job"))


def _wanted(columns: Sequence[Column[Any]]) -> Select[Any]:
    """The next pending jobs of a batch, in row order."""
    # The offset is there because SQLite's dialect would bind one of its own.
    return (
        select(*columns)
        .where(JOBS.c.batch_id == bindparam("batch"), IS_PENDING)
        .order_by(JOBS.c.row)
        .limit(bindparam("claim"))
        .offset(literal_column("0"))
    )


def _record_text(size: int) -> str:
    """An update by a table of `size` results: cells as in `RESULT`, one result after the other, then the run."""
    columns = [column("job", BigInteger), *(column(name, JOBS.c[name].type) for name in OUTCOME)]
    rows = [tuple(bindparam(f"{cell.name}_{i}", type_=cell.type) for cell in columns) for i in range(size)]
    results = values(*columns, name="results").data(rows).cte("results")
    statement = (
        update(JOBS)
        .where(JOBS.c.id == results.c.job, JOBS.c.run_id == bindparam("run"), IS_IN_DOUBT)
        .ordered_values(*((JOBS.c[name], results.c[name]) for name in OUTCOME))
    )
    return hot_text(statement, order=[*(f"{name}_{i}" for i in range(size) for name in RESULT), "run"])


STATEMENTS: Final = Statements()
"""They know no ledger, so one set serves all."""
