"""Jobs, chunks and results for the ledger's tests, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.ledger.entries import ClaimedJob, JobResult, StagedPlan
from runner.ledger.store import Ledger
from runner.model import ATTRIBUTES, Evidence, InvalidRow, JobChunk, JobState, Problem, Scenario, SendJob

ORG = "acme-eu"
MESSAGE = "0a5c0000-0000-4000-8000-000000000001"
HEADERS = [*ATTRIBUTES, "store"]


def job(name: str, **attributes: Any) -> SendJob:
    return SendJob(
        **{"message_name": name, "published_message_id": MESSAGE, "contact_source_id": 4_000_001, **attributes}
    )


def jobs(*names: str, **attributes: Any) -> list[SendJob]:
    return [job(name, **attributes) for name in names]


def invalid(row: int, *, name: str = "bad", scenario: Scenario | None = None) -> InvalidRow:
    problem = Problem(
        row=row,
        column="contactSourceId",
        value="1e5",
        rule="A contact source is a whole number.",
        remedy="Write it in digits.",
        code="not_an_integer",
        scenario=scenario,
    )
    cells = {"messageName": name, "contactSourceId": "1e5", "store": "Köln"}
    return InvalidRow(row=row, cells=cells, problems=(problem,))


def chunk(staged: Sequence[SendJob], *, first: int = 2, bad: Sequence[InvalidRow] = ()) -> JobChunk:
    columns: dict[str, Any] = {name: [getattr(one, name) for one in staged] for name in ATTRIBUTES.values()}
    rows = list(range(first, first + len(staged)))
    return JobChunk(rows=rows, others=['["Berlin"]'] * len(staged), invalid=list(bad), **columns)


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What a staging came to."""

    batch_id: int
    plan: StagedPlan
    conflicts: list[InvalidRow]


def stage(
    ledger: Ledger,
    *chunks: JobChunk,
    name: str = "campaign.csv",
    digest: str = "digest-1",
    now_ms: int = 1_000,
) -> Staged:
    """Stages the chunks as one file and commits."""
    conflicts = []
    with ledger.staging(
        name=name,
        source=f"/files/{name}",
        headers=HEADERS,
        other_columns=["store"],
        attributes={attribute: attribute for attribute in ATTRIBUTES},
        now_ms=now_ms,
    ) as staging:
        for one in chunks:
            conflicts += staging.add(one)
        plan = staging.plan()
        return Staged(batch_id=staging.commit(digest=digest), plan=plan, conflicts=conflicts)


def sent(claim: ClaimedJob, **fields: Any) -> JobResult:
    return result(
        claim, JobState.SENT, **{"send_id": "4396816", "http_status": 201, "evidence": Evidence.RESPONSE, **fields}
    )


def rejected(claim: ClaimedJob, **fields: Any) -> JobResult:
    given = {
        "scenario": Scenario.CONTACT_SOURCE_NOT_FOUND,
        "http_status": 400,
        "message": "Contact source ID does not exist.",
        **fields,
    }
    return result(claim, JobState.REJECTED, **given)


def in_doubt(claim: ClaimedJob, **fields: Any) -> JobResult:
    return result(claim, JobState.IN_DOUBT, **{"scenario": Scenario.TIMED_OUT, **fields})


def result(claim: ClaimedJob, state: JobState, **fields: Any) -> JobResult:
    given = {
        "attempts": claim.attempts + 1,
        "first_attempt_at": claim.first_attempt_at or 2_000,
        "finished_at": 2_050,
        "latency_ms": 50.125,
        **fields,
    }
    return JobResult(job_id=claim.job_id, state=state, **given)


def start(ledger: Ledger, batch_id: int, *, now_ms: int = 2_000, settle_s: float = 30.0) -> int:
    return ledger.start_run(batch_id, settle_s=settle_s, now_ms=now_ms)


def claim_all(ledger: Ledger, batch_id: int, run_id: int) -> list[ClaimedJob]:
    return ledger.turn(run_id, results=[], batch_id=batch_id, claim=1_000, now_ms=2_000)


def settle(ledger: Ledger, batch_id: int, **states: JobState) -> None:
    """Runs the batch so that each named job ends in the given state (`PENDING`: is left alone)."""
    run_id = start(ledger, batch_id)
    claims = claim_all(ledger, batch_id, run_id)
    makers = {JobState.SENT: sent, JobState.REJECTED: rejected, JobState.IN_DOUBT: in_doubt}
    results, unsent = [], []
    for claim in claims:
        state = states.get(claim.job.message_name, JobState.PENDING)
        if state is JobState.PENDING:
            unsent.append(claim.job_id)
        else:
            results.append(makers[state](claim))
    ledger.turn(run_id, results=results, batch_id=batch_id, claim=0, now_ms=2_100)
    ledger.release(run_id, job_ids=unsent, now_ms=2_100)
    ledger.end_run(run_id, reason="test", exit_code=0, now_ms=2_200)


def history(ledger: Ledger) -> list[tuple[str, str]]:
    """What happened to which job, in order, and the detail."""
    with ledger._database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT what, detail FROM history ORDER BY id").all()
    return [(what, detail) for what, detail in rows]


def owned(ledger: Ledger, batch_id: int) -> list[str]:
    """The names of the pending jobs a run of this batch would claim, in their order."""
    with ledger._database.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT message_name FROM jobs WHERE batch_id = ? AND state = 'pending' ORDER BY row", (batch_id,)
        ).all()
    return [name for (name,) in rows]
