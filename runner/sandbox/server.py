"""The sandbox's server: a Campaign API on a loopback port, with its limit of ten and its token endpoint.

Requests are served by hand on aiohttp's low-level server instead of by a web application, for the sake of two things
no framework should decide here: which requests count towards the ten, and what is left of an answer once a fault has
had its way with it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from runner.errors import ConfigurationError
from runner.sandbox import wire
from runner.sandbox.answers import UNAUTHORIZED, Answer, envelope, error, json_answer, oauth_error, too_many
from runner.sandbox.books import AcceptedSend
from runner.sandbox.catalogue import page_of
from runner.sandbox.faults import FaultKind
from runner.sandbox.grants import Grants
from runner.sandbox.options import SandboxOptions
from runner.sandbox.sends import SendDesk
from runner.sandbox.traffic import Endpoint, SandboxStats, Ticket, Traffic

_LIST_PATH: Final = "/rest/channels/sms/publishedmessages"
_SEND_PATH: Final = re.compile(re.escape(_LIST_PATH) + r"/(?P<id>[^/]*)/sendjobs")
_TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path, no secret
_METHODS: Final = {Endpoint.SEND: "POST", Endpoint.LIST: "GET", Endpoint.TOKEN: "POST"}
_OWN_PATHS: Final = {"/sandbox/accepted": "GET", "/sandbox/stats": "GET", "/sandbox/reset": "POST"}
_PAGE_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_SHUTDOWN_S: Final = 1.0

# aiohttp reports requests it cannot parse to its logger. They must not reach the terminal of a command that happens to
# run a sandbox, unless the command asked for logs.
_LOGGER: Final = logging.getLogger(__name__)
_LOGGER.addHandler(logging.NullHandler())


class Sandbox:
    """A Campaign API on loopback; an async context manager that serves while it is entered.

    Args:
        options: how it behaves.
        clock: seconds since the epoch, for the life of tokens and the time of acceptances.
        gate: while this is not set, requests of the API stay in their work, after their latency. For tests.

    """

    def __init__(
        self,
        options: SandboxOptions | None = None,
        *,
        clock: Callable[[], float] = time.time,
        gate: asyncio.Event | None = None,
    ) -> None:
        self._options = options or SandboxOptions()
        self._clock = clock
        self._gate = gate
        self._traffic = Traffic(limit=self._options.max_concurrent, taken=self._options.taken)
        self._handlers: set[asyncio.Task[object]] = set()
        self._runner: web.ServerRunner | None = None
        self._url: str | None = None
        self.reset()

    @property
    def url(self) -> str:
        """Base URL without a slash at its end; only while it serves.

        Raises:
            RuntimeError: it does not serve.

        """
        if self._url is None:
            raise RuntimeError("the sandbox is not started")
        return self._url

    def accepted(self) -> list[AcceptedSend]:
        """Every acceptance in order; a send that was accepted twice is there twice."""
        return self._sends.books.accepted()

    def stats(self) -> SandboxStats:
        """What has been seen so far."""
        books = self._sends.books
        return self._traffic.stats(accepted=books.accepted_count, accepted_twice=books.accepted_twice_count)

    async def until(self, reached: Callable[[SandboxStats], bool]) -> None:
        """Wait until `reached` is true of the figures; asked when a request comes, goes or is accepted."""
        await self._traffic.until(lambda: reached(self.stats()))

    def reset(self) -> None:
        """Forget names, acceptances, figures and tokens. Requests still at work go on and are accepted in the past."""
        self._traffic.reset()
        self._grants = Grants(
            lifetime_s=self._options.token_lifetime_s, clock=self._clock, on_grant=self._traffic.granted
        )
        self._sends = SendDesk(
            options=self._options, grants=self._grants, traffic=self._traffic, work=self._work, clock=self._clock
        )

    async def start(self) -> str:
        """Begin to serve, and give the base URL. What was accepted before a stop is still known.

        Raises:
            ConfigurationError: the port is taken or may not be used.

        """
        # access_log=None: no log of every request. A handler outlives its client because aiohttp's
        # handler_cancellation is off; it is written down here since the sandbox would be worthless with it on.
        server = web.Server(self._handle, access_log=None, logger=_LOGGER, handler_cancellation=False)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        # The name localhost may mean two addresses, and with port 0 each would get a port of its own.
        host = "127.0.0.1" if self._options.host == "localhost" else self._options.host
        site = web.TCPSite(runner, host, self._options.port)
        try:
            await site.start()
        except OSError as failure:
            await runner.cleanup()
            reason = errno.errorcode.get(failure.errno or 0, "unknown")
            raise ConfigurationError(
                f"The sandbox cannot listen on {host}, port {self._options.port} ({reason}).",
                cause="Another program listens there, or the port may not be used.",
                remedy="Choose another port, or 0 for any free one.",
            ) from failure
        self._runner = runner
        self._url = f"http://[{host}]:{site.port}" if ":" in host else f"http://{host}:{site.port}"
        return self._url

    async def stop(self) -> None:
        """Stop at once: requests at work are dropped where they are, as by a server that is switched off."""
        if self._runner is None:
            return
        runner, self._runner, self._url = self._runner, None, None
        for site in runner.sites:
            await site.stop()
        handlers = tuple(self._handlers)
        for handler in handlers:
            handler.cancel()
        if handlers:
            await asyncio.wait(handlers)
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path in _OWN_PATHS:
            return wire.whole(self._own(request.method, path))
        # The loop knows its tasks by weak references only, and `stop` must find those without a client too.
        handler = asyncio.current_task()
        assert handler is not None  # noqa: S101 - for the type checker: a handler always runs in a task
        self._handlers.add(handler)
        endpoint, published_message_id = _endpoint_of(path)
        ticket, admitted = self._traffic.enter(endpoint)
        try:
            if admitted and request.method == _METHODS.get(endpoint, request.method):
                return await self._serve(request, ticket, endpoint, published_message_id)
            return wire.whole(self._unserved(endpoint, admitted=admitted))
        except (ConnectionError, web.RequestPayloadError):
            # The client left before its request was complete: nothing to process, nobody to tell.
            return web.Response(status=400)
        finally:
            # What is returned is written after this, so no client knows its answer before its slot is free.
            ticket.leave()
            self._handlers.discard(handler)

    async def _serve(
        self, request: web.BaseRequest, ticket: Ticket, endpoint: Endpoint, published_message_id: str
    ) -> web.StreamResponse:
        if endpoint is Endpoint.SEND:
            return await self._sends.serve(request, ticket, published_message_id=published_message_id)
        if endpoint is Endpoint.LIST:
            return wire.whole(await self._list(request, ticket))
        if endpoint is Endpoint.TOKEN:
            return wire.whole(await self._token(request, ticket))
        return wire.whole(error(404, "Not Found"))

    def _unserved(self, endpoint: Endpoint, *, admitted: bool) -> Answer:
        options = self._options
        if not admitted:
            limit, wait = options.max_concurrent, options.retry_after_s
            return too_many(options.throttle_status, limit=limit, retry_after_s=wait)
        return error(405, "Method Not Allowed", headers=(("Allow", _METHODS[endpoint]),))

    async def _list(self, request: web.BaseRequest, ticket: Ticket) -> Answer:
        fault = self._fault(Endpoint.LIST, ticket.number)
        if not self._grants.admits(request.headers.get("Authorization", "")):
            return UNAUTHORIZED
        page = request.query.get("page", "1")
        if _PAGE_NUMBER.fullmatch(page) is None:
            return error(400, "page must be a number from 1.")
        await self._work(Endpoint.LIST, ticket.number)
        entries, more = page_of(self._options.listed, int(page))
        here = self._url if fault is None else "http://elsewhere.invalid"
        following = f"{here}{_LIST_PATH}?page={int(page) + 1}" if more or fault else None
        return json_answer(200, envelope(entries, next_page_url=following))

    async def _token(self, request: web.BaseRequest, ticket: Ticket) -> Answer:
        fault = self._fault(Endpoint.TOKEN, ticket.number)
        content = await request.read()
        await self._work(Endpoint.TOKEN, ticket.number)
        if fault is FaultKind.TOKEN_500:
            return error(500, "Internal Server Error")
        if fault is FaultKind.TOKEN_REFUSED:
            return oauth_error(400, "invalid_grant", "The refresh token is invalid.")
        if fault is FaultKind.TOKEN_LIMITS:
            return oauth_error(400, "access_denied", "Access token limits exceeded")
        if request.content_type != "application/x-www-form-urlencoded":
            return oauth_error(400, "invalid_request", "The body must be form-encoded.")
        if fault is FaultKind.TOKEN_SLOW:
            await asyncio.sleep(self._options.late_s)
        try:
            form = dict(parse_qsl(content.decode("ascii"), keep_blank_values=True, strict_parsing=bool(content)))
        except ValueError:
            return oauth_error(400, "invalid_request", "The body is not form-encoded.")
        return self._grants.answer(form)

    def _fault(self, endpoint: Endpoint, number: int) -> FaultKind | None:
        fault = self._options.faults.play(endpoint, number, seed=self._options.seed)
        if fault is not None:
            self._traffic.played(fault)
        return fault

    async def _work(self, endpoint: Endpoint, number: int) -> None:
        seconds = self._options.work_s(endpoint, number)
        if seconds > 0:
            await asyncio.sleep(seconds)
        if self._gate is not None:
            await self._gate.wait()

    def _own(self, method: str, path: str) -> Answer:
        """Questions about the sandbox itself; they are no requests of the API and count nowhere."""
        if method != _OWN_PATHS[path]:
            return error(405, "Method Not Allowed", headers=(("Allow", _OWN_PATHS[path]),))
        if path == "/sandbox/accepted":
            return json_answer(200, [send.as_json() for send in self.accepted()])
        if path == "/sandbox/reset":
            self.reset()
        return json_answer(200, self.stats().as_json())


def _endpoint_of(path: str) -> tuple[Endpoint, str]:
    """The endpoint of a raw path, and the published message's id in it, percent-decoded."""
    if path == _TOKEN_PATH:
        return Endpoint.TOKEN, ""
    if path == _LIST_PATH:
        return Endpoint.LIST, ""
    match = _SEND_PATH.fullmatch(path)
    return (Endpoint.SEND, unquote(match["id"])) if match else (Endpoint.OTHER, "")
