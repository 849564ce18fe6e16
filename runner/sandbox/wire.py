"""Answers on the wire, sound ones and broken ones.

A server framework takes care that answers are whole; here some must not be. Each function sends one answer in one
way and returns what the framework asks of a handler. A client that has gone away is no fault of the sandbox: the
framework notices when it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Final

from aiohttp import web

from runner.sandbox.answers import Answer
from runner.sandbox.traffic import Ticket

_CHUNK: Final = b"<!-- the page goes on -->" * 2_048
_CHUNK_PAUSE_S: Final = 0.001
"""Between chunks of a body without end: fast enough to overrun any bound, and leaves the machine to others."""


def whole(answer: Answer) -> web.Response:
    """The answer as it should be."""
    response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    response.headers["Content-Type"] = answer.content_type
    return response


def is_gone(request: web.BaseRequest) -> bool:
    """Whether nobody waits for the answer any more."""
    return request.transport is None or request.transport.is_closing()


def reset(request: web.BaseRequest) -> web.Response:
    """Reset the connection at once: a true RST and not an orderly close. What is returned goes nowhere."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        # Lingering for no time at all is how a socket is told to reset instead of closing in order.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def cut(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Announce the whole body, send half of it, close the connection."""
    response = _announce(answer)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    return response


async def drip(request: web.BaseRequest, answer: Answer, *, ticket: Ticket, over_s: float) -> web.StreamResponse:
    """Send the body a byte at a time, evenly over `over_s` seconds; the request is over with its last byte."""
    response = _announce(answer)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for place in range(len(answer.body) - 1):
            await response.write(answer.body[place : place + 1])
            await asyncio.sleep(over_s / len(answer.body))
        ticket.leave()
        await response.write(answer.body[-1:])
    return response


async def without_end(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send a body that goes on until the client has had enough."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = "text/html"
    response.force_close()
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        while not is_gone(request):
            await response.write(_CHUNK)
            await asyncio.sleep(_CHUNK_PAUSE_S)
    return response


def _announce(answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.headers["Content-Type"] = answer.content_type
    response.content_length = len(answer.body)
    response.force_close()
    return response
