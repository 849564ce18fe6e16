"""An event loop whose clock jumps to the next timer whenever nothing is ready to run.

Hours of waiting pass in microseconds, and nothing depends on how fast the machine is: `anyio.sleep`, `call_later`,
time-outs and cancellation work unchanged, because only the selector is another one. It watches no file descriptors,
so code that needs sockets, signals, threads or subprocesses cannot run on this loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StandstillError(AssertionError):
    """Everybody waits for somebody else, or everybody goes round in circles."""


class _Clock:
    """Stands where the selector stands: asked to wait for events, it lets the time pass at once."""

    def __init__(self, longest_s: float) -> None:
        self.now = 0.0
        self._longest_s = longest_s

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StandstillError("nothing is ready to run and no timer is set")
        self.now += max(0.0, timeout)
        if self.now > self._longest_s:
            longest_s, self._longest_s = self._longest_s, float("inf")
            raise StandstillError(f"it has not come to an end in {longest_s:g} virtual seconds")
        return []

    def close(self) -> None:
        """Nothing is held."""


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """The loop; its time begins at 0."""

    def __init__(self, longest_s: float = float("inf")) -> None:
        super().__init__()
        self._selector = _Clock(longest_s)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._selector.now

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody on another thread can be waiting to be heard."""


def run_virtually(main: Callable[[], Coroutine[Any, Any, T]], *, longest_s: float = 100_000.0) -> T:
    """Run `main()` to its end on a loop of its own in virtual time, and give what it returns.

    Raises:
        StandstillError: `main` was not done, and nothing could ever happen any more, or `longest_s` were over.
    """
    loop = VirtualTimeLoop(longest_s)
    try:
        asyncio.set_event_loop(loop)
        task = loop.create_task(main())
        try:
            return loop.run_until_complete(task)
        finally:
            _cancel_the_rest(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _cancel_the_rest(loop: VirtualTimeLoop) -> None:
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
