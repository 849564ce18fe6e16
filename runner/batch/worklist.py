"""What the workers take from: claimed jobs in their order, and jobs that wait for their time.

Ten workers take, one bookkeeper fills. A worker gets None when nothing will ever come again, which is so when the
list is closed, or when it was told that the ledger has no more, nothing waits, and nobody who is at work could still
put a job back.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worklist(Generic[T]):
    """Jobs ready and jobs due later; not thread-safe, one event loop.

    Args:
        on_low: called when a worker takes one of the ready jobs or waits in vain, so that more can be claimed.
    """

    def __init__(self, *, on_low: Callable[[], None]) -> None:
        self.ready: deque[T] = deque()
        self.starved = 0
        """How often a worker had to wait although the ledger had more."""
        self._later: list[tuple[float, int, T]] = []
        self._sequence = 0
        self._at_work = 0
        self._exhausted = False
        self._closed = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._on_low = on_low
        self._paused_until = 0.0

    def add(self, items: Iterable[T]) -> None:
        """Jobs that may be sent at once."""
        self.ready.extend(items)
        self._wake(len(self.ready))

    def add_later(self, item: T, *, in_s: float) -> None:
        """A job that may be sent in `in_s` seconds. Goes before the ready ones when its time has come."""
        self._sequence += 1
        heapq.heappush(self._later, (asyncio.get_running_loop().time() + in_s, self._sequence, item))
        self._arm()

    def exhausted(self) -> None:
        """The ledger has no more: when all that is here is done, workers get None."""
        self._exhausted = True
        self._wake(len(self._waiting))

    def close(self) -> list[T]:
        """Let the workers go; what nobody will take any more is handed back."""
        self._closed = True
        rest = [*self.ready, *(item for _, _, item in self._later)]
        self.ready.clear()
        self._later.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._wake(len(self._waiting))
        return rest

    def pause(self, *, in_s: float) -> None:
        """Hand out no ready job for `in_s` seconds: what the last one met, the next one would meet too."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + in_s)
        self._arm()

    @property
    def can_bring_more(self) -> bool:
        """Whether any job here may still get an outcome."""
        return bool(self.ready or self._later or self._at_work)

    @property
    def waiting_until_due(self) -> int:
        """Jobs that wait for their time."""
        return len(self._later)

    async def take(self) -> T | None:
        """The next job, or None when there will be none. Every job taken must be followed by `done`."""
        while True:
            if self._closed:
                return None
            if self._later and self._later[0][0] <= asyncio.get_running_loop().time():
                self._at_work += 1
                item = heapq.heappop(self._later)[2]
                self._arm()
                return item
            if self.ready and not self._paused():
                self._at_work += 1
                item = self.ready.popleft()
                self._on_low()
                return item
            if self._exhausted and not self.can_bring_more:
                self._wake(len(self._waiting))
                return None
            if not self._exhausted and not self.ready:
                self.starved += 1
                self._on_low()
            await self._wait()

    def done(self) -> None:
        """A job that was taken is finished with, or has been added again."""
        self._at_work -= 1
        if not self._at_work and self._exhausted:
            self._wake(len(self._waiting))

    def _arm(self) -> None:
        """See that the workers are woken when the first of the waiting jobs is due, or a pause is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [self._later[0][0]] if self._later else []
        if self.ready and self._paused():
            times.append(self._paused_until)
        if times:
            self._timer = asyncio.get_running_loop().call_at(min(times), self._wake, len(self._waiting) + 1)

    def _paused(self) -> bool:
        return self._paused_until > 0.0 and self._paused_until > asyncio.get_running_loop().time()

    async def _wait(self) -> None:
        self._arm()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._wake(1)  # it was woken and cancelled together: another must have the turn
            raise

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1
