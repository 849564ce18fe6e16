"""What follows an attempt: a plain function from outcome and history to the next step, without clock or I/O.

The table stands in the design, section 5. Two rules carry it. An outcome that leaves open whether the API accepted
the job makes the job doubtful, and a doubtful job stays so until the API itself settles it: accepted now, refused
because its name is already there (that was us), or refused with another documented scenario. And a refusal that
processed nothing (throttled, unauthorized, no connection) takes the job back to where it was before the attempt, so
one such refusal does not undo an earlier doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, assert_never

from runner.model import (
    Accepted,
    Evidence,
    JobState,
    NameTaken,
    NotConnected,
    Outcome,
    Refused,
    Scenario,
    Throttled,
    Unauthorized,
    Unknown,
)

BACKOFF_BASE_S: Final = 1.0
BACKOFF_LONGEST_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The job has its final state in this run: record it."""

    state: JobState
    """sent, rejected or in_doubt"""
    scenario: Scenario | None = None
    evidence: Evidence | None = None
    send_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAfterSettle:
    """In doubt: the same name again, once the earlier request is surely over at the server."""

    scenario: Scenario
    at_least_s: float
    """What the server asked for by Retry-After; 0 when it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitAndRetry:
    """Not processed: the same job again after a wait; burns no attempt."""

    scenario: Scenario
    at_least_s: float | None
    """What the server asked for by Retry-After; None: backoff with full jitter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewToken:
    """Not processed: a new token, then the same job again at once."""

    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRun:
    """Not processed, and no other job will fare better: the job goes back, the run stops."""

    scenario: Scenario


Step = Settle | RetryAfterSettle | WaitAndRetry | RenewToken | StopRun


def decide(  # noqa: C901, PLR0911 - a table, one case a row
    outcome: Outcome, *, doubted: bool, attempts: int, max_attempts: int, token_is_fresh: bool
) -> Step:
    """The next step for a job after one attempt.

    Args:
        outcome: what the attempt brought.
        doubted: the job was in doubt before this attempt, from this run or an earlier one.
        attempts: requests of this run for this job whose outcome stayed unknown, this one included.
        max_attempts: how many of those a run may make.
        token_is_fresh: the token of the attempt was itself got because an earlier one was refused, and has never
            been accepted yet.
    """
    match outcome:
        case Accepted(send_id=None):
            return Settle(
                state=JobState.SENT, evidence=Evidence.UNREADABLE_RESPONSE, scenario=Scenario.UNREADABLE_RESPONSE
            )
        case Accepted(send_id=send_id):
            return Settle(state=JobState.SENT, evidence=Evidence.RESPONSE, send_id=send_id)
        case NameTaken() if doubted:
            return Settle(state=JobState.SENT, evidence=Evidence.NAME_EXISTS)
        case NameTaken():
            return Settle(state=JobState.REJECTED, scenario=Scenario.MESSAGE_NAME_NOT_UNIQUE)
        case Refused(scenario=scenario):
            return Settle(state=JobState.REJECTED, scenario=scenario)
        case Unauthorized() if token_is_fresh:
            return StopRun(scenario=Scenario.UNAUTHORIZED)
        case Unauthorized(token=token):
            return RenewToken(refused=token)
        case Throttled(retry_after_s=retry_after_s):
            return WaitAndRetry(scenario=Scenario.THROTTLED, at_least_s=retry_after_s)
        case NotConnected():
            return WaitAndRetry(scenario=Scenario.CONNECTION_FAILED, at_least_s=None)
        case Unknown(scenario=scenario) if attempts >= max_attempts:
            return Settle(state=JobState.IN_DOUBT, scenario=scenario)
        case Unknown(scenario=scenario, retry_after_s=retry_after_s):
            return RetryAfterSettle(scenario=scenario, at_least_s=retry_after_s or 0.0)
        case _:
            assert_never(outcome)


def backoff_s(tries: int, *, rng: Random) -> float:
    """Seconds to wait before try number `tries` + 1: uniform in 0 … min(60, 2^(tries-1)), full jitter.

    Full jitter, since workers refused together would come back together after any fixed wait. A floor of a tenth
    keeps a run of small draws from becoming a busy loop.
    """
    ceiling = min(BACKOFF_LONGEST_S, BACKOFF_BASE_S * 2.0 ** min(tries - 1, 10))
    return max(0.1, rng.uniform(0.0, ceiling))
