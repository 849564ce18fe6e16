"""A Campaign API that does nothing as fast as it can, so that it is never what is being measured.

No HTTP library: a protocol that finds the end of each request and answers with bytes made ahead. It accepts every
send with the next id and keeps no names, so it can say how many sends there were but not which; a measurement
compares that number with the jobs it sent. With a latency it answers each send that long after the request's last
byte; timers and a busy machine make it some tenths of a millisecond longer, so the real latency is counted too.

    POST /oauth/token                    a token that lives four hours
    GET  …/publishedmessages             an empty list
    POST …/publishedmessages/ID/sendjobs 201
    GET  /stub/stats                     what has been counted, as JSON
    POST /stub/reset?latency_ms=50       counts from nothing, with this latency

Its clock is CLOCK_MONOTONIC, which all processes of a machine share; that is how a benchmark knows the time from the
start of a process to its first send.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import orjson
import uvloop

FIRST_ID = 10_000_000
"""Ids have eight digits, so that all answers have the same length."""
HEAD_END = b"\r\n\r\n"


def _answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


_SENT = _answer(
    b"201 Created",
    b'{"meta":{"attributes":{},"generalErrors":[],"fieldErrors":{},"links":{},"nextPageUrl":null},'
    b'"data":{"location":"/rest/channels/sms/sendjobs/%d","id":%d}}' % (FIRST_ID, FIRST_ID),
).replace(b"%d" % FIRST_ID, b"%d")
_TOKEN = _answer(b"200 OK", b'{"access_token":"stub-token","token_type":"bearer","expires_in":14400}')
_LIST = _answer(b"200 OK", b'{"meta":{"nextPageUrl":null},"data":[]}')
_NOT_FOUND = _answer(b"404 Not Found", b"{}")
_LENGTH_REQUIRED = _answer(b"411 Length Required", b"{}")


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the stub has seen since it was last reset; times in ns of CLOCK_MONOTONIC, 0 for never."""

    latency_ms: float = 0.0
    sends: int = 0
    send_bytes: int = 0
    """Bytes of the bodies of all sends, by which two clients can be shown to do the same posts."""
    tokens: int = 0
    others: int = 0
    connections: int = 0
    under_way: int = 0
    """Sends that have arrived and are not answered."""
    most_under_way: int = 0
    first_send_ns: int = 0
    last_send_ns: int = 0
    """When the last send arrived."""
    last_answer_ns: int = 0
    held_ns: int = 0
    """From arrival to answer, over all sends: the latency as it really was."""


class Stub:
    """The counts and the latency that all connections share."""

    def __init__(self, latency_ms: float = 0.0) -> None:
        self.counts = Counts(latency_ms=latency_ms)
        self._loop = asyncio.get_running_loop()

    def reset(self, query: bytes) -> bytes:
        """Begin to count anew; with the latency that stands in the query."""
        name, _, value = query.partition(b"=")
        self.counts = Counts(latency_ms=float(value) if name == b"latency_ms" else 0.0)
        return self.stats()

    def stats(self) -> bytes:
        """The answer that tells the counts."""
        return _answer(b"200 OK", orjson.dumps(asdict(self.counts)))

    def send(self, body_bytes: int, transport: asyncio.Transport) -> None:
        """Take one send and answer it, now or when the latency is over."""
        counts = self.counts
        now = time.monotonic_ns()
        if not counts.sends:
            counts.first_send_ns = now
        send_id = FIRST_ID + counts.sends
        counts.sends += 1
        counts.send_bytes += body_bytes
        counts.last_send_ns = now
        counts.under_way += 1
        counts.most_under_way = max(counts.most_under_way, counts.under_way)
        if counts.latency_ms:
            self._loop.call_later(counts.latency_ms / 1000, self._answer_send, counts, now, send_id, transport)
        else:
            counts.under_way -= 1
            transport.write(_SENT % (send_id, send_id))
            counts.last_answer_ns = now

    def _answer_send(self, counts: Counts, arrived_ns: int, send_id: int, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            transport.write(_SENT % (send_id, send_id))
        now = time.monotonic_ns()
        counts.under_way -= 1
        counts.held_ns += now - arrived_ns
        counts.last_answer_ns = now


class Connection(asyncio.Protocol):
    """One client's connection, kept alive."""

    __slots__ = ("_rest", "_stub", "_transport")

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own type is registered nowhere
        self._stub.counts.connections += 1

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole; keep the rest."""
        if self._rest:
            data = self._rest + data
        while (end := data.find(HEAD_END)) >= 0:
            head = data[:end]
            length = _body_bytes(head)
            if length < 0:
                self._transport.write(_LENGTH_REQUIRED)
                self._transport.close()
                return
            whole = end + len(HEAD_END) + length
            if len(data) < whole:
                break
            self._answer(head, length)
            data = data[whole:]
        self._rest = data

    def _answer(self, head: bytes, length: int) -> None:
        line = head[: head.find(b"\r\n")]
        if line.startswith(b"POST /rest/") and b"/sendjobs " in line:
            self._stub.send(length, self._transport)
        else:
            self._transport.write(self._other(line))

    def _other(self, line: bytes) -> bytes:
        method, path, _ = line.split(b" ", 2)
        path, _, query = path.partition(b"?")
        if path == b"/stub/stats":
            return self._stub.stats()
        if path == b"/stub/reset" and method == b"POST":
            return self._stub.reset(query)
        if path == b"/oauth/token" and method == b"POST":
            self._stub.counts.tokens += 1
            return _TOKEN
        self._stub.counts.others += 1
        return _LIST if method == b"GET" and path.endswith(b"/publishedmessages") else _NOT_FOUND


def _body_bytes(head: bytes) -> int:
    """Content-Length; 0 without one, -1 for a body of unknown length."""
    start = head.find(b"\r\nContent-Length: ")
    if start < 0:
        head = head.lower()
        if b"\r\ntransfer-encoding:" in head:
            return -1
        start = head.find(b"\r\ncontent-length: ")
        if start < 0:
            return 0
    start += 18
    end = head.find(b"\r\n", start)
    return int(head[start:] if end < 0 else head[start:end])


async def serve(*, port: int, latency_ms: float, ends_with_input: bool) -> None:
    """Serve until killed, or until standard input ends, which is when the process that started this one is gone."""
    loop = asyncio.get_running_loop()
    stub = Stub(latency_ms)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    over = asyncio.Event()
    if ends_with_input:
        loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


def main() -> None:
    """Read the flags, print the port, serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0, help="default: any that is free; it is printed")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--ends-with-input", action="store_true", help="stop when standard input is closed")
    options = parser.parse_args()
    uvloop.run(serve(port=options.port, latency_ms=options.latency_ms, ends_with_input=options.ends_with_input))


if __name__ == "__main__":
    main()
