"""Between the cells of a claim or a result and the values the send loop works with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.ledger.entries import MESSAGE_LIMIT, ClaimedJob, JobResult
from runner.ledger.wording import json_text
from runner.model import JobState, SendJob


def claimed_job(cells: Sequence[Any], *, doubted: bool) -> ClaimedJob:
    """The claim that has these cells, in the order of `statements.CLAIM`."""
    job_id, row, message_id, name, source, system, reference, date, blocking, folder, attempts, first = cells
    return ClaimedJob(
        job_id=job_id,
        row=row,
        job=SendJob(
            published_message_id=message_id,
            message_name=name,
            contact_source_id=source,
            external_system_name=system,
            external_system_reference_id=reference,
            scheduled_date=date,
            pre_blocking_hours=blocking,
            folder=folder,
        ),
        attempts=attempts,
        first_attempt_at=first,
        doubted=doubted,
    )


def result_cells(result: JobResult, *, run_id: int, now_ms: int) -> tuple[object, ...]:
    """The cells of a result, in the order of `statements.RESULT`.

    Plain text instead of members of an enumeration: the driver would look for an adapter of each.
    """
    doubtful = result.state is JobState.IN_DOUBT
    ended = result.finished_at if result.finished_at is not None else now_ms
    return (
        result.state.value,
        result.attempts,
        result.send_id,
        result.scenario.value if result.scenario is not None else None,
        result.http_status,
        result.message[:MESSAGE_LIMIT] if result.message is not None else None,
        result.evidence.value if result.evidence is not None else None,
        result.first_attempt_at,
        result.finished_at,
        result.latency_ms,
        ended if doubtful else None,
        result.job_id,
        run_id,
    )


def doubt_detail(result: JobResult) -> str:
    """What the history keeps of an attempt whose outcome is unknown; a later answer replaces it in the job itself."""
    return json_text(
        {
            "attempts": result.attempts,
            "scenario": result.scenario,
            "http_status": result.http_status,
            "message": result.message[:MESSAGE_LIMIT] if result.message is not None else None,
            "finished_at": result.finished_at,
        }
    )
