"""The one who writes: groups, bounds, what is given back, and a ledger that cannot be written."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import anyio
import pytest
from batch.batch_fakes import FakeBooks
from structlog.testing import capture_logs
from structlog.typing import EventDict
from virtual_time import run_virtually

from runner.batch.attempted import Attempted
from runner.batch.bookkeeper import BEAT_S, GROUP_S, MOST_AHEAD, MOST_IN_DOUBT, WRITE_AGAIN_S, WRITE_TRIES, Bookkeeper
from runner.batch.stops import TOO_MANY_IN_DOUBT, Stop
from runner.batch.worklist import Worklist
from runner.errors import LedgerWriteError
from runner.ledger.entries import JobResult
from runner.model import Evidence, JobState


class Desk:
    """A bookkeeper with its worklist, and the stops it called for."""

    def __init__(self, books: FakeBooks, *, claim_ahead: int = 20, in_doubt: int = 0, limit: int | None = None) -> None:
        self.stops: list[Stop] = []
        self.stopped = asyncio.Event()
        self.worklist: Worklist[Attempted] = Worklist(on_low=self._running_low)
        self.keeper = Bookkeeper(
            books=books,
            worklist=self.worklist,
            claim_ahead=claim_ahead,
            in_doubt=in_doubt,
            limit=limit,
            on_stop=self._stop,
        )
        self.task: asyncio.Task[None] | None = None

    def _stop(self, stop: Stop) -> None:
        self.stops.append(stop)
        self.stopped.set()

    def _running_low(self) -> None:
        self.keeper.running_low()

    def start(self) -> None:
        """Let it take its turns."""
        self.task = asyncio.create_task(self.keeper.keep())

    async def end(self) -> None:
        """Have it write what there is, and wait for that."""
        self.keeper.end()
        assert self.task is not None
        await self.task

    async def sent(self, *, worker_s: float = 0.1, state: JobState = JobState.SENT) -> None:
        """Work as a worker does, until there is no more."""
        while (job := await self.worklist.take()) is not None:
            await anyio.sleep(worker_s)
            self.keeper.record(result_of(job.claimed.job_id, state=state))
            self.worklist.done()


def result_of(job_id: int, *, state: JobState = JobState.SENT) -> JobResult:
    return JobResult(job_id=job_id, state=state, attempts=1, send_id="77", evidence=Evidence.RESPONSE)


def test_results_that_come_together_are_one_turn() -> None:
    """A fsync per group, not per job."""

    async def main() -> None:
        books = FakeBooks(10)
        desk = Desk(books)
        desk.start()
        await anyio.sleep(1.0)
        for number in range(1, 11):
            await desk.worklist.take()
            desk.keeper.record(result_of(number))
        turns = len(books.turns)
        await anyio.sleep(GROUP_S + 0.02)
        assert [results for _, results, _ in books.turns[turns:]] == [list(range(1, 11))]
        await desk.end()

    run_virtually(main)


def test_what_is_handed_out_is_in_doubt_on_disk() -> None:
    async def main() -> None:
        books = FakeBooks(50)
        desk = Desk(books)
        desk.start()
        while (job := await desk.worklist.take()) is not None:
            assert books.states[job.claimed.job_id] is JobState.IN_DOUBT
            desk.keeper.record(result_of(job.claimed.job_id))
            desk.worklist.done()
        await desk.end()
        assert books.count(JobState.SENT) == 50

    run_virtually(main)


def test_never_more_than_256_are_in_doubt() -> None:
    """However fast the workers, and though none of the jobs is ever settled."""

    async def main() -> None:
        books = FakeBooks(1000)
        desk = Desk(books, claim_ahead=128)
        desk.start()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(lambda: desk.sent(worker_s=0.001, state=JobState.IN_DOUBT))
            await desk.stopped.wait()
            desk.worklist.close()
        await desk.end()
        assert books.most_in_doubt == MOST_IN_DOUBT
        assert desk.stops == [TOO_MANY_IN_DOUBT]

    run_virtually(main)


def test_what_earlier_runs_left_in_doubt_counts() -> None:
    async def main() -> None:
        books = FakeBooks(100)
        desk = Desk(books, claim_ahead=128, in_doubt=MOST_IN_DOUBT - 3)
        desk.start()
        await anyio.sleep(1.0)
        assert books.count(JobState.IN_DOUBT) == 3
        desk.worklist.close()
        await desk.end()

    run_virtually(main)


@pytest.mark.parametrize("limit", [0, 1, 7, 20, 33])
def test_a_limit_is_kept_and_then_there_is_no_more(limit: int) -> None:
    async def main() -> None:
        books = FakeBooks(40)
        desk = Desk(books, limit=limit)
        desk.start()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(desk.sent)
        await desk.end()
        assert books.count(JobState.SENT) == limit
        assert books.count(JobState.PENDING) == 40 - limit

    run_virtually(main)


def test_a_claim_that_comes_too_late_is_given_back() -> None:
    """Stopped while the turn was being written: what it claimed is pending again, durably."""

    async def main() -> None:
        books = FakeBooks(40, write_s=5.0)
        desk = Desk(books)
        desk.start()
        await anyio.sleep(1.0)
        desk.keeper.claim_no_more()
        assert desk.worklist.close() == []
        await desk.end()
        assert books.count(JobState.PENDING) == 40
        assert books.turns[-1][1], "the claim was made and given back, not never made"

    run_virtually(main)


def test_there_is_a_sign_of_life_while_nothing_happens() -> None:
    async def main() -> None:
        books = FakeBooks(0)
        desk = Desk(books)
        desk.start()
        await anyio.sleep(60.0)
        times = [time for time, _, _ in books.turns]
        assert max(later - time for time, later in pairwise(times)) <= BEAT_S + 0.011
        assert len(times) < 60.0 / BEAT_S + 2, "but no busy writing either"
        await desk.end()

    run_virtually(main)


def test_workers_that_run_dry_are_given_more_at_a_time() -> None:
    async def main() -> None:
        books = FakeBooks(2000, write_s=0.05)
        desk = Desk(books, claim_ahead=20)
        desk.start()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(lambda: desk.sent(worker_s=0.001))
        await desk.end()
        assert 40 < max(claim for _, _, claim in books.turns) <= MOST_AHEAD
        assert books.most_in_doubt <= MOST_IN_DOUBT
        assert books.count(JobState.SENT) == 2000

    run_virtually(main)


def test_what_a_turn_takes_out_of_doubt_makes_room_for_its_claims() -> None:
    async def main() -> None:
        books = FakeBooks(20)
        desk = Desk(books, claim_ahead=8, in_doubt=MOST_IN_DOUBT - 4)
        desk.start()
        taken = [await desk.worklist.take() for _ in range(4)]
        assert books.turns[0][2] == 4
        for job in taken:
            assert job is not None
            desk.keeper.record(result_of(job.claimed.job_id))
        await anyio.sleep(GROUP_S + 0.02)
        assert [(results, claim) for _, results, claim in books.turns[1:]] == [([1, 2, 3, 4], 4)]
        desk.worklist.close()
        await desk.end()

    run_virtually(main)


def test_results_wait_for_a_ledger_that_can_be_written_again() -> None:
    async def main() -> None:
        books = FakeBooks(5)
        desk = Desk(books)
        desk.start()
        await anyio.sleep(1.0)
        books.fails_until = anyio.current_time() + 3.5
        desk.keeper.record(result_of(1))
        await anyio.sleep(1.0)
        assert [stop.code for stop in desk.stops][:1] == ["ledger_not_writable"]
        desk.keeper.record(result_of(2))
        await desk.end()
        assert desk.keeper.write_error is None
        assert books.states[1] is books.states[2] is JobState.SENT

    run_virtually(main)


def test_results_that_cannot_be_written_are_logged_one_by_one() -> None:
    """The ledger holds their jobs as in doubt; what is known beyond that must not be lost with the process."""

    async def main() -> list[EventDict]:
        books = FakeBooks(5)
        desk = Desk(books)
        desk.start()
        await anyio.sleep(1.0)
        books.fails_until = 1e9
        began = anyio.current_time()
        with capture_logs() as logs:
            desk.keeper.record(result_of(1))
            desk.keeper.record(result_of(2))
            await desk.end()
        assert isinstance(desk.keeper.write_error, LedgerWriteError)
        assert (WRITE_TRIES - 1) * WRITE_AGAIN_S <= anyio.current_time() - began < WRITE_TRIES * (WRITE_AGAIN_S + 0.1)
        assert books.count(JobState.IN_DOUBT) == 5
        return [log for log in logs if log["event"] == "result_not_recorded"]

    logs = run_virtually(main)
    assert [(log["job_id"], log["state"], log["id"]) for log in logs] == [(1, "sent", "77"), (2, "sent", "77")]
