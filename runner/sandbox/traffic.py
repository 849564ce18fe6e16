"""Who is at the server right now, and who has been: the ten slots, and the figures that tests and people ask for.

A request is here from the moment its headers have arrived until its work is over, whether or not its client still
waits. That is the only count that can convict a runner of going over the limit: one taken at the client would forget
the requests the client gave up on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Endpoint(StrEnum):
    """The kinds of request that count towards the ten."""

    SEND = "sendjobs"
    LIST = "publishedmessages"
    TOKEN = "token"  # noqa: S105 - the name of an endpoint, no secret
    OTHER = "other"
    """a path the API does not have"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStats:
    """What the sandbox has seen since its start or its last reset."""

    requests: dict[str, int]
    """Requests by endpoint, refused ones included."""
    running: int
    """Requests at the server now, whether or not their clients still wait."""
    max_concurrent: int
    """Most requests at the server at once. One that was refused for being too many is counted too, so more than the
    limit here means that the limit was broken."""
    refused: int
    """Requests refused for being too many."""
    given_up: int
    """Send requests whose client was gone by the time their work was over."""
    token_grants: int
    """New access tokens made; a request that was answered with a token still young makes none."""
    faults: dict[str, int]
    """Faults played, by kind."""
    accepted: int
    """Sends accepted; one accepted twice counts as two."""
    accepted_twice: int
    """Names accepted more than once: sends that went out twice."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain data, for `GET /sandbox/stats`."""
        return asdict(self)


class Ticket:
    """One request's presence at the server; given back once its work is over."""

    __slots__ = ("_traffic", "number")

    def __init__(self, traffic: Traffic, number: int) -> None:
        self._traffic: Traffic | None = traffic
        self.number = number
        """Which of the admitted requests of its endpoint this is, from 1."""

    def leave(self) -> None:
        """The request's work is over; a second call does nothing.

        Must be called before the last byte of the answer goes out: a client that acts on the answer at once would
        otherwise meet its own ghost.
        """
        if self._traffic is not None:
            traffic, self._traffic = self._traffic, None
            traffic.left()


class Traffic:
    """Counts requests in and out, and says when one is too many. For one event loop; nothing here awaits."""

    def __init__(self, *, limit: int, taken: int) -> None:
        self._limit = limit - taken
        self._running = 0
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.reset()

    def reset(self) -> None:
        """Forget the past; what is running now goes on and is still counted."""
        self._requests: Counter[Endpoint] = Counter()
        self._admitted: Counter[Endpoint] = Counter()
        self._faults: Counter[str] = Counter()
        self._max_concurrent = self._running
        self._refused = 0
        self._given_up = 0
        self._token_grants = 0

    def enter(self, endpoint: Endpoint) -> tuple[Ticket, bool]:
        """A request has arrived: its ticket, and whether it is admitted; a refused one leaves like any other."""
        self._running += 1
        self._requests[endpoint] += 1
        self._max_concurrent = max(self._max_concurrent, self._running)
        admitted = self._running <= self._limit
        if admitted:
            self._admitted[endpoint] += 1
        else:
            self._refused += 1
        self.changed()
        return Ticket(self, self._admitted[endpoint]), admitted

    def left(self) -> None:
        """A request is over (called by its ticket)."""
        self._running -= 1
        self.changed()

    def gave_up(self) -> None:
        """A client was gone when its answer was ready."""
        self._given_up += 1

    def granted(self) -> None:
        """A new access token was made."""
        self._token_grants += 1

    def played(self, fault: str) -> None:
        """A fault was played."""
        self._faults[fault] += 1

    def stats(self, *, accepted: int, accepted_twice: int) -> SandboxStats:
        """The figures as they are now; the two of the books are handed in."""
        return SandboxStats(
            requests={endpoint.value: self._requests[endpoint] for endpoint in Endpoint},
            running=self._running,
            max_concurrent=self._max_concurrent,
            refused=self._refused,
            given_up=self._given_up,
            token_grants=self._token_grants,
            faults=dict(self._faults),
            accepted=accepted,
            accepted_twice=accepted_twice,
        )

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until `reached()` is true; asked now, and again at every change."""
        if reached():
            return
        waiter = (reached, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            self._waiters.remove(waiter)

    def changed(self) -> None:
        """Something a waiter may be waiting for has happened."""
        for reached, future in self._waiters:
            if not future.done() and reached():
                future.set_result(None)
