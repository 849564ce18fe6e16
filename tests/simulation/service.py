"""A model of the API: it works on requests whether or not anybody waits for the answer, and counts what matters.

It knows what no client can know: which names were really accepted, and how many requests are really under way. So the
promises are checked here, at every event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import anyio
from simulation.diary import Diary
from simulation.oddities import Fault, NameCheck, Oddities

from runner.model import (
    Accepted,
    NameTaken,
    Outcome,
    Refused,
    Scenario,
    SendJob,
    Throttled,
    Unauthorized,
    Unknown,
)

FOREIGN_MESSAGE = "11111111-1111-4111-8111-111111111111"
OWN_MESSAGE = "22222222-2222-4222-8222-222222222222"
NO_SUCH_SOURCE = 404
ODD_SOURCE = 418


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One request, from the moment it leaves the client to the moment the server is done with it."""

    process: int
    """Whose it is."""
    job: SendJob | None
    """None: a request for a token or for the list."""
    token: str
    fault: Fault | None
    reply: asyncio.Future[Outcome]
    arrived: bool = False
    over: bool = False
    name_free: bool = True
    over_by: float | None = None
    """Loop time by which the server is done, as the client has given it up."""
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, kw_only=True)
class Truth:
    """What really happened."""

    accepted: dict[str, SendJob] = field(default_factory=dict)
    """Name -> what was accepted under it."""
    ids: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    """Names that somebody else used before."""


