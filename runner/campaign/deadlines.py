"""The time-out of requests: one timer for all that are under way.

aiohttp's own (`ClientTimeout.total`) sets a timer for each request and looks at it in three places, which costs a tenth
of what a request costs. Here all requests have the same time, so they run out in the order they began, and one timer
that follows the oldest is enough. What happens when a time is over is what `asyncio.timeout` does: the task is
cancelled, and whoever catches the cancellation asks whose it was.
"""

from __future__ import annotations

import asyncio
from typing import Final


class Deadline:
    """The end of one request's time, for the task that began it."""

    __slots__ = ("_at", "_cancelled_before", "_fired", "_passed", "_task")

    def __init__(self, task: asyncio.Task[object], at: float) -> None:
        self._task = task
        self._at = at
        self._cancelled_before = task.cancelling()
        self._fired = False
        self._passed = False

    def has_passed(self) -> bool:
        """Whether a cancellation that was caught is this deadline's, and nobody else's as well."""
        if self._fired:
            self._fired = False
            self._passed = self._task.uncancel() <= self._cancelled_before
        return self._passed

    def _fire(self) -> None:
        self._fired = True
        self._task.cancel()


class Deadlines:
    """Cancels the task of each request that takes longer than `timeout_s`; for one event loop."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s: Final = timeout_s
        # In the order they began, which is the order they end in.
        self._running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Deadline:
        """A deadline for the current task, `timeout_s` from now. Must be followed by `end`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("used outside a task")
        deadline = Deadline(task, loop.time() + self.timeout_s)
        self._running[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline._at, self._look)  # noqa: SLF001 - two halves of one thing
        return deadline

    def end(self, deadline: Deadline) -> None:
        """The request is over, in whatever way."""
        self._running.pop(deadline, None)
        deadline.has_passed()  # takes a cancellation back that came too late for anybody to catch it

    def close(self) -> None:
        """Stop the timer; nothing is under way any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._running:
            oldest = next(iter(self._running))
            if oldest._at > loop.time():  # noqa: SLF001
                self._timer = loop.call_at(oldest._at, self._look)  # noqa: SLF001
                return
            del self._running[oldest]
            oldest._fire()  # noqa: SLF001
