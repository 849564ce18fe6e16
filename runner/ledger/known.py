"""Rows of a file whose names the ledger has: looked up, decided about (`meeting`), and the jobs changed accordingly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from runner.ledger.meeting import Holder, Meeting, meet, name_twice_problem, other_payload_problem
from runner.ledger.schema import BATCHES, PAYLOAD
from runner.ledger.statements import STATEMENTS
from runner.ledger.wording import json_text
from runner.model import ATTRIBUTES, InvalidRow, JobChunk, JobState, Problem


@dataclass(slots=True, kw_only=True)
class Resolved:
    """What became of the known names of a chunk."""

    job_ids: dict[int, int | None] = field(default_factory=dict)
    """Place in the chunk -> the job its row stands for; None: the row is a conflict."""
    settled: set[int] = field(default_factory=set)
    """Places in the chunk whose job this batch will not send."""
    unchanged: Counter[str] = field(default_factory=Counter)
    """How many jobs were met with the payload they have, by state."""
    conflicts: list[InvalidRow] = field(default_factory=list)
    moves: list[tuple[object, ...]] = field(default_factory=list)
    edits: list[tuple[object, ...]] = field(default_factory=list)
    history: list[tuple[object, ...]] = field(default_factory=list)


class KnownNames:
    """The jobs that were in the ledger before a staging began, as far as the staging meets them."""

    def __init__(  # the parts of one staging, handed over whole
        self,
        *,
        connection: Connection,
        batch_id: int,
        twin_id: int | None,
        first_new_id: int,
        attributes: dict[str, str],
        other_columns: list[str],
        now_ms: int,
    ) -> None:
        self._connection = connection
        self._batch_id = batch_id
        self._twin_id = twin_id
        self._first_new_id = first_new_id
        self._headers = attributes
        self._other_columns = other_columns
        self._now_ms = now_ms
        # One byte for each job that was there before: whether a row of this batch stands for it already. A set of the
        # ids would need a hundred times that when a file of millions is staged again.
        self._met = bytearray(first_new_id)

    def resolve(self, chunk: JobChunk, places: Sequence[int]) -> Resolved:
        """Decides about the rows at `places`, whose names the ledger has, in their order; carries the decisions out."""
        known = STATEMENTS.known(self._connection, [chunk.message_name[place] for place in places])
        columns = [getattr(chunk, name) for name in PAYLOAD]
        resolved = Resolved()
        for place in places:
            job, row = known[chunk.message_name[place]], chunk.rows[place]
            payload = tuple([column[place] for column in columns])
            if job.id >= self._first_new_id or self._met[job.id]:
                problem = name_twice_problem(row=row, column=self._headers.get("messageName"), name=job.message_name)
                self._conflict(resolved, chunk, place, problem)
                continue
            self._met[job.id] = 1
            meeting = meet(job.state, same_payload=payload == job[: len(PAYLOAD)])
            if meeting is Meeting.CONFLICTS:
                self._conflict(resolved, chunk, place, self._other_payload(job, row=row))
                continue
            resolved.job_ids[place] = job.id
            if meeting is Meeting.EDITS:
                resolved.edits.append((*payload, self._batch_id, row, job.id))
                resolved.history.append((job.id, self._now_ms, "edited", _past(job)))
                continue
            resolved.unchanged[job.state] += 1
            if meeting is Meeting.POINTS:
                resolved.settled.add(place)
            elif (job.batch_id, job.row) != (self._twin_id, row):
                resolved.moves.append((self._batch_id, row, job.id))
        self._carry_out(resolved)
        return resolved

    def _carry_out(self, resolved: Resolved) -> None:
        for text, cells in (
            (STATEMENTS.move, resolved.moves),
            (STATEMENTS.edit, resolved.edits),
            (STATEMENTS.insert_history, resolved.history),
        ):
            if cells:
                self._connection.exec_driver_sql(text, cells)

    def _conflict(self, resolved: Resolved, chunk: JobChunk, place: int, problem: Problem) -> None:
        resolved.job_ids[place] = None
        resolved.settled.add(place)
        resolved.conflicts.append(
            InvalidRow(row=chunk.rows[place], cells=self._cells(chunk, place), problems=(problem,))
        )

    def _other_payload(self, job: Row[Any], *, row: int) -> Problem:
        batch_name = self._connection.scalars(select(BATCHES.c.name).where(BATCHES.c.id == job.batch_id)).one()
        holder = Holder(
            state=job.state,
            batch_id=job.batch_id,
            batch_name=batch_name,
            row=job.row,
            finished_at=job.finished_at,
        )
        return other_payload_problem(holder, row=row, column=self._headers.get("messageName"), name=job.message_name)

    def _cells(self, chunk: JobChunk, place: int) -> dict[str, str]:
        """The row's cells by header, as far as a checked row still tells them; a blank cell is the empty text."""
        cells = {}
        for attribute, header in self._headers.items():
            value = getattr(chunk, ATTRIBUTES[attribute])[place]
            cells[header] = "" if value is None else str(value)
        others = chunk.others[place]
        if others is not None:
            cells.update(zip(self._other_columns, json.loads(others), strict=True))
        return cells


def _past(job: Row[Any]) -> str:
    """What a job was before an edit: its payload, and its rejection if it had one."""
    rejected = ("attempts", "scenario", "http_status", "message", "finished_at")
    return json_text(
        {
            "state": job.state,
            "payload": {attribute: getattr(job, name) for attribute, name in ATTRIBUTES.items()},
            **({name: getattr(job, name) for name in rejected} if job.state == JobState.REJECTED else {}),
        }
    )
