"""A ledger in memory and a scripted API, for tests of the send loop in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from runner.campaign.slots import HeldSlot
from runner.errors import LedgerWriteError
from runner.ledger.entries import ClaimedJob, JobResult
from runner.model import Accepted, JobState, Outcome, SendJob

MESSAGE = "22222222-2222-4222-8222-222222222222"


def claimed_job(number: int, *, doubted: bool = False, attempts: int = 0) -> ClaimedJob:
    return ClaimedJob(
        job_id=number,
        row=number + 1,
        job=SendJob(message_name=f"job {number}", published_message_id=MESSAGE),
        attempts=attempts,
        first_attempt_at=None,
        doubted=doubted,
    )


class FakeBooks:
    """Jobs 1 to `jobs`, pending; a turn takes `write_s`."""

    def __init__(self, jobs: int, *, write_s: float = 0.01) -> None:
        self.states = dict.fromkeys(range(1, jobs + 1), JobState.PENDING)
        self.results: dict[int, JobResult] = {}
        self.turns: list[tuple[float, list[int], int]] = []
        """When each began, the jobs of its results, how many were to be claimed."""
        self.most_in_doubt = 0
        self.fails_until = -1.0
        self.error: Exception | None = None
        """Raised by the next turn."""
        self._write_s = write_s

    async def turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:
        """As the ledger does it; refuses a result for what is not claimed."""
        self.turns.append((anyio.current_time(), [result.job_id for result in results], claim))
        await anyio.sleep(self._write_s)
        if self.error is not None:
            raise self.error
        if anyio.current_time() < self.fails_until:
            raise LedgerWriteError("The disk is full.", remedy="Make room.")
        for result in results:
            assert self.states[result.job_id] is JobState.IN_DOUBT, "only what is claimed can have a result"
            self.states[result.job_id] = result.state
            self.results[result.job_id] = result
        pending = [number for number, state in self.states.items() if state is JobState.PENDING]
        claimed = pending[:claim]
        self.states.update(dict.fromkeys(claimed, JobState.IN_DOUBT))
        self.most_in_doubt = max(self.most_in_doubt, self.count(JobState.IN_DOUBT))
        return [claimed_job(number) for number in claimed]

    def count(self, state: JobState) -> int:
        """Jobs in a state."""
        return sum(each is state for each in self.states.values())


class FakeApi:
    """Answers each request by `answer(job name, how many requests for it before)`, after `answer_s`."""

    def __init__(self, answer: Callable[[str, int], Outcome] | None = None, *, answer_s: float = 0.1) -> None:
        self.requests: list[tuple[float, str]] = []
        """When each began, and for which job."""
        self.tokens: list[str] = []
        """With which token each request was made."""
        self.answer = answer or (lambda name, _: Accepted(send_id=name.removeprefix("job "), latency_ms=1.0))
        self._answer_s = answer_s

    async def send(self, job: SendJob, *, token: str, held: HeldSlot) -> Outcome:
        """Take note of the request, and answer as the script says."""
        before = sum(name == job.message_name for _, name in self.requests)
        self.requests.append((anyio.current_time(), job.message_name))
        self.tokens.append(token)
        async with held:
            await anyio.sleep(self._answer_s)
            return self.answer(job.message_name, before)
