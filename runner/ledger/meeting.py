"""What becomes of a row whose name the ledger knows already: a plain decision, no database.

The name is the job. With the same payload nothing needs to be sent that was not to be sent before; with another payload
the question is whether the old one may have reached anybody. While it surely has not, the newer file is right and its
payload is taken; once it has, or may have, only a person can say what was meant, so the row becomes a problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from runner.ledger.wording import moment
from runner.model import JobState, Problem

NAME_HAS_OTHER_PAYLOAD: Final = "name_has_other_payload"
NAME_TWICE_IN_FILE: Final = "name_twice_in_file"
_VALUE_LIMIT: Final = 200


class Meeting(Enum):
    """What a row means for the job of its name."""

    POINTS = auto()
    """The row stands for the job as it is; the job is finished and stays with the batch that finished it."""
    MOVES = auto()
    """The job is unfinished and goes over to the row's batch as it is."""
    EDITS = auto()
    """The job takes the row's payload, goes over to the row's batch and is pending."""
    CONFLICTS = auto()
    """The row is a problem."""


_SAME_PAYLOAD: Final[Mapping[str, Meeting]] = {
    JobState.PENDING: Meeting.MOVES,
    JobState.IN_DOUBT: Meeting.MOVES,
    JobState.SENT: Meeting.POINTS,
    JobState.REJECTED: Meeting.POINTS,
}
_OTHER_PAYLOAD: Final[Mapping[str, Meeting]] = {
    JobState.PENDING: Meeting.EDITS,
    JobState.IN_DOUBT: Meeting.CONFLICTS,
    JobState.SENT: Meeting.CONFLICTS,
    JobState.REJECTED: Meeting.EDITS,
}


def meet(state: str, *, same_payload: bool) -> Meeting:
    """What a row means for the job of its name that is in `state` (a `JobState`, or its text)."""
    return (_SAME_PAYLOAD if same_payload else _OTHER_PAYLOAD)[state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The job that a conflicting row's name belongs to."""

    state: str
    batch_id: int
    batch_name: str
    row: int
    finished_at: int | None


def other_payload_problem(holder: Holder, *, row: int, column: str | None, name: str) -> Problem:
    """For a row that conflicts with a job that is sent or in doubt."""
    when = f", {moment(holder.finished_at)}" if holder.finished_at is not None else ""
    state = "sent" if holder.state == JobState.SENT else "in doubt: it may have been sent"
    return Problem(
        row=row,
        column=column,
        value=name[:_VALUE_LIMIT],
        rule=(
            f"A job of this name with other contents is in the ledger and {state} "
            f"(batch {holder.batch_id}, {holder.batch_name}, row {holder.row}{when})."
        ),
        remedy="Give the row a new name if it is another send, or put its contents back as they were.",
        code=NAME_HAS_OTHER_PAYLOAD,
    )


def name_twice_problem(*, row: int, column: str | None, name: str) -> Problem:
    """For a row whose name stands in an earlier row of the same batch."""
    return Problem(
        row=row,
        column=column,
        value=name[:_VALUE_LIMIT],
        rule="This name stands in an earlier row of the file.",
        remedy="Give each row a name of its own.",
        code=NAME_TWICE_IN_FILE,
    )
