"""How a sandbox behaves: every knob with its default, checked when it is set, so that a server never starts wrong."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Final, Literal

from runner.errors import ConfigurationError
from runner.model import PublishedMessage
from runner.sandbox.catalogue import SHOP
from runner.sandbox.faults import Faults, chance
from runner.sandbox.traffic import Endpoint

DOCUMENTED_TOKEN_LIFETIME_S: Final = 14_400
_LAST_PORT: Final = 65_535
_CLIENT_ERRORS: Final = range(400, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """How a sandbox behaves.

    Raises:
        ConfigurationError: a value is out of its range, or the host is not this machine alone.

    """

    latency_s: float = 0.05
    """How long each request takes, in seconds; 0: as fast as it goes."""
    jitter_s: float = 0.0
    """Each request takes up to so much more or less, evenly spread, chosen by the seed; at most `latency_s`."""
    late_s: float = 35.0
    """How long the late faults take; the default is longer than the runner's usual time-out of 30 seconds."""
    host: str = "127.0.0.1"
    """Loopback only: the sandbox takes any credentials, so it must not be reachable from elsewhere."""
    port: int = 0
    """0: any free one."""
    max_concurrent: int = 10
    """The org's limit; one more is refused at once."""
    taken: int = 0
    """How many of those are used by other programs of the org, all the time."""
    throttle_status: int = 429
    """The status of that refusal, which is documented nowhere."""
    retry_after_s: int | None = None
    """The Retry-After of that refusal; None: it has none."""
    published: tuple[PublishedMessage, ...] | None = None
    """What the list of published messages shows; None: the six of `catalogue.SHOP`. Every other UUID can be sent too,
    so that real files can be rehearsed."""
    faults: Faults = field(default_factory=Faults)
    seed: int = 0
    """Of jitter, and of the faults where these have no seed of their own."""
    name_check: Literal["arrival", "end"] = "arrival"
    """`arrival`: a name is checked and reserved as its request arrives. `end`: it is checked as the request arrives
    and taken only at its end, so that a retry which comes too early is accepted too: the trap for hasty runners."""
    token_lifetime_s: int = DOCUMENTED_TOKEN_LIFETIME_S
    """How long an access token works. Asked for again within the first three quarters, the same one comes back."""

    @property
    def listed(self) -> tuple[PublishedMessage, ...]:
        """The list of published messages."""
        return SHOP if self.published is None else self.published

    def work_s(self, endpoint: Endpoint, number: int) -> float:
        """How long the `number`-th request of `endpoint` takes, in seconds."""
        if not self.jitter_s:
            return self.latency_s
        return self.latency_s + self.jitter_s * (2 * chance(self.seed, number, f"{endpoint} latency") - 1)

    def __post_init__(self) -> None:
        _ask(math.isfinite(self.latency_s) and self.latency_s >= 0, "latency_s is a number of seconds, 0 or more")
        _ask(0 <= self.jitter_s <= self.latency_s, "jitter_s is from 0 to latency_s")
        _ask(math.isfinite(self.late_s) and self.late_s >= 0, "late_s is a number of seconds, 0 or more")
        _ask(_is_loopback(self.host), f"host is on loopback, such as 127.0.0.1, not {self.host!r}")
        _ask(0 <= self.port <= _LAST_PORT, f"port is from 0 to {_LAST_PORT}")
        _ask(self.max_concurrent >= 1, "max_concurrent is 1 or more")
        _ask(0 <= self.taken < self.max_concurrent, "taken is from 0 to max_concurrent - 1")
        _ask(self.throttle_status in _CLIENT_ERRORS, "throttle_status is from 400 to 499")
        _ask(self.retry_after_s is None or self.retry_after_s >= 0, "retry_after_s is 0 or more")
        _ask(self.name_check in {"arrival", "end"}, "name_check is arrival or end")
        _ask(self.token_lifetime_s >= 1, "token_lifetime_s is 1 or more")


def _ask(met: bool, rule: str) -> None:  # noqa: FBT001 - reads as a sentence where it is called
    if not met:
        raise ConfigurationError(f"The sandbox cannot run like this: {rule}.")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
