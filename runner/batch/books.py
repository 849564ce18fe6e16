"""The ledger, used from an event loop: a thread of its own waits for the disk, and works while the loop has time.

SQLite's fsync would stop all ten workers if it ran on the loop's thread. The statements of a turn take some
microseconds a job. While sends are slow they run in the thread as well, beside a loop that waits for answers. Where
sends are fast, turns are big and the loop is never idle; then the two threads would hand Python's lock to and fro at
every step of a statement, which costs more than the statements do, so those run on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from runner.errors import LedgerLockedError
from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger

BIG_TURN: Final = 64
"""Results and claims from which on a turn's statements run on the loop's thread. Turns gather for some 20 ms, so these
are about 1,500 sends a second; with 50 ms a send there are 200."""


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
        in_thread = asyncio.get_running_loop().run_in_executor
        if len(results) + claim < BIG_TURN:
            return await in_thread(self._thread, self._turn, results, claim)
        with ExitStack() as begun:
            try:
                claimed = begun.enter_context(
                    self._ledger.turning(
                        self._run_id,
                        results=results,
                        batch_id=self._batch_id,
                        claim=claim,
                        now_ms=self._wall_ms(),
                        wait=False,
                    )
                )
            except LedgerLockedError:
                return await in_thread(self._thread, self._turn, results, claim)
            # Whoever comes first ends the transaction: the thread commits it, or a cancellation before that undoes it.
            await in_thread(self._thread, begun.close)
        return claimed

    def close(self) -> None:
        """End the thread; no turn may be under way."""
        self._thread.shutdown()

    def _turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:
        return self._ledger.turn(
            self._run_id, results=results, batch_id=self._batch_id, claim=claim, now_ms=self._wall_ms()
        )
