"""One request to the org's API: in a slot, within a time, and nothing left to guess about how it ended.

This is the only place that touches the network. An exchange ends in one of four ways, each a type: a whole `Answer`;
a `CutAnswer`, of which the head arrived but not a readable body; `NoAnswer`, after a connection stood, so that the
request may have been carried out; or the model's `NotConnected`. aiohttp's exceptions end here, and nothing is sent a
second time behind our back: redirects are not followed, and aiohttp repeats a request on a connection that turns out
to be closed for the idempotent methods only, of which POST is none.

A request that was given up on may still be running at the server and hold one of the org's ten there. Its slot
therefore lingers: until settle has passed after a time-out, an interrupted request or a 504 (a gateway's time-out:
what is behind it runs on); after a lost connection or a 502 until the slowest send of this run would have been
answered, settle at most.
"""

from __future__ import annotations

import os
import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp
import structlog
from yarl import URL

from runner.campaign.answers import ANSWER_LIMIT, Reading, decompressed, read, retry_after_of
from runner.campaign.deadlines import Deadline, Deadlines
from runner.campaign.network import (
    DNS_CACHE_S,
    KEEPALIVE_S,
    ConnectFailedError,
    Connector,
    failure_text,
    proxy_for,
    tls_context_for,
)
from runner.campaign.scenarios import CREATED, means_slow_down
from runner.model import NotConnected, Scenario

CONNECT_LIMIT_S: Final = 10.0
"""Seconds a connection may take, TLS included; never more than half of the whole time-out, which must not come first:
a time-out while connecting surely sent nothing, and only the connection's own time-out can say that it was one."""
BAD_GATEWAY: Final = 502
GATEWAY_TIMEOUT: Final = 504

_NOT_READ: Final = Reading()

log = structlog.get_logger()


class HeldSlot(Protocol):
    """The right to have one request under way, while it is held."""

    def linger(self, seconds: float) -> None:
        """Keep the slot taken for `seconds` after it is handed back: the request may still be running."""

    def refused(self) -> None:
        """Tell the governor that the server has too many requests under way."""


