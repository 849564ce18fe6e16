"""One claimed job on its way through the workers, and the results it may leave behind."""

from __future__ import annotations

from dataclasses import dataclass

from runner.batch.decide import Settle
from runner.ledger.entries import ClaimedJob, JobResult
from runner.model import JobState, Outcome, Scenario


@dataclass(slots=True, kw_only=True)
class Attempted:
    """A claimed job and what this run has seen of it. Changed only by the worker that has taken it."""

    claimed: ClaimedJob
    doubted: bool
    """An attempt, of this run or an earlier one, may have been accepted."""
    attempts: int = 0
    """Requests of this run that were answered or may have been processed, for the ledger's count."""
    unknown: int = 0
    """Those of them whose outcome stayed unknown, for max_attempts."""
    waits: int = 0
    """Attempts that were surely not processed, for the backoff."""
    first_at: int | None = None
    """When the first request for the job began, epoch milliseconds."""
    began_at: float = 0.0
    """When the latest request began, seconds of the event loop's clock."""
    last: JobResult | None = None
    """What is known from the latest attempt."""
    on_the_wire: bool = False
    """A request has begun and has no outcome yet."""

    def noted(self, outcome: Outcome, scenario: Scenario | None, *, now_ms: int) -> JobResult:
        """What is known of the job after an attempt, as a job in doubt; kept as `last`."""
        self.last = JobResult(
            job_id=self.claimed.job_id,
            state=JobState.IN_DOUBT,
            attempts=self.claimed.attempts + self.attempts,
            scenario=scenario,
            http_status=getattr(outcome, "http_status", None),
            message=outcome.message or None,
            first_attempt_at=self.first_at,
            finished_at=now_ms,
            latency_ms=getattr(outcome, "latency_ms", None),
        )
        return self.last

    def settled(self, outcome: Outcome, step: Settle, *, now_ms: int) -> JobResult:
        """The result of a job that has its final state in this run."""
        return JobResult(
            job_id=self.claimed.job_id,
            state=step.state,
            attempts=self.claimed.attempts + self.attempts,
            send_id=step.send_id,
            scenario=step.scenario,
            http_status=getattr(outcome, "http_status", None),
            message=outcome.message or None,
            evidence=step.evidence,
            first_attempt_at=self.first_at,
            finished_at=now_ms,
            latency_ms=getattr(outcome, "latency_ms", None),
        )

    def given_back(self) -> JobResult:
        """The result of a job this run will not try again: pending, or in doubt if it is that."""
        last = self.last
        return JobResult(
            job_id=self.claimed.job_id,
            state=JobState.IN_DOUBT if self.doubted else JobState.PENDING,
            attempts=self.claimed.attempts + self.attempts,
            scenario=last.scenario if last else None,
            http_status=last.http_status if last else None,
            message=last.message if last else None,
            first_attempt_at=self.first_at or self.claimed.first_attempt_at,
            finished_at=last.finished_at if last else None,
            latency_ms=last.latency_ms if last else None,
        )
