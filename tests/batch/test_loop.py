"""The send loop against a ledger in memory and a scripted API, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import anyio
import pytest
from batch.batch_fakes import MESSAGE, FakeApi, FakeBooks, claimed_job
from virtual_time import run_virtually

from runner.batch.loop import Api, Loop, Plan, Progress
from runner.batch.stops import INTERRUPTED, LIMIT_REACHED, TERMINATED, Breakers
from runner.campaign.slots import Slots
from runner.errors import ApiError, LedgerError, LedgerWriteError, TokenRefusedError
from runner.ledger.entries import ClaimedJob
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
from runner.settings import MaxRejected, Sending

ACCEPTED = Accepted(send_id="1", latency_ms=1.0)
LOST = Unknown(scenario=Scenario.TIMED_OUT, http_status=None, message="no answer", latency_ms=30_000.0)
NAME_TAKEN = NameTaken(http_status=400, message="already exists", latency_ms=1.0)
FORBIDDEN = Refused(scenario=Scenario.FORBIDDEN, http_status=403, message="Forbidden", latency_ms=1.0)


class FakeTokens:
    """Gives `first`, then whatever `renewals` hold; an exception among them is raised."""

    def __init__(self, *renewals: str | ApiError) -> None:
        self.renewed = 0
        self._token = "first"
        self._renewals = list(renewals)

    async def get(self) -> str:
        """The token to use now."""
        return self._token

    async def renew(self, refused: str) -> str:
        """The next one."""
        await anyio.sleep(0.5)
        if self._token == refused:
            self.renewed += 1
            if isinstance(new := self._renewals[0], ApiError):
                raise new
            self._token = self._renewals.pop(0)  # type: ignore[assignment] # the same, and no error
        return self._token


class Bench:
    """A loop with everything around it."""

    def __init__(
        self,
        books: FakeBooks,
        api: FakeApi,
        *,
        tokens: FakeTokens | None = None,
        doubts: list[tuple[ClaimedJob, float]] | None = None,
        limit: int | None = None,
        sending: Sending | None = None,
        published: frozenset[str] | ApiError = frozenset(),
    ) -> None:
        self.books = books
        self.api = api
        self.tokens = tokens or FakeTokens()
        sending = sending or Sending(settle_seconds=30.0)
        self.slots = Slots.in_process(sending.max_concurrent)
        self.asked_for_list = 0
        self._published = published
        self.loop = Loop(
            Api(client=api, tokens=self.tokens, slots=self.slots, published=self._list),
            books,
            Plan(sending=sending, doubts=doubts or [], limit=limit),
            breakers=Breakers(max_rejected=MaxRejected(percent=100), started_at=anyio.current_time()),
            wall_ms=lambda: int(anyio.current_time() * 1000),
            rng=Random(1),  # noqa: S311 - jitter, no secret
            progress=Progress(),
        )

    async def _list(self) -> frozenset[str]:
        self.asked_for_list += 1
        await anyio.sleep(0.1)
        if isinstance(self._published, ApiError):
            raise self._published
        return self._published

    def code(self) -> str | None:
        """Why the loop stopped."""
        return self.loop.stopped.code if self.loop.stopped is not None else None


def run(make: Callable[[], Bench]) -> Bench:
    """Make the bench inside virtual time and run its loop to the end."""

    async def main() -> Bench:
        bench = make()
        await bench.loop.run()
        return bench

    return run_virtually(main)


def test_every_job_is_sent_once_and_ten_at_a_time() -> None:
    bench = run(lambda: Bench(FakeBooks(100), FakeApi()))
    assert sorted(name for _, name in bench.api.requests) == sorted(f"job {number}" for number in range(1, 101))
    assert bench.slots.most_in_use == 10
    assert bench.books.count(JobState.SENT) == 100
    assert bench.books.results[42].send_id == "42"
    assert bench.loop.progress.sent == bench.loop.progress.settled == bench.loop.progress.attempts == 100
    assert bench.loop.stopped is None


def test_a_lost_answer_is_not_a_lost_send() -> None:
    """In doubt on disk at once, the same name again after settle, and the name that exists is taken for ours."""

    async def main() -> Bench:
        bench = Bench(FakeBooks(1), FakeApi(lambda _, before: NAME_TAKEN if before else LOST))
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(5.0)
        assert bench.books.states[1] is JobState.IN_DOUBT
        assert bench.books.results[1].scenario is Scenario.TIMED_OUT
        assert bench.books.results[1].finished_at is not None
        await running
        return bench

    bench = run_virtually(main)
    first, second = (time for time, _ in bench.api.requests)
    assert second - (first + 0.1) >= 30.0
    result = bench.books.results[1]
    assert (result.state, result.evidence, result.attempts) == (JobState.SENT, Evidence.NAME_EXISTS, 2)


def test_an_unknown_outcome_is_tried_max_attempts_times_and_stays_in_doubt() -> None:
    api = FakeApi(lambda *_: LOST)
    bench = run(lambda: Bench(FakeBooks(3), api, sending=Sending(settle_seconds=1.0, max_attempts=4)))
    assert len(api.requests) == 12
    assert bench.books.count(JobState.IN_DOUBT) == 3
    assert bench.loop.progress.in_doubt == 3
    assert bench.books.results[1].attempts == 4


def test_jobs_left_in_doubt_are_tried_when_their_time_has_come() -> None:
    doubts = [(claimed_job(1, doubted=True, attempts=3), 12.0)]

    def make() -> Bench:
        books = FakeBooks(2)
        books.states[1] = JobState.IN_DOUBT
        return Bench(books, FakeApi(lambda name, _: NAME_TAKEN if name == "job 1" else ACCEPTED), doubts=doubts)

    bench = run(make)
    assert [name for _, name in bench.api.requests] == ["job 2", "job 1"]
    assert bench.api.requests[1][0] >= 12.0
    assert bench.books.results[1].evidence is Evidence.NAME_EXISTS
    assert bench.books.results[1].attempts == 4


@pytest.mark.parametrize("refusal", [Throttled(http_status=429, message="", retry_after_s=None, latency_ms=1.0)])
def test_a_throttled_job_waits_and_burns_no_attempt(refusal: Outcome) -> None:
    api = FakeApi(lambda _, before: ACCEPTED if before == 8 else refusal)
    bench = run(lambda: Bench(FakeBooks(1), api, sending=Sending(max_attempts=1)))
    assert bench.books.results[1].state is JobState.SENT
    assert bench.books.results[1].attempts == 1


def test_a_retry_after_of_nothing_does_not_make_us_ask_as_fast_as_we_can() -> None:
    eager = Throttled(http_status=429, message="", retry_after_s=0.0, latency_ms=1.0)
    bench = run(lambda: Bench(FakeBooks(1), FakeApi(lambda _, before: ACCEPTED if before == 12 else eager)))
    assert bench.api.requests[-1][0] > 20.0


def test_a_retry_after_is_obeyed() -> None:
    asked = Throttled(http_status=429, message="", retry_after_s=77.0, latency_ms=1.0)
    bench = run(lambda: Bench(FakeBooks(1), FakeApi(lambda _, before: ACCEPTED if before else asked)))
    assert bench.api.requests[1][0] - bench.api.requests[0][0] >= 77.0


def test_a_throttle_does_not_undo_a_doubt() -> None:
    """Lost, then throttled, then stopped: still in doubt, as the first attempt may have been accepted."""
    throttled = Throttled(http_status=429, message="", retry_after_s=1000.0, latency_ms=1.0)

    async def main() -> Bench:
        bench = Bench(FakeBooks(1), FakeApi(lambda _, before: throttled if before else LOST))
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(60.0)
        assert len(bench.api.requests) == 2
        bench.loop.stop(INTERRUPTED)
        await running
        return bench

    bench = run_virtually(main)
    assert bench.books.states[1] is JobState.IN_DOUBT


def test_without_a_connection_no_other_job_is_tried_meanwhile() -> None:
    """What one job met the next would meet too; and a run that never connects ends with its jobs pending."""
    bench = run(lambda: Bench(FakeBooks(500), FakeApi(lambda *_: NotConnected(message="refused"))))
    assert bench.code() == "never_connected"
    assert bench.books.count(JobState.PENDING) == 500
    assert len(bench.api.requests) < 200


def test_a_refused_token_is_renewed_once_for_all_workers() -> None:
    tokens = FakeTokens("second")
    api = FakeApi()
    expired = Unauthorized(token="first", message="expired", latency_ms=1.0)
    api.answer = lambda *_: ACCEPTED if api.tokens[-1] == "second" else expired
    bench = run(lambda: Bench(FakeBooks(40), api, tokens=tokens))
    assert tokens.renewed == 1
    assert bench.books.count(JobState.SENT) == 40
    assert {result.attempts for result in bench.books.results.values()} == {1}


def test_a_fresh_token_that_is_refused_stops_the_run_with_its_jobs_pending() -> None:
    tokens = FakeTokens("second", "third")
    api = FakeApi()
    api.answer = lambda *_: Unauthorized(token=api.tokens[-1], message="no", latency_ms=1.0)
    bench = run(lambda: Bench(FakeBooks(40), api, tokens=tokens))
    assert bench.code() == "token_refused"
    assert bench.books.count(JobState.PENDING) == 40
    assert len(api.requests) <= 30


def test_no_token_to_be_had_stops_the_run_with_its_jobs_pending() -> None:
    tokens = FakeTokens(TokenRefusedError("The credentials are refused.", remedy="Look at them."))
    api = FakeApi(lambda *_: Unauthorized(token="first", message="", latency_ms=1.0))
    bench = run(lambda: Bench(FakeBooks(40), api, tokens=tokens))
    assert bench.code() == "token_refused"
    assert bench.books.count(JobState.PENDING) == 40


@pytest.mark.parametrize(
    ("published", "scenario"),
    [
        (frozenset({MESSAGE}), Scenario.USER_NOT_SMS_ENABLED),
        (frozenset({"another"}), Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG),
        (ApiError("The list cannot be had."), Scenario.FORBIDDEN),
    ],
)
def test_the_two_kinds_of_403_are_told_apart_by_the_published_list(
    published: frozenset[str] | ApiError, scenario: Scenario
) -> None:
    bench = run(lambda: Bench(FakeBooks(1), FakeApi(lambda *_: FORBIDDEN), published=published))
    assert bench.books.results[1].state is JobState.REJECTED
    assert bench.books.results[1].scenario is scenario
    assert bench.asked_for_list == 1


@pytest.mark.parametrize("limit", [0, 3, 25])
def test_a_limit_leaves_the_rest_pending(limit: int) -> None:
    bench = run(lambda: Bench(FakeBooks(40), FakeApi(), limit=limit))
    assert bench.books.count(JobState.SENT) == limit == len(bench.api.requests)
    assert bench.books.count(JobState.PENDING) == 40 - limit


def test_jobs_in_doubt_count_for_the_limit() -> None:
    doubts = [(claimed_job(number, doubted=True), 1.0) for number in (1, 2, 3)]

    def make() -> Bench:
        books = FakeBooks(10)
        books.states.update(dict.fromkeys((1, 2, 3), JobState.IN_DOUBT))
        return Bench(books, FakeApi(), doubts=doubts, limit=2)

    bench = run(make)
    assert sorted(name for _, name in bench.api.requests) == ["job 1", "job 2"]
    assert bench.books.states[3] is JobState.IN_DOUBT


def test_a_first_signal_finishes_what_is_in_flight_and_begins_nothing() -> None:
    async def main() -> Bench:
        bench = Bench(FakeBooks(100), FakeApi(answer_s=10.0))
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(5.0)
        bench.loop.stop(INTERRUPTED)
        await running
        assert anyio.current_time() < 11.0
        return bench

    bench = run_virtually(main)
    assert len(bench.api.requests) == bench.books.count(JobState.SENT) == 10
    assert bench.books.count(JobState.PENDING) == 90
    assert bench.code() == "interrupted"


def test_a_first_signal_lets_those_go_who_wait_for_a_slot() -> None:
    """Slots that linger for half a minute do not hold up a run that is to end."""

    async def main() -> float:
        bench = Bench(FakeBooks(20), FakeApi())
        for _ in range(10):
            async with bench.slots.hold() as held:
                held.linger(1000.0)
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(5.0)
        bench.loop.stop(INTERRUPTED)
        await running
        assert bench.books.count(JobState.PENDING) == 20
        return anyio.current_time()

    assert run_virtually(main) < 6.0


def test_a_second_signal_leaves_at_once_and_what_was_in_flight_is_in_doubt() -> None:
    async def main() -> Bench:
        bench = Bench(FakeBooks(100), FakeApi(answer_s=1000.0))
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(5.0)
        bench.loop.stop(INTERRUPTED)
        await anyio.sleep(1.0)
        bench.loop.stop(TERMINATED)
        await running
        assert anyio.current_time() < 6.5
        return bench

    bench = run_virtually(main)
    assert bench.books.count(JobState.IN_DOUBT) == 10
    assert bench.books.count(JobState.PENDING) == 90
    assert bench.code() == "interrupted", "the first reason is the one that is told"


def test_a_signal_after_a_stop_for_another_reason_still_lets_the_run_finish() -> None:
    """Only the second signal means: at once."""

    async def main() -> Bench:
        bench = Bench(FakeBooks(100), FakeApi(answer_s=20.0))
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(1.0)
        bench.loop.stop(LIMIT_REACHED)
        bench.loop.stop(INTERRUPTED)
        await running
        return bench

    assert run_virtually(main).books.count(JobState.SENT) == 10


def test_results_are_on_disk_even_if_the_caller_is_cancelled_again_and_again() -> None:
    """No cancellation reaches the bookkeeper; it is raised when all is written."""

    async def main() -> None:
        bench = Bench(FakeBooks(10, write_s=3.0), FakeApi(answer_s=0.5))
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(3.8)  # claimed at 3.0, answered at 3.5
        assert bench.books.count(JobState.SENT) == 0
        for _ in range(5):
            running.cancel()
            await anyio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await running
        assert bench.books.count(JobState.SENT) == 10

    run_virtually(main)


def test_a_ledger_that_cannot_be_written_stops_the_run_and_is_said() -> None:
    async def main() -> Bench:
        bench = Bench(FakeBooks(1000), FakeApi())
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(1.0)
        bench.books.fails_until = 1e9
        sent = len(bench.api.requests)
        with pytest.raises(LedgerWriteError):
            await running
        assert len(bench.api.requests) <= sent + 40, "nothing is begun that could not be recorded"
        return bench

    assert run_virtually(main).code() == "ledger_not_writable"


def test_a_fault_of_the_bookkeeper_ends_the_run_instead_of_standing_still() -> None:
    """And is raised as it is."""

    async def main() -> int:
        bench = Bench(FakeBooks(1000), FakeApi())
        running = asyncio.create_task(bench.loop.run())
        await anyio.sleep(1.0)
        bench.books.error = LedgerError("Somebody else is at work on this ledger.")
        with pytest.raises(LedgerError, match="Somebody else"):
            await running
        return len(bench.api.requests)

    assert run_virtually(main) < 200


def test_a_fault_of_the_client_ends_the_run_and_its_job_is_in_doubt() -> None:
    """A request had begun; nobody can say how far it came."""

    def answer(name: str, _: int) -> Outcome:
        if name == "job 7":
            raise ZeroDivisionError
        return ACCEPTED

    async def main() -> Bench:
        bench = Bench(FakeBooks(30), FakeApi(answer))
        with pytest.raises(ExceptionGroup):
            await bench.loop.run()
        return bench

    books = run_virtually(main).books
    assert books.states[7] is JobState.IN_DOUBT
    assert books.count(JobState.SENT) + books.count(JobState.IN_DOUBT) + books.count(JobState.PENDING) == 30
    assert books.count(JobState.PENDING) >= 10