class Service:
    """The server.

    Args:
        oddities: the world.
        rng: the world's.
        diary: where each event is noted, and each promise that was broken.
    """

    def __init__(self, oddities: Oddities, rng: Random, *, diary: Diary) -> None:
        self._oddities = oddities
        self._rng = rng
        self._diary = diary
        self.truth = Truth()
        self.calm = False
        """From now on everything works."""
        self.user_enabled = oddities.user_enabled
        self.under_way: list[Request] = []
        """What the server is at work on."""
        self.on_the_way: list[Request] = []
        self.most_under_way = 0
        self.token = "token-0"
        self._tokens = 0
        self._last_id = 1000

    # What a client does.

    def post(self, request: Request) -> None:
        """The request leaves the client; it arrives a little later, whatever becomes of the client."""
        self.on_the_way.append(request)
        if request.fault is Fault.LOST_ON_THE_WAY:
            request.timer = self._later(self._rng.uniform(0.0, 0.02), self._lost, request)
        else:
            request.timer = self._later(self._rng.uniform(0.001, 0.01), self._arrived, request)

    def given_up(self, request: Request, *, at_most_s: float) -> None:
        """The client does not wait any more; the server goes on for `at_most_s` seconds at most.

        That much is what the runner takes for granted: the settle time is the configuration's word for it.
        """
        if request.over:
            return
        exactly = self._oddities.exact_settle
        request.over_by = anyio.current_time() + (at_most_s if exactly else self._rng.uniform(0.0, at_most_s))
        self._note("given up on", request, f"over by {request.over_by:.3f}")
        if request.arrived and request.timer is not None:
            request.timer.cancel()
            self._work_until_over(request, request.timer.when() - anyio.current_time())

    def _work_until_over(self, request: Request, work_s: float) -> None:
        if request.over_by is not None:
            left = max(0.0, request.over_by - anyio.current_time())
            work_s = left if self._oddities.exact_settle else min(work_s, left)
        request.timer = self._later(max(0.0, work_s), self._processed, request)

    def process_died(self, process: int, *, settle_s: float) -> None:
        """All its connections break; what is on the way arrives or does not."""
        for request in list(self.on_the_way):
            if request.process == process and self._rng.random() < 0.5:
                self._lost(request)
        for request in [*self.under_way, *self.on_the_way]:
            if request.process == process:
                self.given_up(request, at_most_s=settle_s)

    def renewed_token(self) -> str:
        """The token endpoint's answer."""
        return self.token

    def expire(self) -> None:
        """From now on another token is the right one."""
        self._tokens += 1
        self.token = f"token-{self._tokens}"

    async def quiet(self) -> None:
        """Wait until nothing is under way or on the way."""
        while rest := [*self.under_way, *self.on_the_way]:
            assert rest[0].timer is not None
            await anyio.sleep(rest[0].timer.when() - anyio.current_time() + 0.001)

    def names_at_work(self) -> set[str]:
        """Names of jobs under way or on the way."""
        return {request.job.message_name for request in [*self.under_way, *self.on_the_way] if request.job is not None}

    # What the server does.

    def _lost(self, request: Request) -> None:
        if request in self.on_the_way:
            self.on_the_way.remove(request)
            if request.timer is not None:
                request.timer.cancel()
            request.over = True
            self._note("lost on the way", request)
            _reply(request, _unknown(Scenario.CONNECTION_LOST))

    def _arrived(self, request: Request) -> None:
        if request not in self.on_the_way:
            return
        self.on_the_way.remove(request)
        request.arrived = True
        self.under_way.append(request)
        self._note("arrived", request)
        count = len(self.under_way)
        self.most_under_way = max(self.most_under_way, count)
        limit = self._oddities.sending.max_concurrent
        if count > limit:
            self._diary.broken(f"{count} requests under way at the server, {limit} are allowed")
        work_s = self._rng.uniform(self._oddities.quickest_s, self._oddities.slowest_s)
        if request.job is None:
            self._work_until_over(request, work_s / 10)
        elif (answer := self._quick_answer(request, request.job)) is not None:
            self._refuse(request, answer)
        else:
            name = request.job.message_name
            request.name_free = name not in self.truth.accepted and name not in self.truth.taken
            if request.name_free and self._oddities.name_check is NameCheck.AT_ONCE:
                self._accept(request.job)
            self._work_on(request, work_s)

    def _quick_answer(self, request: Request, job: SendJob) -> Outcome | None:
        """What is answered without any work on the request; None: it is worked on."""
        if not self.calm and self._rng.random() < self._oddities.p_expiry:
            self.expire()
        if request.token != self.token:
            return Unauthorized(token=request.token, message="expired", latency_ms=1.0)
        match request.fault:
            case Fault.THROTTLED:
                after = self._rng.choice((None, None, 0.0, 0.5, 7.0))
                return Throttled(http_status=429, message="too many", retry_after_s=after, latency_ms=1.0)
            case Fault.ERROR_BEFORE:
                return _unknown(Scenario.SERVER_ERROR, status=self._rng.choice((500, 503)))
            case Fault.REDIRECT:
                return _unknown(Scenario.UNRECOGNIZED, status=302)
        return self._refusal(job)

    def _work_on(self, request: Request, work_s: float) -> None:
        match request.fault:
            case Fault.LATE:
                work_s = 10_000.0  # for as long as the client's giving up allows
            case Fault.RESET_MEANWHILE:
                self._later(self._rng.uniform(0.0, work_s), _reply, request, _unknown(Scenario.CONNECTION_LOST))
            case Fault.GATEWAY:
                status = self._rng.choice((502, 504))
                self._later(
                    self._rng.uniform(0.0, work_s), _reply, request, _unknown(Scenario.SERVER_ERROR, status=status)
                )
        self._work_until_over(request, work_s)

    def _processed(self, request: Request) -> None:
        self.under_way.remove(request)
        request.over = True
        if request.job is None:
            _reply(request, Accepted(send_id=None, latency_ms=1.0))
            return
        name = request.job.message_name
        match self._oddities.name_check:
            case NameCheck.AT_ONCE:
                free = request.name_free
            case NameCheck.AT_THE_END:
                free = name not in self.truth.accepted and name not in self.truth.taken
            case NameCheck.SPLIT:
                free = request.name_free
        if free and self._oddities.name_check is not NameCheck.AT_ONCE:
            self._accept(request.job)
        self._note("processed", request, "accepted" if free else "its name is taken")
        self._answer(request, accepted=free)

    def _answer(self, request: Request, *, accepted: bool) -> None:
        assert request.job is not None
        name = request.job.message_name
        match request.fault:
            case Fault.NO_ANSWER:
                return
            case Fault.RESET_AFTER:
                outcome: Outcome = _unknown(Scenario.CONNECTION_LOST)
            case Fault.ERROR_AFTER:
                outcome = _unknown(Scenario.SERVER_ERROR, status=self._rng.choice((500, 503)))
            case _ if not accepted:
                text = f"A SMS with the name: {name} already exists"
                outcome = NameTaken(http_status=400, message=text, latency_ms=1.0)
            case Fault.EMPTY_CREATED:
                outcome = Accepted(send_id=None, latency_ms=1.0)
            case _:
                outcome = Accepted(send_id=self.truth.ids[name], latency_ms=1.0)
        self._later(self._rng.uniform(0.0, 0.01), _reply, request, outcome)

    def _accept(self, job: SendJob) -> None:
        name = job.message_name
        if name in self.truth.accepted:
            self._diary.broken(f"{name} was accepted twice")
        self._last_id += 1
        self.truth.accepted[name] = job
        self.truth.ids[name] = str(self._last_id)

    def _refusal(self, job: SendJob) -> Refused | None:
        if not self.user_enabled or job.published_message_id == FOREIGN_MESSAGE:
            return Refused(scenario=Scenario.FORBIDDEN, http_status=403, message="Forbidden", latency_ms=1.0)
        if job.contact_source_id == NO_SUCH_SOURCE:
            scenario, text = Scenario.CONTACT_SOURCE_NOT_FOUND, "Contact source ID does not exist."
            return Refused(scenario=scenario, http_status=400, message=text, latency_ms=1.0)
        if job.contact_source_id == ODD_SOURCE:
            return Refused(scenario=Scenario.UNRECOGNIZED, http_status=418, message="I am a teapot", latency_ms=1.0)
        return None

    def _refuse(self, request: Request, outcome: Outcome) -> None:
        """Answer without work."""
        self.under_way.remove(request)
        request.over = True
        self._note("refused", request, type(outcome).__name__)
        self._later(self._rng.uniform(0.0, 0.01), _reply, request, outcome)

    def _note(self, what: str, request: Request, more: str = "") -> None:
        name = request.job.message_name if request.job is not None else "token or list"
        fault = f" ({request.fault})" if request.fault else ""
        self._diary.tell(f"run {request.process}: {name}{fault} {what} {more}")

    def _later(self, in_s: float, do: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(in_s, do, *args)


def _reply(request: Request, outcome: Outcome) -> None:
    if not request.reply.done():
        request.reply.set_result(outcome)


def _unknown(scenario: Scenario, *, status: int | None = None) -> Unknown:
    return Unknown(scenario=scenario, http_status=status, message=str(scenario), latency_ms=1.0)
