"""The stub as a process of its own, from entering a block to leaving it, and what it has counted."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"
MESSAGES_PATH: Final = "/rest/channels/sms/publishedmessages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the stub saw of one program."""

    sends: int
    send_bytes: int
    """Bytes of all bodies."""
    connections: int
    most_under_way: int
    """Most sends at once; with no latency each is answered before the next is read, so it is 1."""
    first_send_ns: int
    """CLOCK_MONOTONIC."""
    sending_s: float
    """From the first send's arrival to the last answer."""
    latency_ms: float
    """Mean time from a send's arrival to its answer, as it really was; 0 without a latency."""

    @property
    def rate(self) -> float:
        """Sends per second, start and end of the program left out."""
        return self.sends / self.sending_s


class StubProcess:
    """A stub that runs while the block lasts; it ends by itself should this process die."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stub", "--ends-with-input"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for, said to mypy
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes its input, which ends it

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{HOST}:{self.port}"

    def reset(self, *, latency_ms: float = 0.0) -> None:
        """Let it count from nothing, with this latency."""
        self._ask("POST", f"/stub/reset?latency_ms={latency_ms}")

    def seen(self) -> Seen:
        """What it has counted since the last reset."""
        counts = self._ask("GET", "/stub/stats")
        answered = counts["sends"] - counts["under_way"]
        return Seen(
            sends=counts["sends"],
            send_bytes=counts["send_bytes"],
            connections=counts["connections"],
            most_under_way=counts["most_under_way"],
            first_send_ns=counts["first_send_ns"],
            sending_s=(counts["last_answer_ns"] - counts["first_send_ns"]) / 1e9,
            latency_ms=counts["held_ns"] / answered / 1e6 if answered else 0.0,
        )

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request(method, path)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found
