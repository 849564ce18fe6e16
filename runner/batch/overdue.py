"""Jobs of a batch that should have been sent before now: in order when they were checked, late when they are sent."""

from __future__ import annotations

from datetime import datetime

from runner.errors import FileProblemsError
from runner.ledger.entries import BatchInfo
from runner.ledger.store import Ledger
from runner.model import JobState


def refuse_overdue(ledger: Ledger, batch: BatchInfo, *, now: datetime, state: JobState = JobState.PENDING) -> None:
    """See that no job of the batch in `state` has a scheduledDate before `now` (aware).

    Raises:
        FileProblemsError: some have; it names the first of their rows.
    """
    past = ledger.past_dates(batch.batch_id, now=now, state=state)
    if not past.count:
        return
    rows = ", ".join(str(row) for row in past.first_rows)
    raise FileProblemsError(
        f"{past.count:,} {state} {'job' if past.count == 1 else 'jobs'} of batch {batch.batch_id}, {batch.name}, "
        f"should have been sent before now (rows {rows}{', …' if past.count > len(past.first_rows) else ''}).",
        problems=(),
        count=past.count,
        remedy="Nothing was sent. Give those rows a new scheduledDate in the file and send it, or add "
        "--allow-past-date (in Python allow_past_date=True) to send them now.",
    )
