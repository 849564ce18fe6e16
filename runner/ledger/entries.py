"""The values that pass the ledger's door: claims and results on the hot way, and what readers are told.

They hold no database, so the send loop and the console can be tested with values made by hand.
All times are epoch milliseconds (UTC) and end in `_ms` or `_at`, unless they are `datetime`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runner.model import Balance, Evidence, JobState, Scenario, SendJob

MESSAGE_LIMIT: Final = 500
"""Characters kept of an answer's message."""

TOP_SHARES: Final = 20
"""How many values of an attribute a plan lists by name; the number of distinct ones is told besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job that is durably in doubt for this run: its request may now leave."""

    job_id: int
    row: int
    """The row of the batch that owns the job."""
    job: SendJob
    attempts: int
    """Attempts made so far, in all runs; this claim is not counted yet."""
    first_attempt_at: int | None
    doubted: bool
    """An earlier attempt may have been accepted. Never true for what `turn` hands out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtfulJob:
    """A job that an earlier run left in doubt, and from when its settle time counts."""

    claim: ClaimedJob
    doubt_since_ms: int
    """No request of this job was under way later than this: the end of the last unknown attempt that was recorded, or
    the last sign of life of the run that claimed the job, whichever is later."""
    settle_s: float
    """The settle time of the run that claimed the job, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What one attempt, or the last of several, made of a claimed job."""

    job_id: int
    state: JobState
    """`SENT`, `REJECTED`, `IN_DOUBT`, or `PENDING` where the API has surely not accepted the job."""
    attempts: int
    """Attempts made in all runs, this one included."""
    send_id: str | None = None
    scenario: Scenario | None = None
    http_status: int | None = None
    message: str | None = None
    """Kept up to `MESSAGE_LIMIT` characters."""
    evidence: Evidence | None = None
    first_attempt_at: int | None = None
    finished_at: int | None = None
    """When the attempt ended; needed for `IN_DOUBT` too, as the settle time counts from here."""
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioCount:
    """How many rows of a batch ended alike."""

    state: JobState
    scenario: Scenario | None
    evidence: Evidence | None
    count: int
    message: str | None
    """The message of one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One process that worked on a batch, as it said itself."""

    run_id: int
    batch_id: int
    pid: int
    host: str
    version: str
    started_at: int
    alive_at: int
    """Last sign of life."""
    settle_s: float
    ended_at: int | None
    """None: still at work, or died; only the lock can tell which."""
    end_reason: str | None
    exit_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInfo:
    """One file as it was staged, and where its rows stand now."""

    batch_id: int
    name: str
    """The file's name without its directory."""
    source: str
    digest: str
    """SHA-256 of the file's bytes, in hex."""
    created_at: int
    headers: tuple[str, ...]
    other_columns: tuple[str, ...]
    attributes: dict[str, str]
    """Documented attribute name -> the header that holds it."""
    balance: Balance
    last_run: RunInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDates:
    """Pending jobs whose time to be sent has gone by."""

    count: int
    first_rows: tuple[int, ...]
    """The first of their rows, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many jobs have one value of an attribute, such as one published message."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPlan:
    """What a commit would mean; rows = invalid + new + edited + sent + rejected + in_doubt + pending."""

    rows: int
    invalid: int
    """Rows that failed their checks, conflicts with the ledger among them."""
    new: int
    edited: int
    """Pending or rejected before, now pending with this file's payload."""
    sent: int
    """Known with the same payload and sent already: not sent again. So for the other known ones below."""
    rejected: int
    """Stays rejected until `retry`."""
    in_doubt: int
    """Will be retried under the same name."""
    pending: int

    by_message: tuple[Share, ...]
    """Jobs to send by published message, the most frequent first, at most `TOP_SHARES` of them."""
    messages: int
    """How many distinct published messages there are among the jobs to send."""
    by_contact_source: tuple[Share, ...]
    """The same by contact source; jobs without one are in `default_audience` only."""
    contact_sources: int
    default_audience: int
    """Jobs to send without a contact source: they go to their published message's own one."""
    immediate: int
    """Jobs to send without a scheduled date: sent at once."""
    earliest: datetime | None
    """The earliest scheduled date among the jobs to send, with the offset the file gave; None: no job has one."""
    latest: datetime | None

    @property
    def to_send(self) -> int:
        """Jobs a run of this batch would send: new, edited, pending and in doubt."""
        return self.new + self.edited + self.pending + self.in_doubt
