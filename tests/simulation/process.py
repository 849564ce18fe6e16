"""One run as a process: the real loop over the real ledger, its client and tokens models, and it can be killed.

Killed means: from that moment nothing it does reaches the ledger, the server or the slots any more. Its tasks are
cancelled so that they end, but that is tidying up after a ghost, which nobody else sees.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import anyio
from simulation.oddities import Fault, Oddities, Sabotage
from simulation.service import OWN_MESSAGE, Request, Service

from runner.campaign.slots import HeldSlot, Slots
from runner.errors import LedgerWriteError, TokenRefusedError, TokenUnavailableError
from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger
from runner.model import Accepted, JobState, NotConnected, Outcome, Scenario, SendJob, Throttled, Unknown

EPOCH_MS: Final = 1_800_000_000_000


def wall_ms() -> int:
    """Epoch milliseconds in virtual time."""
    return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000)


@dataclass(slots=True, kw_only=True)
class Process:
    """What is common to the parts of one run."""

    number: int
    oddities: Oddities
    rng: Random
    service: Service
    sabotage: Sabotage | None
    broken: Callable[[str], None]
    alive: bool = True
    calm: bool = False
    stop_asked: bool = False
    """The run was asked to stop: no request may begin."""
    has_stopped: Callable[[], bool] = bool
    """Whether the loop has decided to stop itself."""
    doubtful: set[str] = field(default_factory=set)
    """Names that had an attempt whose outcome nobody knows."""
    counts: Counter[str] = field(default_factory=Counter)

    ticks_left: int | None = None
    """So many steps until `when_due` is called."""
    when_due: Callable[[], None] | None = None

    def tick(self) -> None:
        """One step of the run that matters to others; a kill or a signal may come right here."""
        if self.ticks_left is not None and self.when_due is not None:
            self.ticks_left -= 1
            if self.ticks_left == 0:
                self.when_due()

    async def dawdle(self, most_s: float) -> None:
        """Take some time, or none; let others go first now and then."""
        if most_s and self.rng.random() < 0.8:
            await asyncio.sleep(self.rng.uniform(0.0, most_s))
        for _ in range(self.rng.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)


class ProcessBooks:
    """The ledger as this run uses it; takes its time before the commit and after it."""

    def __init__(self, process: Process, ledger: Ledger, *, run_id: int, batch_id: int) -> None:
        self._process = process
        self._ledger = ledger
        self._run_id = run_id
        self._batch_id = batch_id
        self._idle_sign_ms: int | None = None
        self._full_until = 0.0

    async def turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:
        """As the protocol says. A turn that only gives a sign of life is kept in mind until `flush`."""
        process = self._process
        now_ms = wall_ms()
        await process.dawdle(process.oddities.write_s)
        process.tick()
        if not process.alive:
            return []
        if self._is_full():
            raise LedgerWriteError("The disk is full.", remedy="Make room.")
        if not results and not claim:
            self._idle_sign_ms = now_ms
            return []
        if process.sabotage is Sabotage.RESULT_DROPPED and process.rng.random() < 0.3:
            results = results[1:]
        if process.sabotage is Sabotage.CLAIM_NOT_DURABLE:
            return self._claimed_on_credit(results, claim, now_ms)
        claimed = self._ledger.turn(self._run_id, results=results, batch_id=self._batch_id, claim=claim, now_ms=now_ms)
        self._idle_sign_ms = None
        process.counts["turns"] += 1
        process.tick()
        await process.dawdle(process.oddities.write_s)
        return claimed

    def flush(self) -> None:
        """See that the last sign of life is on disk, before anybody reads it."""
        if self._idle_sign_ms is not None:
            self._ledger.beat(self._run_id, now_ms=self._idle_sign_ms)
            self._idle_sign_ms = None

    def _is_full(self) -> bool:
        now = asyncio.get_running_loop().time()
        process = self._process
        if not process.calm and process.rng.random() < process.oddities.p_disk_full:
            self._full_until = now + process.rng.choice((0.5, 3.0, 60.0))
            process.counts["disk_full"] += 1
        return not process.calm and now < self._full_until

    def _claimed_on_credit(self, results: Sequence[JobResult], claim: int, now_ms: int) -> list[ClaimedJob]:
        """Sabotage: what is handed out is put on disk only some time later."""
        claimed = self._ledger.turn(self._run_id, results=results, batch_id=self._batch_id, claim=claim, now_ms=now_ms)
        self._ledger.release(self._run_id, job_ids=[job.job_id for job in claimed], now_ms=now_ms)
        return claimed


class ProcessClient:
    """Makes requests to the model of the server and tells their ends as the real client does, slots included."""

    def __init__(self, process: Process, *, state_on_disk: Callable[[str], str]) -> None:
        self._process = process
        self._state_on_disk = state_on_disk
        self._slowest_s: float | None = None

    async def send(self, job: SendJob, *, token: str, held: HeldSlot) -> Outcome:
        """One request for the job; the promises about beginning one are checked here."""
        process = self._process
        if not process.alive:
            await asyncio.Event().wait()  # a ghost; it is being cancelled
        process.counts["attempts"] += 1
        if process.stop_asked or process.has_stopped():
            process.broken(f"a request for {job.message_name} began after the run was asked to stop")
        if (state := self._state_on_disk(job.message_name)) != JobState.IN_DOUBT:
            process.broken(f"a request for {job.message_name} began while the ledger says {state}")
        fault = self._fault()
        try:
            async with held:
                outcome = await self._ending(job, token, fault, held)
        except asyncio.CancelledError:
            process.doubtful.add(job.message_name)
            raise
        process.tick()
        if isinstance(outcome, Unknown):
            process.doubtful.add(job.message_name)
        return outcome

    def _fault(self) -> Fault | None:
        process = self._process
        if process.calm:
            return None
        for fault, probability in process.oddities.faults.items():
            if process.rng.random() < probability:
                process.counts["faults"] += 1
                return fault
        return None

    async def _ending(self, job: SendJob, token: str, fault: Fault | None, held: HeldSlot) -> Outcome:
        process = self._process
        if fault is Fault.NOT_CONNECTED:
            await asyncio.sleep(process.rng.choice((0.0, 0.01, process.oddities.sending.timeout_seconds / 2)))
            return NotConnected(message="nobody is there")
        request = Request(
            process=process.number,
            job=job,
            token=token,
            fault=fault,
            reply=asyncio.get_running_loop().create_future(),
        )
        outcome = await self._exchanged(request, held)
        if isinstance(outcome, Throttled) or (isinstance(outcome, Unknown) and outcome.http_status == 503):
            held.refused()
        return outcome

    async def _exchanged(self, request: Request, held: HeldSlot) -> Outcome:
        process = self._process
        settle_s = process.oddities.sending.settle_seconds
        began = anyio.current_time()
        process.service.post(request)
        process.tick()
        try:
            async with asyncio.timeout(process.oddities.sending.timeout_seconds):
                outcome = await request.reply
        except TimeoutError:
            self._give_up(request, held, settle_s)
            if process.sabotage is Sabotage.TIMEOUT_IS_FAILURE:
                return NotConnected(message="no answer")
            return Unknown(scenario=Scenario.TIMED_OUT, http_status=None, message="no answer", latency_ms=1.0)
        except asyncio.CancelledError:
            if process.alive:
                self._give_up(request, held, settle_s)
            raise
        match outcome:
            case Accepted():
                self._slowest_s = max(self._slowest_s or 0.0, anyio.current_time() - began)
            case Unknown(scenario=Scenario.CONNECTION_LOST) | Unknown(http_status=502):
                self._give_up(request, held, settle_s if self._slowest_s is None else min(settle_s, self._slowest_s))
            case Unknown(http_status=504):
                self._give_up(request, held, settle_s)
        return outcome

    def _give_up(self, request: Request, held: HeldSlot, at_most_s: float) -> None:
        if self._process.sabotage is not Sabotage.NO_LINGER:
            held.linger(at_most_s)
        self._process.service.given_up(request, at_most_s=at_most_s)


class ProcessTokens:
    """Tokens of this run; one renewal for all who need one, in a slot of its own."""

    def __init__(self, process: Process, slots: Slots, *, token: str | None) -> None:
        self._process = process
        self._slots = slots
        self.token = token
        self._lock = anyio.Lock()

    async def get(self) -> str:
        """The token to use now."""
        await self._process.dawdle(0.0)
        if self.token is None:
            return await self.renew("")
        return self.token

    async def renew(self, refused: str) -> str:
        """Another than the one refused."""
        async with self._lock:
            if self.token is not None and self.token != refused:
                return self.token
            process = self._process
            await _asked_in_a_slot(process, self._slots)
            if not process.calm and process.rng.random() < process.oddities.p_token_trouble:
                process.counts["token_trouble"] += 1
                match process.rng.randrange(3):
                    case 0:
                        raise TokenUnavailableError("The token endpoint keeps failing.")
                    case 1:
                        raise TokenRefusedError("The token endpoint refuses the credentials.")
                    case _:
                        return refused
            self.token = process.service.renewed_token()
            return self.token


class ProcessListing:
    """The published list, asked for in a slot of its own."""

    def __init__(self, process: Process, slots: Slots) -> None:
        self._process = process
        self._slots = slots

    async def __call__(self) -> frozenset[str]:
        """The ids."""
        await _asked_in_a_slot(self._process, self._slots)
        return frozenset({OWN_MESSAGE})


async def _asked_in_a_slot(process: Process, slots: Slots) -> None:
    """A request for a token or the list, which is always answered."""
    if not process.alive:
        await asyncio.Event().wait()
    reply: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with slots.hold() as held:
        request = Request(process=process.number, job=None, token="", fault=None, reply=reply)
        process.service.post(request)
        try:
            await reply
        except asyncio.CancelledError:
            settle_s = process.oddities.sending.settle_seconds
            held.linger(settle_s)
            if process.alive:
                process.service.given_up(request, at_most_s=settle_s)
            raise
