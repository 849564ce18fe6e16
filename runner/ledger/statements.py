"""The statements that run once per job, compiled once.

Core spends tens of microseconds on each execution of a statement object and turns every row into a dictionary. Here
the text is taken from it once, and the driver is handed plain tuples in the order that `hot_text` verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)

from runner.ledger.schema import HISTORY, IS_IN_DOUBT, IS_PENDING, JOBS, LAST_ATTEMPT, PAYLOAD, RUNS
from runner.ledger.sqlite import hot_text
from runner.model import JobState

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

RESULT: Final = (*OUTCOME, "job", "run")
"""The cells of a result: what it sets, whose it is, and the run that must have claimed it."""

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

    @cached_property
    def record(self) -> str:
        """Writes a result, cells as in `RESULT`. Touches nothing but what its run has claimed and not recorded yet."""
        statement = (
            update(JOBS)
            .where(JOBS.c.id == bindparam("job"), JOBS.c.run_id == bindparam("run"), IS_IN_DOUBT)
            .ordered_values(*((JOBS.c[name], bindparam(name)) for name in OUTCOME))
        )
        return hot_text(statement, order=RESULT)

    @cached_property
    def claim(self) -> str:
        """Claims the next pending jobs: run, batch, how many at most. Returns rows as in `CLAIM`, in any order."""
        # The offset is there because SQLite's dialect would bind one of its own.
        wanted = (
            select(JOBS.c.id)
            .where(JOBS.c.batch_id == bindparam("batch"), IS_PENDING)
            .order_by(JOBS.c.row)
            .limit(bindparam("claim"))
            .offset(literal_column("0"))
        )
        statement = (
            update(JOBS)
            # Asked of the job once more: of what is found by the index alone, a damaged one may say anything.
            .where(JOBS.c.id.in_(wanted), IS_PENDING)
            .ordered_values(
                (JOBS.c.state, literal_column(f"'{JobState.IN_DOUBT.value}'")), (JOBS.c.run_id, bindparam("run"))
            )
            .returning(*CLAIM)
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


STATEMENTS: Final = Statements()
"""They know no ledger, so one set serves all."""
