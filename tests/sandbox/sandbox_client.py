"""A client for the sandbox's tests: plain aiohttp and raw sockets, nothing of the runner's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from runner.sandbox.catalogue import message_id
from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.server import Sandbox

SENDS = "/rest/channels/sms/publishedmessages/{id}/sendjobs"
LIST = "/rest/channels/sms/publishedmessages"
CREDENTIALS = {
    "grant_type": "refresh_token",
    "client_id": "someone",
    "client_secret": "hush",
    "refresh_token": "for ever",
}

PATIENCE_S = 15
"""A test that waits for what never comes fails after so long, instead of hanging."""


def quick(*faults: str, **changes: Any) -> SandboxOptions:
    """Options without latency, with faults in their grammar."""
    return SandboxOptions(**{"latency_s": 0, "late_s": 0.01, "faults": parse_faults(faults), **changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer, read to its end."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The one message of an error, wherever it stands."""
        meta = self.json["meta"]
        found = [*meta["generalErrors"], *(text for texts in meta["fieldErrors"].values() for text in texts)]
        assert len(found) == 1
        return str(found[0]["message"] if isinstance(found[0], dict) else found[0])


class Api:
    """A sandbox, and someone who talks to it."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session
        self.token = ""

    async def ask(self, method: str, path: str, *, token: str | None = None, **more: Any) -> Reply:
        """Ask with the token at hand, unless told otherwise; redirects are not followed."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}", **more.pop("headers", {})}
        async with self.session.request(method, path, headers=headers, allow_redirects=False, **more) as answer:
            return Reply(status=answer.status, body=await answer.read(), headers=dict(answer.headers))

    async def log_in(self, **changes: str) -> Reply:
        """Ask for a token with these changes to good credentials, and keep it."""
        reply = await self.ask("POST", "/oauth/token", data=CREDENTIALS | changes)
        if reply.status == 200:
            self.token = reply.json["access_token"]
        return reply

    async def send(self, name: object = "Sale", *, to: str = message_id(1), **attributes: Any) -> Reply:
        """Send the published message `to`."""
        return await self.ask("POST", SENDS.format(id=to), json={"messageName": name, **attributes})

    async def open(self, name: str = "Sale") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Post a send over a connection of its own, and leave the answer unread."""
        host, port = self.sandbox.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"messageName": name})
        writer.write(
            f"POST {SENDS.format(id=message_id(1))} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        return reader, writer

    async def quiet(self) -> None:
        """Wait until nothing is at work."""
        await self.sandbox.until(lambda stats: stats.running == 0)

    def names(self) -> list[str]:
        """The names accepted so far, in order."""
        return [send.message_name for send in self.sandbox.accepted()]


@contextlib.asynccontextmanager
async def serving(
    options: SandboxOptions | None = None,
    *,
    gate: asyncio.Event | None = None,
    clock: Callable[[], float] = time.time,
    log_in: bool = True,
) -> AsyncIterator[Api]:
    """A started sandbox and a client that has a token; the gate is closed from then on."""
    async with (
        asyncio.timeout(PATIENCE_S),
        Sandbox(options or quick(), gate=gate, clock=clock) as sandbox,
        aiohttp.ClientSession(sandbox.url, connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        api = Api(sandbox, session)
        if gate:
            gate.set()
        if log_in:
            await api.log_in()
        if gate:
            gate.clear()
        yield api
