"""What the tests of the campaign room bring instead of the world: slots, time, answers, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
import orjson
from aioresponses import aioresponses

from runner.campaign.answers import read
from runner.campaign.backoff import Backoff
from runner.campaign.client import CampaignClient
from runner.campaign.exchange import Answer
from runner.model import SendJob

BASE = "https://api.test"
MESSAGE_ID = "0a5c0000-0000-4000-8000-000000000001"
SEND_PATH = f"/rest/channels/sms/publishedmessages/{MESSAGE_ID}/sendjobs"
LIST_PATH = "/rest/channels/sms/publishedmessages"
TOKEN = "tok-S3CR3T-1"


def job(name: str = "Spring sale", **attributes: Any) -> SendJob:
    return SendJob(message_name=name, published_message_id=MESSAGE_ID, **attributes)


def created(send_id: object = 4396816) -> bytes:
    return orjson.dumps({"meta": {"generalErrors": []}, "data": {"location": "", "id": send_id}})


def error_body(*messages: object) -> bytes:
    return orjson.dumps({"meta": {"generalErrors": list(messages)}, "data": None})


@dataclass
class FakeSlots:
    """Slots without a limit that remember what they were told."""

    in_use: int = 0
    taken: int = 0
    lingered: list[float] = field(default_factory=list)
    refusals: int = 0

    def hold(self) -> FakeHeld:
        """A slot, at once."""
        return FakeHeld(self)


@dataclass
class FakeHeld:
    """One slot of `FakeSlots`."""

    slots: FakeSlots

    def linger(self, seconds: float) -> None:
        """Note it."""
        self.slots.lingered.append(seconds)

    def refused(self) -> None:
        """Count it."""
        self.slots.refusals += 1

    async def __aenter__(self) -> Self:
        self.slots.in_use += 1
        self.slots.taken += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.slots.in_use -= 1


@dataclass
class FakeTime:
    """A wall clock that moves only when somebody sleeps or it is set."""

    now: float = 1_750_000_000.0
    slept: list[float] = field(default_factory=list)

    def wall(self) -> float:
        """The time now, in seconds since the epoch."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def backoff(self, **settings: Any) -> Backoff:
        """The longest waits that jitter can bring."""
        return Backoff(sleep=self.sleep, uniform=lambda _, high: high, **settings)


def client_for(
    base_url: str,
    slots: FakeSlots,
    *,
    timeout_s: float = 5.0,
    settle_s: float = 30.0,
    time: FakeTime | None = None,
    environ: Mapping[str, str] | None = None,
) -> CampaignClient:
    time = time or FakeTime()
    return CampaignClient(
        base_url=base_url,
        slots=slots,
        timeout_s=timeout_s,
        settle_s=settle_s,
        user_agent="sms-runner/test",
        environ=environ or {},
        wall=time.wall,
        backoff=time.backoff(tries=3),
    )


def answer(status: int, body: bytes = b"", *, retry_after_s: float | None = None) -> Answer:
    reading = read(body if status >= 400 else b"")
    return Answer(status=status, body=body, retry_after_s=retry_after_s, latency_ms=1.0, reading=reading)


class MockedResponse(aiohttp.ClientResponse):
    """aioresponses 0.7.9 leaves out an argument that responses of aiohttp 3.14 want."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


class MockedApi(aioresponses):
    """aioresponses whose mocks work with the aiohttp of today."""

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add an answer, as in aioresponses."""
        kwargs.setdefault("response_class", MockedResponse)
        super().add(*args, **kwargs)


@contextlib.contextmanager
def mocked_api() -> Iterator[MockedApi]:
    api = MockedApi()
    with api:
        yield api


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback that does what `handler` says with each connection; yields its http or https address."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Request line, headers with lower-case names, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return head[0], headers, await reader.readexactly(int(headers.get("content-length", "0")))


def http(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """A whole answer as it stands on the wire; `length` may lie."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Handler:
    """Answers the requests of each connection with `answers` in turn, then closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in answers:
            await read_request(reader)
            writer.write(one)
            await writer.drain()

    return handle
