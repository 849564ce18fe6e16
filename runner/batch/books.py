"""The ledger, used from an event loop: one thread of its own, one call after the other.

SQLite's fsync would stop all ten workers if it ran on the loop's thread; on a thread of its own it costs them
nothing but the moments when Python's lock changes hands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger


class ThreadedBooks:
    """One run's turns at the ledger.

    Args:
        ledger: open for writing, its run lock held.
        run_id, batch_id: whose turns these are.
        wall_ms: epoch milliseconds, for the sign of life that each turn gives.
    """

    def __init__(self, ledger: Ledger, *, run_id: int, batch_id: int, wall_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._batch_id = batch_id
        self._wall_ms = wall_ms
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:
        """Write results, claim up to `claim` jobs and give a sign of life; durable when this returns."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._turn, results, claim)

    def close(self) -> None:
        """End the thread; no turn may be under way."""
        self._thread.shutdown()

    def _turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:
        return self._ledger.turn(
            self._run_id, results=results, batch_id=self._batch_id, claim=claim, now_ms=self._wall_ms()
        )
