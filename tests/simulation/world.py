"""One seed from the first file to the end: staging, runs that fail in all ways, and at last runs that must succeed.

What is promised is checked while it happens (by the server's model and the client's) and in the books after every run.
"""

from __future__ import annotations

import asyncio
import sqlite3
from random import Random
from typing import Any

import anyio
from simulation.audit import Audit
from simulation.diary import Diary
from simulation.job_file import JobFile
from simulation.oddities import Oddities, Sabotage, oddities_of
from simulation.process import wall_ms
from simulation.service import Service
from simulation.single_run import SingleRun, Surroundings
from simulation.slot_state import SlotState

from runner.batch.bookkeeper import MOST_IN_DOUBT
from runner.ledger.store import Ledger


class World:
    """Everything of one seed.

    Args:
        seed: what all dice are made from.
        ledger: where the jobs are staged; may hold those of other worlds.
        look: a connection of its own to the same file.
        prefix: what the names of all jobs of this world begin with.
        sabotage: the promise to break.
        oddities: instead of the seed's own.
    """

    def __init__(
        self,
        seed: int,
        *,
        ledger: Ledger,
        look: sqlite3.Connection,
        prefix: str,
        sabotage: Sabotage | None = None,
        oddities: Oddities | None = None,
    ) -> None:
        self._rng = Random(seed)  # noqa: S311 - a simulation's dice
        self.oddities = oddities or oddities_of(self._rng)
        self.diary = Diary()
        self._ledger = ledger
        self._service = Service(self.oddities, self._rng, diary=self.diary)
        self._audit = Audit(look, prefix=prefix, service=self._service, diary=self.diary)
        self._file = JobFile(self.oddities, self._rng, prefix=prefix)
        self._around = Surroundings(
            oddities=self.oddities,
            rng=self._rng,
            service=self._service,
            slot_state=SlotState(self.oddities.sending.max_concurrent),
            ledger=ledger,
            audit=self._audit,
            diary=self.diary,
            sabotage=sabotage,
        )
        self._batches: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._token: str | None = None

    async def live(self) -> None:
        """From the first file to the end."""
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        rng = self._rng
        names = [job.message_name for job in self._file.jobs]
        self._service.truth.taken = {name for name in names if rng.random() < self.oddities.p_taken}
        self._stage()
        for _ in range(self.oddities.wild_runs):
            await self._run(rng.choice(self._batches), calm=False)
            if self.diary.breaks:
                return
            await self._between_runs()
        await self._come_to_an_end()
        self.diary.figures.virtual_s = anyio.current_time()

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.diary.broken(f"unhandled: {context.get('exception') or context['message']!r}")

    def _stage(self) -> None:
        batch_id = self._file.stage(self._ledger, now_ms=wall_ms())
        if batch_id not in self._batches:
            self._batches.append(batch_id)
        self._audit.staged.update(job.message_name for job in self._file.jobs)
        self.diary.tell(f"staged as batch {batch_id}")

    async def _between_runs(self) -> None:
        rng = self._rng
        settle_s = self.oddities.sending.settle_seconds
        await anyio.sleep(rng.choice((0.0, 0.0, 0.3, rng.uniform(0.0, 2 * settle_s))))
        if rng.random() < self.oddities.p_edit:
            self._file.edit()
            self._stage()
            self.diary.count("edits")
        if rng.random() < self.oddities.p_retry:
            retried = self._ledger.make_retryable(rng.choice(self._batches), now_ms=wall_ms())
            self.diary.count("retried jobs", retried)
        if rng.random() < 0.3:
            self._service.user_enabled = True

    async def _run(self, batch_id: int, *, calm: bool) -> None:
        run = SingleRun(self._around, batch_id=batch_id, calm=calm, token=self._token)
        self._tasks.append(run.task)
        if self.oddities.jobs > MOST_IN_DOUBT:
            counting = asyncio.create_task(self._count_doubts(batch_id))
            self._tasks.append(counting)
            run.task.add_done_callback(lambda _: counting.cancel())
        await run.live()
        self._token = run.token

    async def _count_doubts(self, batch_id: int) -> None:
        while True:
            self._audit.count_doubts(batch_id)
            await anyio.sleep(0.02)

    async def _come_to_an_end(self) -> None:
        """With nothing going wrong any more, everything has to be settled within a bounded number of runs."""
        self._service.calm = self._service.user_enabled = True
        for _ in range(len(self._audit.staged) + 2 * len(self._batches) + 5):
            unsettled = self._audit.unsettled_batches()
            if not unsettled or self.diary.breaks:
                break
            await self._run(unsettled[0], calm=True)
        else:
            self.diary.broken(f"jobs stay unsettled in batches {self._audit.unsettled_batches()}: no way on")
        await asyncio.wait(self._tasks)
        await self._service.quiet()
        self._audit.check(finished=True)
        for batch_id in self._batches:
            if not self._ledger.balance(batch_id).balanced:
                self.diary.broken(f"the books of batch {batch_id} do not balance")
