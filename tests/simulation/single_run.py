"""One run of the real loop, from its start to its end, its death, or the moment somebody loses patience."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Final

import anyio
from simulation.audit import Audit
from simulation.diary import Diary
from simulation.oddities import Oddities, Sabotage
from simulation.process import Process, ProcessBooks, ProcessClient, ProcessListing, ProcessTokens, wall_ms
from simulation.service import Service
from simulation.slot_state import SlotState

from runner.batch.bookkeeper import BEAT_S
from runner.batch.loop import Api, Loop, Plan, Progress
from runner.batch.stops import INTERRUPTED, TERMINATED, Breakers
from runner.campaign.slots import Slots
from runner.errors import LedgerWriteError
from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger
from runner.model import JobState
from runner.settings import Sending

LONGEST_RUN_S: Final = 50_000.0
"""A run that takes longer than this has no way on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all runs of one world have in common."""

    oddities: Oddities
    rng: Random
    service: Service
    slot_state: SlotState
    ledger: Ledger
    audit: Audit
    diary: Diary
    sabotage: Sabotage | None


class SingleRun:
    """One run over a batch.

    Args:
        around: the world.
        batch_id: the batch.
        calm: nothing goes wrong.
        token: the token that an earlier run left in the cache.
    """

    def __init__(self, around: Surroundings, *, batch_id: int, calm: bool, token: str | None) -> None:
        self._around = around
        self._batch_id = batch_id
        rng, oddities, diary = around.rng, around.oddities, around.diary
        settle_s = oddities.sending.settle_seconds
        self._run_id = around.ledger.start_run(batch_id, settle_s=settle_s, now_ms=wall_ms())
        self._process = process = Process(
            number=self._run_id,
            oddities=oddities,
            rng=rng,
            service=around.service,
            sabotage=around.sabotage,
            broken=diary.broken,
            calm=calm,
            has_stopped=lambda: self._loop.stopped is not None,
        )
        self._slots = Slots(oddities.sending.max_concurrent)
        around.slot_state.open(self._slots, settle_s=settle_s)
        self._books = ProcessBooks(process, around.ledger, run_id=self._run_id, batch_id=batch_id)
        self._tokens = ProcessTokens(process, self._slots, token=token)
        self._limit = rng.randint(1, oddities.jobs) if not calm and rng.random() < oddities.p_limit else None
        doubts = self._taken_over()
        api = Api(
            client=ProcessClient(process, state_on_disk=around.audit.state_on_disk),
            tokens=self._tokens,
            slots=self._slots,
            published=ProcessListing(process, self._slots),
        )
        self._loop = Loop(
            api,
            self._books,
            Plan(sending=self._sending_as_told(), doubts=doubts, limit=self._limit),
            breakers=Breakers(max_rejected=oddities.sending.max_rejected, started_at=anyio.current_time()),
            wall_ms=wall_ms,
            rng=Random(rng.random()),  # noqa: S311 - a simulation's dice
            progress=Progress(),
        )
        self._over = asyncio.Event()
        diary.count("runs")
        diary.tell(
            f"run {self._run_id} begins on batch {batch_id}, {len(doubts)} doubts, limit {self._limit}, calm {calm}"
        )
        self.task = asyncio.create_task(self._loop.run(), name=f"run {self._run_id}")
        """To be awaited some time also where the run was killed."""
        self.task.add_done_callback(lambda _: self._over.set())

    @property
    def token(self) -> str | None:
        """What it leaves in the token's cache."""
        return self._tokens.token

    async def live(self) -> None:
        """Until it has ended or is dead; the books are checked then."""
        self._draw_happenings()
        around = self._around
        with anyio.move_on_after(LONGEST_RUN_S) as patience:
            await self._over.wait()
        around.diary.figures.counts += self._process.counts
        if patience.cancelled_caught:
            around.diary.broken(f"run {self._run_id} does not come to its end")
        elif self._process.alive:
            self._process.alive = False
            around.slot_state.closed(self._slots)
            self._books.flush()
            around.ledger.end_run(self._run_id, reason="simulated", exit_code=0, now_ms=wall_ms())
            self._look_at_the_end()
            around.audit.check(doubtful=self._process.doubtful)
        else:
            around.audit.maybe |= self._process.doubtful
            around.audit.check()

    def _draw_happenings(self) -> None:
        rng, oddities = self._around.rng, self._around.oddities
        if self._process.calm:
            return
        happenings = []
        if rng.random() < oddities.p_crash:
            happenings.append(self._kill)
        if rng.random() < oddities.p_signal:
            happenings.append(self._interrupt)
        for happening in happenings:
            if rng.random() < 0.5 and self._process.when_due is None:
                self._process.when_due, self._process.ticks_left = happening, rng.randint(1, 6 * oddities.jobs)
            else:
                settle_s, timeout_s = oddities.sending.settle_seconds, oddities.sending.timeout_seconds
                horizon_s = rng.choice((0.05, 1.0, settle_s, 4 * timeout_s))
                asyncio.get_running_loop().call_later(rng.uniform(0.0, horizon_s), happening)

    @property
    def _running(self) -> bool:
        return self._process.alive and not self.task.done()

    def _kill(self) -> None:
        if not self._running:
            return
        around = self._around
        self._process.alive = False
        self._books.flush()
        around.service.process_died(self._run_id, settle_s=around.oddities.sending.settle_seconds)
        around.slot_state.died(forget=around.sabotage is Sabotage.SLOTS_FORGET_THE_DEAD)
        self.task.cancel()
        around.diary.count("crashes")
        around.diary.tell(f"run {self._run_id} is killed")
        self._over.set()

    def _interrupt(self) -> None:
        if not self._running:
            return
        rng, diary = self._around.rng, self._around.diary
        self._process.stop_asked = True
        diary.count("signals")
        diary.tell(f"run {self._run_id} gets a signal")
        event_loop = asyncio.get_running_loop()
        if self._around.sabotage is Sabotage.DEAF_TO_STOP:
            event_loop.call_later(0.5, self._loop.stop, INTERRUPTED)
            return
        self._loop.stop(INTERRUPTED)
        if rng.random() < 0.5:
            event_loop.call_later(rng.choice((0.0, rng.uniform(0.0, 2.0))), self._interrupt_again)

    def _interrupt_again(self) -> None:
        if self._running:
            self._around.diary.tell(f"run {self._run_id} gets another signal")
            self._loop.stop(TERMINATED)

    def _look_at_the_end(self) -> None:
        diary, audit = self._around.diary, self._around.audit
        error = self.task.exception()
        code = self._loop.stopped.code if self._loop.stopped else "finished"
        diary.tell(f"run {self._run_id} has ended: {code} {error!r}")
        diary.count(f"ended: {code}")
        if isinstance(error, LedgerWriteError):
            audit.maybe |= audit.names_in(JobState.IN_DOUBT)
        elif error is not None:
            diary.broken(f"run {self._run_id} ended with {error!r}")
        elif self._loop.stopped is None and self._limit is None:
            pending = audit.names_in(JobState.PENDING, batch_id=self._batch_id)
            if pending:
                diary.broken(f"run {self._run_id} says it finished, but left {sorted(pending)} pending")

    def _taken_over(self) -> list[tuple[ClaimedJob, float]]:
        """What earlier runs left in doubt and when it is due, as a run finds out at its start."""
        ledger, sabotage = self._around.ledger, self._around.sabotage
        now = wall_ms() / 1000
        due = [
            (doubt.claim, max(0.0, doubt.doubt_since_ms / 1000 + BEAT_S + doubt.settle_s - now))
            for doubt in ledger.doubts(self._batch_id)
        ]
        ledger.adopt(self._run_id, job_ids=[claim.job_id for claim, _ in due], now_ms=wall_ms())
        if sabotage is Sabotage.NO_SETTLE_AFTER_CRASH:
            return [(claim, 0.0) for claim, _ in due]
        if sabotage is Sabotage.DOUBT_FORGOTTEN:
            pending = [
                JobResult(job_id=claim.job_id, state=JobState.PENDING, attempts=claim.attempts) for claim, _ in due
            ]
            ledger.turn(self._run_id, results=pending, batch_id=self._batch_id, claim=0, now_ms=wall_ms())
            return []
        return due

    def _sending_as_told(self) -> Sending:
        sending = self._around.oddities.sending
        if self._around.sabotage is Sabotage.NO_SETTLE:
            return sending.model_copy(update={"settle_seconds": 0.0})
        return sending
