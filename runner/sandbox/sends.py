"""The life of one send request: read, judged, worked on, accepted or not, answered; and where a fault breaks in.

Everything of consequence happens in two steps that nothing can interrupt, since nothing in them awaits. At arrival the
request is judged and, with `name_check="arrival"`, its name reserved. At the end of its work it is accepted. Between
the two lies the latency, and whatever the client does meanwhile changes nothing: neither a closed connection nor a
reset one stops the work.

A job can ask for its own outcome: an externalSystemReferenceId of `sandbox:<scenario>` gets that scenario's answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from runner.model import Scenario
from runner.sandbox import wire
from runner.sandbox.answers import DOCUMENTED, UNAUTHORIZED, Answer, accepted, documented, error, too_many
from runner.sandbox.books import Books
from runner.sandbox.faults import FaultKind, chance
from runner.sandbox.grants import Grants
from runner.sandbox.options import SandboxOptions
from runner.sandbox.rules import Specification, read_specification
from runner.sandbox.traffic import Endpoint, Ticket, Traffic

DIRECTIVE: Final = "sandbox:"
"""How an externalSystemReferenceId that asks for a scenario begins."""

_CREATED: Final = 201
_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n"
)
_EVEN_ODDS: Final = 0.5

_BEFORE: Final[dict[FaultKind, Answer]] = {
    FaultKind.ERROR_500_BEFORE: error(500, "Internal Server Error"),
    FaultKind.ERROR_502_BEFORE: error(502, "Bad Gateway"),
    FaultKind.ERROR_503_BEFORE: error(503, "Service Unavailable"),
    FaultKind.ERROR_504_BEFORE: error(504, "Gateway Time-out"),
    FaultKind.HTML_ERROR: Answer(status=502, body=_PAGE, content_type="text/html"),
    FaultKind.ENDLESS_BODY: Answer(status=500),
}
"""Answers instead of acceptance."""

_AFTER: Final[dict[FaultKind, Answer]] = {
    FaultKind.ERROR_500_AFTER: _BEFORE[FaultKind.ERROR_500_BEFORE],
    FaultKind.ERROR_502_AFTER: _BEFORE[FaultKind.ERROR_502_BEFORE],
    FaultKind.ERROR_503_AFTER: _BEFORE[FaultKind.ERROR_503_BEFORE],
    FaultKind.ERROR_504_AFTER: _BEFORE[FaultKind.ERROR_504_BEFORE],
}
"""Answers in spite of acceptance."""

_SPOILT_201: Final[dict[FaultKind, dict[str, Any]]] = {
    FaultKind.EMPTY_201: {"body": b""},
    FaultKind.GARBLED_201: {"body": b"\x00\xff\xfe\x9c{[\xc3\x28" * 16},
    FaultKind.HUGE_HEADERS: {"headers": (("X-Padding", "x" * 262_144),)},
    FaultKind.ODD_CHARSET: {"content_type": "application/json;charset=klingon-8"},
}
"""What becomes of a 201 on its way."""

_REHEARSED: Final[dict[Scenario, Answer]] = {
    Scenario.FORBIDDEN: error(403, "Forbidden"),
    Scenario.SERVER_ERROR: _BEFORE[FaultKind.ERROR_500_BEFORE],
    Scenario.UNRECOGNIZED: error(409, "The sandbox was asked for an outcome that no table documents."),
}
"""Scenarios outside the documented table that are answers, given each time they are asked for."""

_REHEARSED_ONCE: Final[dict[Scenario, FaultKind]] = {
    Scenario.UNAUTHORIZED: FaultKind.EXPIRE_TOKEN,
    Scenario.THROTTLED: FaultKind.THROTTLE,
    Scenario.TIMED_OUT: FaultKind.LATE_ANSWER,
    Scenario.CONNECTION_LOST: FaultKind.RESET_AFTER,
    Scenario.UNREADABLE_RESPONSE: FaultKind.GARBLED_201,
}
"""Scenarios that are faults, played at the first request of a name only: a retry is answered as it deserves, so that a
rehearsal of these comes to an end."""

REHEARSABLE: Final = frozenset((*DOCUMENTED, *_REHEARSED, *_REHEARSED_ONCE))
"""Every scenario a job can ask for; the one that is missing, connection_failed, happens before there is a request."""


class SendDesk:
    """Serves the send requests of one sandbox.

    Args:
        options: how the sandbox behaves.
        grants: which tokens are good.
        traffic: is told of faults played and of clients that gave up.
        work: awaited as the work of the request of that number.
        clock: seconds since the epoch, for the books.

    """

    def __init__(
        self,
        *,
        options: SandboxOptions,
        grants: Grants,
        traffic: Traffic,
        work: Callable[[Endpoint, int], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self.books = Books()
        self._options = options
        self._grants = grants
        self._traffic = traffic
        self._work = work
        self._clock = clock

    async def serve(self, request: web.BaseRequest, ticket: Ticket, *, published_message_id: str) -> web.StreamResponse:
        """Serve one admitted request; its ticket is given back before the last byte of its answer goes out."""
        reading = read_specification(
            await request.read(),
            content_type=request.content_type.lower(),
            published_message_id=published_message_id,
        )
        fault = self._fault(ticket.number, reading)
        if fault is FaultKind.RESET_BEFORE:
            return wire.reset(request)
        if fault is FaultKind.RESET_DURING:
            wire.reset(request)
        turned_away = self._turned_away(request, fault, ticket.number)
        if turned_away is not None:
            return wire.whole(turned_away)
        instead = _BEFORE.get(fault) if fault else None
        answer = await self._process(instead or self._judge(reading), ticket.number)
        if fault is FaultKind.LATE_ANSWER:
            await asyncio.sleep(self._options.late_s)
        if wire.is_gone(request) and fault is not FaultKind.RESET_DURING:
            self._traffic.gave_up()
        return await self._deliver(request, ticket, fault, answer)

    def _fault(self, number: int, reading: Specification | Answer) -> FaultKind | None:
        """What goes wrong with this request: what the faults want, else what the job itself asks for."""
        fault = self._options.faults.play(Endpoint.SEND, number, seed=self._options.seed)
        if fault is None and isinstance(reading, Specification) and not self.books.is_taken(reading.message_name):
            scenario = _scenario_of(reading)
            wanted = _REHEARSED_ONCE.get(scenario) if isinstance(scenario, Scenario) else None
            if wanted is not None and self.books.meet(wanted, reading.message_name):
                fault = wanted
        if fault is not None:
            self._traffic.played(fault)
        return fault

    def _turned_away(self, request: web.BaseRequest, fault: FaultKind | None, number: int) -> Answer | None:
        """The answer of a request that is not even looked at."""
        if fault is FaultKind.EXPIRE_TOKEN:
            self._grants.revoke_all()
        if fault is FaultKind.THROTTLE:
            obliging = chance(self._options.seed, number, "retry_after") < _EVEN_ODDS
            limit = self._options.max_concurrent
            return too_many(self._options.throttle_status, limit=limit, retry_after_s=1 if obliging else None)
        if fault is FaultKind.REDIRECT:
            return Answer(status=302, headers=(("Location", "https://elsewhere.invalid/login"),))
        if fault is FaultKind.UNAUTHORIZED or not self._grants.admits(request.headers.get("Authorization", "")):
            return UNAUTHORIZED
        return None

    def _judge(self, reading: Specification | Answer) -> Specification | Answer:
        """The request itself, if nothing speaks against it, else the answer that says what does."""
        if isinstance(reading, Answer):
            return reading
        asked = {"published_message_id": reading.published_message_id, "message_name": reading.message_name}
        if self.books.is_taken(reading.message_name):
            return documented(Scenario.MESSAGE_NAME_NOT_UNIQUE, **asked)
        scenario = _scenario_of(reading)
        if isinstance(scenario, Answer):
            return scenario
        if scenario in DOCUMENTED:
            return documented(scenario, **asked)
        return _REHEARSED.get(scenario, reading) if scenario else reading

    async def _process(self, judged: Specification | Answer, number: int) -> Answer:
        """Do the request's work; a sound one is accepted at its end."""
        if isinstance(judged, Specification) and self._options.name_check == "arrival":
            self.books.reserve(judged.message_name)
        await self._work(Endpoint.SEND, number)
        if isinstance(judged, Answer):
            return judged
        send_id = self.books.accept(judged, at=self._clock())
        self._traffic.changed()
        message = f"/rest/channels/sms/publishedmessages/{judged.published_message_id}"
        return accepted(send_id=send_id, location=f"{message}/sendjobs/{send_id}")

    async def _deliver(
        self, request: web.BaseRequest, ticket: Ticket, fault: FaultKind | None, answer: Answer
    ) -> web.StreamResponse:
        """Bring the answer to the client, or what the fault leaves of it."""
        if fault is FaultKind.ENDLESS_BODY:
            return await wire.without_end(request, answer)
        if fault is FaultKind.DRIP:
            return await wire.drip(request, answer, ticket=ticket, over_s=self._options.late_s)
        ticket.leave()
        if fault is FaultKind.RESET_AFTER:
            return wire.reset(request)
        if fault is FaultKind.CUT_201 and answer.status == _CREATED:
            return await wire.cut(request, answer)
        return wire.whole(_spoilt(answer, fault))


def _scenario_of(specification: Specification) -> Scenario | Answer | None:
    """The scenario a job asks for; None: it asks for none; an answer: it asks for one that cannot be had."""
    if not specification.reference.startswith(DIRECTIVE):
        return None
    name = specification.reference.removeprefix(DIRECTIVE)
    if name not in {scenario.value for scenario in REHEARSABLE}:
        known = ", ".join(scenario.value for scenario in Scenario if scenario in REHEARSABLE)
        return error(400, f"The sandbox cannot play the scenario {name!r}. It knows: {known}.")
    return Scenario(name)


def _spoilt(answer: Answer, fault: FaultKind | None) -> Answer:
    """The answer as the fault leaves it. Faults of a 201 leave any other answer as it is."""
    if fault in _AFTER:
        return _AFTER[fault]
    if fault in _SPOILT_201 and answer.status == _CREATED:
        return dataclasses.replace(answer, **_SPOILT_201[fault])
    return answer
