"""The sandbox for a caller without an event loop: the same server on a loop of its own, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from runner.sandbox.books import AcceptedSend
from runner.sandbox.options import SandboxOptions
from runner.sandbox.server import Sandbox
from runner.sandbox.traffic import SandboxStats

_Answer = TypeVar("_Answer")


class SandboxThread:
    """A sandbox in a thread; a context manager that serves while it is entered, and gives the base URL.

    The thread is a daemon: a process that ends in a hurry does not wait for it.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self._sandbox = Sandbox(options)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Base URL without a slash at its end; only while it serves.

        Raises:
            RuntimeError: it does not serve.

        """
        return self._sandbox.url

    def start(self) -> str:
        """Begin to serve, and give the base URL.

        Raises:
            ConfigurationError: the port is taken or may not be used.
            RuntimeError: it serves already.

        """
        if self._thread is not None:
            raise RuntimeError("the sandbox is started already")
        started: Future[str] = Future()
        thread = threading.Thread(target=self._serve, args=(started,), name="sandbox", daemon=True)
        thread.start()
        try:
            url = started.result()
        except BaseException:
            thread.join()
            raise
        self._thread = thread
        return url

    def stop(self) -> None:
        """Stop at once and wait for the thread; what was accepted can still be asked for."""
        if self._thread is None or self._loop is None or self._ended is None:
            return
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._thread = self._loop = self._ended = None

    def accepted(self) -> list[AcceptedSend]:
        """Every acceptance in order; a send that was accepted twice is there twice."""
        return self._ask(self._sandbox.accepted)

    def stats(self) -> SandboxStats:
        """What has been seen so far."""
        return self._ask(self._sandbox.stats)

    def reset(self) -> None:
        """Forget names, acceptances, figures and tokens."""
        self._ask(self._sandbox.reset)

    def until(self, reached: Callable[[SandboxStats], bool], *, within_s: float = 10.0) -> None:
        """Wait until `reached` is true of the figures; asked when a request comes, goes or is accepted.

        Raises:
            TimeoutError: it did not come true within `within_s` seconds.
            RuntimeError: the sandbox does not serve.

        """
        if self._loop is None:
            raise RuntimeError("the sandbox is not started")
        waiting = asyncio.wait_for(self._sandbox.until(reached), within_s)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        """Ask in the sandbox's own thread while there is one, so that nothing changes while it answers."""
        if self._loop is None:
            return question()
        answer: Future[_Answer] = Future()

        def put() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(put)
        return answer.result()

    def _serve(self, started: Future[str]) -> None:
        asyncio.run(self._serve_until_ended(started))

    async def _serve_until_ended(self, started: Future[str]) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            url = await self._sandbox.start()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that starts
            self._loop = None
            started.set_exception(error)
            return
        started.set_result(url)
        try:
            await self._ended.wait()
        finally:
            await self._sandbox.stop()
