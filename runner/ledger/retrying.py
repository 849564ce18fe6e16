"""Rejected jobs made pending again, because a person has put right what they were rejected for."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, literal, null, select, update

from runner.ledger.schema import HISTORY, JOBS, LAST_ATTEMPT, ROWS
from runner.ledger.sqlite import json_object
from runner.model import JobState

_REJECTION: Final = ("attempts", "scenario", "http_status", "message", "finished_at")


def make_retryable(connection: Connection, *, batch_id: int | None, scenario: str | None, now_ms: int) -> int:
    """Makes rejected jobs pending, keeps each rejection in the history, and returns how many there were.

    With a batch: the jobs of its rows, and the batch owns them from then on, so that its next run sends them even where
    an earlier batch was the one that met the rejection. Without: all of the ledger, each with the batch that owns it.
    """
    wanted: list[ColumnElement[bool]] = [JOBS.c.state == JobState.REJECTED.value]
    if scenario is not None:
        wanted.append(JOBS.c.scenario == scenario)
    if batch_id is not None:
        wanted += [ROWS.c.batch_id == batch_id, ROWS.c.job_id == JOBS.c.id]
    detail = json_object(*(part for name in _REJECTION for part in (name, JOBS.c[name])))
    rejections = select(JOBS.c.id, literal(now_ms), literal("retried"), detail).where(*wanted)
    connection.execute(insert(HISTORY).from_select(["job_id", "at", "what", "detail"], rejections))
    values: dict[str, object] = {"state": JobState.PENDING.value, **dict.fromkeys(LAST_ATTEMPT, null())}
    if batch_id is not None:
        values |= {"batch_id": batch_id, "row": ROWS.c.row}
    return connection.execute(update(JOBS).where(*wanted).values(values)).rowcount
