"""A ledger with a batch of which a number of jobs are sent already, made through the ledger's own door.

python -m benchmarks.drivers.full_ledger jobs.csv new.ledger.db 900000
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.drivers.pass_over import ORG, stage
from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger
from runner.model import Evidence, JobState

AT_ONCE = 10_000
"""Far more than a run claims: this ledger is wanted soon, not safely."""


def main(jobs: str, ledger_path: str, done: int) -> None:
    """Stage the file, then claim and record `done` of its jobs as sent."""
    ledger = Ledger.open(Path(ledger_path), org=ORG)
    batch_id = stage(Path(jobs), ledger)
    run_id = ledger.start_run(batch_id, settle_s=0.0, now_ms=_now_ms())
    results: list[JobResult] = []
    while done > 0 or results:
        claimed = ledger.turn(run_id, results=results, batch_id=batch_id, claim=min(done, AT_ONCE), now_ms=_now_ms())
        done -= len(claimed)
        results = [_sent(claim) for claim in claimed]
    ledger.end_run(run_id, reason="finished", exit_code=4, now_ms=_now_ms())
    ledger.close()


def _sent(claim: ClaimedJob) -> JobResult:
    now_ms = _now_ms()
    return JobResult(
        job_id=claim.job_id,
        state=JobState.SENT,
        attempts=1,
        send_id=str(10_000_000 + claim.row),
        http_status=201,
        evidence=Evidence.RESPONSE,
        first_attempt_at=now_ms,
        finished_at=now_ms,
        latency_ms=50.125 + claim.row % 1000 / 100,
    )


def _now_ms() -> int:
    return int(time.time() * 1000)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
