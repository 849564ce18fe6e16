"""The heart: ten workers send what the bookkeeper has claimed, and each outcome is decided and recorded.

    bookkeeper ──claimed──▶ worklist ──take──▶ worker: client.send ─▶ decide ─▶ result ──▶ bookkeeper ──▶ ledger

A worker keeps a job from claim to result, but between two attempts the job stands in the worklist, so no worker ever
sleeps on one job's behalf. The bookkeeper is a plain task outside the workers' task group: no cancellation reaches
it, not even that of a second Ctrl-C, and it ends when the last result is on disk. Whatever the run leaves unsent goes
back to pending, unless an attempt or an earlier run has put it in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Protocol, assert_never

import anyio
import structlog

from runner.batch.attempted import Attempted
from runner.batch.bookkeeper import Bookkeeper, Books
from runner.batch.decide import RenewToken, RetryAfterSettle, Settle, Step, StopRun, WaitAndRetry, backoff_s, decide
from runner.batch.stops import SIGNALS, TOKEN_REFUSED, Breakers, Stop
from runner.batch.worklist import Worklist
from runner.campaign.slots import HeldSlot, Slots
from runner.errors import ApiError, TokenRefusedError
from runner.ledger.entries import ClaimedJob
from runner.model import JobState, NotConnected, Outcome, Refused, Scenario, SendJob, Unauthorized, Unknown
from runner.settings import Sending

_NOT_PROCESSED: Final = (RenewToken, StopRun, WaitAndRetry)
"""Steps after an attempt that the API surely did nothing about. Tuples, as a union would be made anew for each job."""
_TELLS_NOTHING_OF_TOKEN: Final = (Unauthorized, NotConnected, Unknown)

log = structlog.get_logger()


class Client(Protocol):
    """What the loop needs of the API (`campaign.client.CampaignClient`, or a model of it in tests)."""

    async def send(self, job: SendJob, *, token: str, held: HeldSlot) -> Outcome:
        """Make one request for the job, in the slot that has been taken for it, and give that back.

        What the answer says about the slot the client tells `held` itself: `linger` when the request may still be
        running at the server, `refused` when the server has too many under way.
        """


class TokenSource(Protocol):
    """Where access tokens come from (`campaign.tokens.Tokens`)."""

    async def get(self) -> str:
        """The token to use now."""

    async def renew(self, refused: str) -> str:
        """Another token than the one refused, if there is one to be had."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """What a run has done so far, for whoever shows it. Read at any time from the loop's thread or another."""

    sent: int = 0
    rejected: int = 0
    in_doubt: int = 0
    """Jobs this run has left in doubt for good."""
    waiting: int = 0
    """Jobs that wait for settle, a throttle's end or a connection."""
    attempts: int = 0
    scenarios: Counter[Scenario] = field(default_factory=Counter)
    """How often each scenario was met, attempts that were repeated included."""

    @property
    def settled(self) -> int:
        """Jobs with an outcome in this run."""
        return self.sent + self.rejected + self.in_doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One org's API as a run uses it."""

    client: Client
    tokens: TokenSource
    slots: Slots
    published: Callable[[], Awaitable[frozenset[str]]]
    """Ids of the org's published messages, to tell the two kinds of 403 apart; raises `ApiError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to do with its batch."""

    sending: Sending
    doubts: Sequence[tuple[ClaimedJob, float]] = ()
    """Jobs that earlier runs left in doubt, each with the seconds until it may be tried again."""
    in_doubt: int = 0
    """Jobs of the whole ledger that are in doubt, `doubts` included, since there may only be so many."""
    limit: int | None = None
    """Most jobs to work on in this run; None: all."""


