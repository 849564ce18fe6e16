"""How long to wait before asking again, for calls that are repeated here: the token's and the list's.

Sends are not: whether and when a job is tried again is the batch's decision.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff with full jitter, and the world it needs, so that tests can bring their own.

    With the defaults seven tries are spread over 31 seconds on average and 61 at most.
    """

    tries: int = 7
    """How often to ask in all."""
    base_s: float = 1.0
    cap_s: float = 30.0
    longest_retry_after_s: float = 60.0
    """A Retry-After beyond this is not waited for: the caller is told instead."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    uniform: Callable[[float, float], float] = random.uniform

    def ceiling_s(self, failures: int) -> float:
        """The longest wait after `failures` (from 1) failed tries: base * 2^(failures-1), cap at most."""
        return min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 32))

    def wait_s(self, failures: int, *, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait after `failures` (from 1) failed tries; None: no more tries.

        Uniform in 0 … `ceiling_s(failures)`, and never less than the server asked for: clients that were refused
        together would come back together after any fixed wait.
        """
        if failures >= self.tries or (retry_after_s or 0.0) > self.longest_retry_after_s:
            return None
        return max(self.uniform(0.0, self.ceiling_s(failures)), retry_after_s or 0.0)