class SlotSource(Protocol):
    """Where slots come from: ``async with source.hold() as held:`` waits until one is free."""

    def hold(self) -> AbstractAsyncContextManager[HeldSlot]:
        """A slot, from entering to leaving the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes = field(repr=False)
    """Without its compression; may hold a token."""
    retry_after_s: float | None
    latency_ms: float
    """From the moment the slot was held to the end of the answer."""
    reading: Reading = field(repr=False)
    """Its text, for a 4xx or 5xx; empty for all others, whose text nobody needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutAnswer:
    """An answer whose head arrived and whose body did not, or cannot be read."""

    status: int
    why: Scenario
    """timed_out, connection_lost, or unreadable_response (over 1 MiB, or in an unknown compression)."""
    message: str
    retry_after_s: float | None
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No answer, though the connection stood: the request may have been carried out."""

    why: Scenario
    """timed_out or connection_lost."""
    message: str
    latency_ms: float


Ending = Answer | CutAnswer | NoAnswer | NotConnected


class Exchange:
    """Requests to one base URL. An async context manager: its connections live from entering to leaving it.

    Args:
        base_url: from `pods.base_url_of`.
        slots: one is held for each request.
        timeout_s: for a whole request, from the slot to the end of the answer.
        settle_s: after this time a request that was given up on is taken to be over at the server.
        user_agent: for the header of that name.
        environ: where proxy and certificates are looked up, once, on entering.
        wall: seconds since the epoch, for dates in Retry-After.
    """

    def __init__(
        self,
        *,
        base_url: str,
        slots: SlotSource,
        timeout_s: float,
        settle_s: float,
        user_agent: str,
        environ: Mapping[str, str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.base_url: Final = base_url
        self._slots = slots
        self._settle_s = settle_s
        self._slowest_send_s: float | None = None
        self._deadlines = Deadlines(timeout_s)
        self._timeout = aiohttp.ClientTimeout(
            total=None,  # see `deadlines`
            connect=min(CONNECT_LIMIT_S, timeout_s / 2),
            ceil_threshold=float("inf"),  # rounded to whole seconds, the two could fall together
        )
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
        self._environ = os.environ if environ is None else environ
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None
        self._proxy_url: URL | None = None
        self._proxy_headers: Mapping[str, str] | None = None

    async def __aenter__(self) -> Self:
        proxy = proxy_for(self.base_url, self._environ)
        if proxy is not None:
            self._proxy_url, self._proxy_headers = proxy.url, proxy.headers
        tls = tls_context_for(self.base_url, self._environ)
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=DNS_CACHE_S, ssl=True if tls is None else tls
            ),
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a compressed body that is damaged must not cost us the answer's code
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            self._deadlines.close()
            await session.close()

    async def ask(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        slot: AbstractAsyncContextManager[HeldSlot] | None = None,
    ) -> Ending:
        """Make one request in a slot and tell how it ended.

        Raises nothing for whatever the network or the server does; only cancellation comes through.

        Args:
            method: GET or POST.
            url: below the base URL; used as it is.
            headers: besides those all requests have.
            data: the body.
            slot: entered for the request and left after it; None: the next that is free.
        """
        session = self._session
        if session is None:
            raise RuntimeError("used outside its context")
        async with self._slots.hold() if slot is None else slot as held:
            started = time.perf_counter()
            deadline = self._deadlines.start()
            try:
                try:
                    response = await session.request(
                        method,
                        url,
                        headers=headers,
                        data=data,
                        allow_redirects=False,
                        proxy=self._proxy_url,
                        proxy_headers=self._proxy_headers,
                    )
                except CancelledError:
                    if deadline.has_passed():
                        return self._no_answer(TimeoutError(), held, started)
                    raise
                except Exception as error:  # noqa: BLE001 - uvloop and the parser have errors of their own
                    return self._no_answer(error, held, started)
                try:
                    return await self._answer(response, held, started, deadline)
                finally:
                    # Back to the pool if it was read to its end, else closed.
                    response.release()
            except CancelledError:
                held.linger(self._settle_s)
                raise
            finally:
                self._deadlines.end(deadline)

    def _no_answer(self, error: Exception, held: HeldSlot, started: float) -> NoAnswer | NotConnected:
        """From what aiohttp raised before an answer began.

        The connector makes all failures to connect one type; the others named here are those that aiohttp documents
        for that, in case it is not our connector that runs. Everything else may have sent something.
        """
        match error:
            case (
                ConnectFailedError()
                | aiohttp.ClientConnectorError()
                | aiohttp.ConnectionTimeoutError()
                | aiohttp.ClientHttpProxyError()
                | aiohttp.InvalidURL()
            ):
                return NotConnected(message=failure_text(error))
            case TimeoutError():
                held.linger(self._settle_s)
                why, message = Scenario.TIMED_OUT, f"no answer within {self._deadlines.timeout_s:g} s"
            case _:
                held.linger(self._until_answered_s())
                why, message = Scenario.CONNECTION_LOST, failure_text(error)
        return NoAnswer(why=why, message=message, latency_ms=_ms_since(started))

    async def _answer(
        self, response: aiohttp.ClientResponse, held: HeldSlot, started: float, deadline: Deadline
    ) -> Answer | CutAnswer:
        status = response.status
        try:
            # A 101 has no body but a connection that stays open, and 1xx is nothing the API says.
            body = await _read(response.content) if status >= 200 else b""  # noqa: PLR2004 - 1xx
        except CancelledError:
            if not deadline.has_passed():
                raise
            held.linger(self._settle_s)
            return self._cut(response, held, started, Scenario.TIMED_OUT, "the answer did not end in time")
        except Exception as error:  # noqa: BLE001 - not all errors of aiohttp's parser are of its own family
            held.linger(self._until_answered_s())
            why = f"the answer was cut off: {failure_text(error)}"
            return self._cut(response, held, started, Scenario.CONNECTION_LOST, why)
        if body is None:
            held.linger(self._until_answered_s())
            log.warning("answer_oversized", status=status, limit_bytes=ANSWER_LIMIT)
            why = f"the answer is longer than {ANSWER_LIMIT} bytes"
            return self._cut(response, held, started, Scenario.UNREADABLE_RESPONSE, why)
        if encoding := response.headers.get("Content-Encoding"):
            body = decompressed(body, encoding)
            if body is None:
                why = "the answer's compression cannot be read"
                return self._cut(response, held, started, Scenario.UNREADABLE_RESPONSE, why)
        latency_ms = _ms_since(started)
        reading = _NOT_READ
        if status >= 400:  # noqa: PLR2004 - 4xx, 5xx
            reading = read(body, _charset(response))
            self._learn(status, reading.text, held)
        elif status == CREATED:
            self._slowest_send_s = max(self._slowest_send_s or 0.0, latency_ms / 1000)
        return Answer(
            status=status,
            body=body,
            retry_after_s=self._retry_after(response),
            latency_ms=latency_ms,
            reading=reading,
        )

    def _cut(
        self, response: aiohttp.ClientResponse, held: HeldSlot, started: float, why: Scenario, message: str
    ) -> CutAnswer:
        self._learn(response.status, "", held)
        return CutAnswer(
            status=response.status,
            why=why,
            message=message,
            retry_after_s=self._retry_after(response),
            latency_ms=_ms_since(started),
        )

    def _learn(self, status: int, text: str, held: HeldSlot) -> None:
        """What an error says about the slot: too many are in use, or this request may still be running."""
        if means_slow_down(status, text):
            held.refused()
        elif status == GATEWAY_TIMEOUT:
            held.linger(self._settle_s)
        elif status == BAD_GATEWAY:
            held.linger(self._until_answered_s())

    def _until_answered_s(self) -> float:
        # Only accepted sends count as slow: a refusal's quick answer says nothing of how long a send runs.
        return self._settle_s if self._slowest_send_s is None else min(self._settle_s, self._slowest_send_s)

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        value = response.headers.get("Retry-After")
        return None if value is None else retry_after_of(value, now=datetime.fromtimestamp(self._wall(), tz=UTC))


async def _read(content: aiohttp.StreamReader) -> bytes | None:
    """The whole body; None as soon as it is longer than `ANSWER_LIMIT`."""
    # It has mostly come together with the head.
    body = content.read_nowait() if content.is_eof() else await content.readany()
    if content.at_eof():
        return body if len(body) <= ANSWER_LIMIT else None
    parts = [body]
    size = len(body)
    while size <= ANSWER_LIMIT and (part := await content.readany()):
        parts.append(part)
        size += len(part)
    return b"".join(parts) if size <= ANSWER_LIMIT else None


def _charset(response: aiohttp.ClientResponse) -> str | None:
    try:
        return response.charset
    except (ValueError, LookupError):
        return None


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000.0