class Loop:
    """One run over the jobs of one batch.

    Args:
        api: where jobs are sent.
        books: the ledger; written by one task only.
        plan: what is to be done.
        breakers: watches the outcomes.
        wall_ms: epoch milliseconds, for the ledger.
        rng: for jitter.
        progress: kept up to date; the caller may show it.
    """

    def __init__(
        self,
        api: Api,
        books: Books,
        plan: Plan,
        *,
        breakers: Breakers,
        wall_ms: Callable[[], int],
        rng: Random,
        progress: Progress,
    ) -> None:
        self._api = api
        self._slots = api.slots
        self._sending = plan.sending
        self._breakers = breakers
        self._wall_ms = wall_ms
        self._rng = rng
        self.progress = progress
        self.stopped: Stop | None = None
        self._doubts = plan.doubts if plan.limit is None else plan.doubts[: plan.limit]
        self._worklist: Worklist[Attempted] = Worklist(on_low=self._running_low)
        self._bookkeeper = Bookkeeper(
            books=books,
            worklist=self._worklist,
            claim_ahead=2 * plan.sending.max_concurrent,
            in_doubt=max(plan.in_doubt, len(plan.doubts)),
            limit=None if plan.limit is None else plan.limit - len(self._doubts),
            on_stop=self.stop,
        )
        # Tokens got because one was refused, and not accepted since: token -> when it was got.
        self._unproven: dict[str, float] = {}
        self._workers: anyio.CancelScope | None = None
        self._waits: set[anyio.CancelScope] = set()
        self._had_token = False
        self._now = asyncio.get_running_loop().time
        self._signals = 0

    def stop(self, stop: Stop) -> None:
        """Stop the run: what is in flight is finished, the rest goes back. A second signal: leave at once."""
        self._signals += stop.code in SIGNALS
        if self.stopped is None:
            self.stopped = stop
            log.warning("run_stopping", code=stop.code, reason=stop.reason)
            self._give_back_the_rest()
            for scope in self._waits:
                scope.cancel()
        elif self._workers is not None and self._signals > 1:
            log.warning("run_leaving_at_once", code=stop.code)
            self._workers.cancel()

    async def run(self) -> None:
        """Work until nothing is left to do, or until stopped; every result is on disk when this returns.

        Raises:
            LedgerWriteError: results could not be written; they were logged, and their jobs are in doubt on disk.
        """
        for claimed, due_in_s in self._doubts:
            self._worklist.add_later(Attempted(claimed=claimed, doubted=True), in_s=due_in_s)
        bookkeeper = asyncio.create_task(self._bookkeeper.keep(), name="bookkeeper")
        bookkeeper.add_done_callback(self._bookkeeper_ended)
        try:
            async with anyio.create_task_group() as group:
                self._workers = group.cancel_scope
                for number in range(self._sending.max_concurrent):
                    group.start_soon(self._work, name=f"worker {number}")
        finally:
            self._workers = None
            self._give_back_the_rest()
            self._bookkeeper.end()
            await _outlasting_cancellation(bookkeeper)
        if self._bookkeeper.write_error is not None:
            raise self._bookkeeper.write_error

    def _bookkeeper_ended(self, _bookkeeper: asyncio.Task[None]) -> None:
        if self._workers is not None:
            self._workers.cancel()  # it failed, and nothing must be sent that nobody records; `run` raises why

    def _running_low(self) -> None:
        self._bookkeeper.running_low()

    def _give_back_the_rest(self) -> None:
        self._bookkeeper.claim_no_more()
        for attempted in self._worklist.close():
            self._bookkeeper.record(attempted.given_back())

    async def _work(self) -> None:
        while (attempted := await self._worklist.take()) is not None:
            try:
                await self._attempt(attempted)
            except BaseException:
                # Left at once, or a fault of ours: a request that had begun may have reached the API.
                attempted.doubted = attempted.doubted or attempted.on_the_wire
                self._bookkeeper.record(attempted.given_back())
                raise
            finally:
                self._worklist.done()
                self.progress.waiting = self._worklist.waiting_until_due

    async def _attempt(self, attempted: Attempted) -> None:
        """Make requests for one job until there is a step that is not to be taken at once."""
        while True:
            token = await self._token()
            held = self._slots.hold()
            if token is None or not await self._slot_taken(held):
                return self._bookkeeper.record(attempted.given_back())
            try:
                outcome = await self._request(attempted, token, held)
            finally:
                held.give_back()
            if isinstance(outcome, Refused) and outcome.scenario is Scenario.FORBIDDEN:
                outcome = await self._told_apart(outcome, attempted.claimed.job)
            step = self._decide(attempted, outcome, token)
            if not isinstance(step, RenewToken):
                return self._follow(attempted, outcome, step)
            if not await self._renewed(step.refused):
                return self._bookkeeper.record(attempted.given_back())

    async def _token(self) -> str | None:
        """The token to use; None when there is none to be had, or the run is stopped while it is waited for."""
        token: str | None = None
        try:
            if self._had_token:  # then it is at hand, but for a moment every few hours
                return await self._api.tokens.get()
            with self._given_up_when_stopped():
                token = await self._api.tokens.get()
                self._had_token = True
        except ApiError as error:
            self.stop(_token_stop(error))
        return token

    @contextlib.contextmanager
    def _given_up_when_stopped(self) -> Iterator[None]:
        """Something waited for before a request: a stop ends the wait, since nothing new is to be begun."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)

    async def _slot_taken(self, held: HeldSlot) -> bool:
        """Wait for the slot; False when the run is stopped meanwhile, so that nothing new is begun."""
        if self._slots.available:
            await held.take()
        elif self.stopped is None:
            with self._given_up_when_stopped():
                await held.take()
        if self.stopped is None:
            return True
        held.give_back()
        return False

    async def _request(self, attempted: Attempted, token: str, held: HeldSlot) -> Outcome:
        if attempted.first_at is None:
            attempted.first_at = attempted.claimed.first_attempt_at or self._wall_ms()
        self.progress.attempts += 1
        attempted.began_at = self._now()
        attempted.on_the_wire = True
        outcome = await self._api.client.send(attempted.claimed.job, token=token, held=held)
        attempted.on_the_wire = False
        return outcome

    def _decide(self, attempted: Attempted, outcome: Outcome, token: str) -> Step:
        attempted.unknown += isinstance(outcome, Unknown)
        step = decide(
            outcome,
            doubted=attempted.doubted,
            attempts=attempted.unknown,
            max_attempts=self._sending.max_attempts,
            token_is_fresh=attempted.began_at >= self._unproven.get(token, math.inf),
        )
        if self._unproven and not isinstance(outcome, _TELLS_NOTHING_OF_TOKEN):
            self._unproven.pop(token, None)
        attempted.doubted = attempted.doubted or isinstance(outcome, Unknown)
        if not isinstance(step, _NOT_PROCESSED):
            attempted.attempts += 1
        if (stop := self._breakers.observe(outcome, step, now=self._now())) is not None:
            self.stop(stop)
        return step

    def _follow(self, attempted: Attempted, outcome: Outcome, step: Step) -> None:
        match step:
            case Settle():
                self._count(step.state)
                self._bookkeeper.record(attempted.settled(outcome, step, now_ms=self._wall_ms()))
            case RetryAfterSettle(scenario=scenario, at_least_s=at_least_s):
                noted = attempted.noted(outcome, scenario, now_ms=self._wall_ms())
                log.info("job_in_doubt", row=attempted.claimed.row, scenario=scenario, message=noted.message)
                self._bookkeeper.record(attempted.given_back())
                if at_least_s:
                    self._worklist.pause(in_s=at_least_s)
                self._again(attempted, in_s=max(self._sending.settle_seconds, at_least_s), on_disk=True)
            case WaitAndRetry(scenario=scenario, at_least_s=at_least_s):
                noted = attempted.noted(outcome, scenario, now_ms=self._wall_ms())
                attempted.waits += 1
                # A Retry-After of 0 gets the backoff too: it would have us ask again as fast as we are refused.
                wait_s = at_least_s or backoff_s(attempted.waits, rng=self._rng)
                log.info("job_waits", row=attempted.claimed.row, scenario=scenario, seconds=round(wait_s, 1))
                if isinstance(outcome, NotConnected):
                    self._worklist.pause(in_s=wait_s)  # another job would meet the same closed door
                self._again(attempted, in_s=wait_s)
            case StopRun():
                self.stop(TOKEN_REFUSED)
                self._bookkeeper.record(attempted.given_back())
            case RenewToken():
                raise AssertionError  # followed where it was decided
            case _:
                assert_never(step)

    def _again(self, attempted: Attempted, *, in_s: float, on_disk: bool = False) -> None:
        if self.stopped is None:
            self._worklist.add_later(attempted, in_s=in_s)
        elif not on_disk:
            self._bookkeeper.record(attempted.given_back())

    async def _renewed(self, refused: str) -> bool:
        token: str | None = None
        if self.stopped is not None:
            return False
        try:
            with self._given_up_when_stopped():
                token = await self._api.tokens.renew(refused)
        except ApiError as error:
            self.stop(_token_stop(error))
        if token is None:
            return False
        # It may be the same once more: the endpoint gives a token again for three hours, and a 401 may have been a
        # slip of the API's. A request begun from now on tells; see `token_is_fresh`.
        self._unproven.setdefault(token, self._now())
        return True

    async def _told_apart(self, outcome: Refused, job: SendJob) -> Refused:
        """Tell the two kinds of 403 apart by the published list (documented outcomes 2 and 7)."""
        try:
            listed = await self._api.published()
        except ApiError as error:
            log.warning("published_list_unavailable", reason=error.what)
            return outcome
        known = job.published_message_id in listed
        scenario = Scenario.USER_NOT_SMS_ENABLED if known else Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG
        return replace(outcome, scenario=scenario)

    def _count(self, state: JobState) -> None:
        if state is JobState.SENT:
            self.progress.sent += 1
        elif state is JobState.REJECTED:
            self.progress.rejected += 1
        else:
            self.progress.in_doubt += 1


def _token_stop(error: ApiError) -> Stop:
    refused = isinstance(error, TokenRefusedError)
    return Stop(
        code="token_refused" if refused else "token_unavailable",
        reason=error.what,
        remedy=error.remedy or "Check the credentials, then `sms-runner resume`.",
    )


async def _outlasting_cancellation(task: asyncio.Task[None]) -> None:
    """Wait for the task however often we are cancelled meanwhile; the cancellation is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled():
        raise cancelled
    task.result()
