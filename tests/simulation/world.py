"""One seed from the first file to the end: staging, runs that fail in all ways, and at last runs that must succeed.

What is promised is checked while it happens (by the server's model and the client's) and in the books after every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import sqlite3
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import anyio
import structlog
from virtual_time import StandstillError, run_virtually

from runner.batch.bookkeeper import BEAT_S, MOST_IN_DOUBT
from runner.batch.loop import Api, Loop, Plan, Progress
from runner.batch.stops import INTERRUPTED, TERMINATED, Breakers
from runner.campaign.slots import Slots
from runner.errors import LedgerWriteError
from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger
from runner.model import ATTRIBUTES, Evidence, JobChunk, JobState, SendJob
from simulation.oddities import Oddities, Sabotage, oddities_of
from simulation.process import Process, ProcessBooks, ProcessClient, ProcessListing, ProcessTokens, wall_ms
from simulation.service import FOREIGN_MESSAGE, NO_SUCH_SOURCE, ODD_SOURCE, OWN_MESSAGE, Request, Service
from simulation.slot_state import SlotState

LONGEST_RUN_S: Final = 50_000.0
"""A run that takes longer than this has no way on."""
PAYLOAD: Final = tuple(ATTRIBUTES.values())


class BrokenPromiseError(AssertionError):
    """Something happened that the runner promises will never happen; says which seed, and what led to it."""


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a simulation went through."""

    seeds: int = 0
    virtual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        """Sum up."""
        self.seeds += other.seeds
        self.virtual_s += other.virtual_s
        for what, count in other.counts.items():
            self.counts[what] = max(self.counts[what], count) if what.startswith("most") else self.counts[what] + count

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{self.seeds} seeds, {self.virtual_s / 3600:.1f} virtual hours, {counts}"


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Nothing is logged in this block: a simulation meets every warning there is thousands of times."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextlib.contextmanager
def folder_for_a_ledger() -> Iterator[Path]:
    """A folder for as long as the block lasts, in memory where there is such a place: a disk's speed tells nothing."""
    memory = Path("/dev/shm")  # noqa: S108 - only a folder of our own, with a random name, is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class Simulator:
    """Lives through one seed after the other, all in one ledger in `folder`. Used as a context manager."""

    def __init__(self, folder: Path) -> None:
        path = folder / "simulated.ledger.db"
        self._ledger = Ledger.open(path, org="simulated")
        self._look = sqlite3.connect(path)
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._look.close()
        self._ledger.close()

    def simulate(self, seed: int, *, sabotage: Sabotage | None = None, oddities: Oddities | None = None) -> Figures:
        """Live through one seed; in a world that is given, instead of the seed's own, if there is one.

        Raises:
            BrokenPromiseError: and how to see it again.
        """
        self._number += 1
        world = World(
            seed,
            ledger=self._ledger,
            look=self._look,
            sabotage=sabotage,
            oddities=oddities,
            prefix=f"{self._number}-{seed}",
        )
        with quiet_logs():
            try:
                run_virtually(world.live)
            except StandstillError as error:
                world.broken(f"everything stands still: {error}")
        if world.breaks:
            what = f"seed {seed}: {world.breaks[0]}"
            replay = f"to see it again: SIM_SEED={seed} pytest tests/simulation -k replay"
            raise BrokenPromiseError("\n".join((what, str(world.oddities), *world.trace, what, replay)))
        return world.figures


class World:
    """Everything of one seed."""

    def __init__(
        self,
        seed: int,
        *,
        ledger: Ledger,
        look: sqlite3.Connection,
        sabotage: Sabotage | None,
        oddities: Oddities | None,
        prefix: str,
    ) -> None:
        self.rng = Random(seed)
        self.oddities = oddities or oddities_of(self.rng)
        self.breaks: list[str] = []
        self.trace: deque[str] = deque(maxlen=400)
        self.figures = Figures(seeds=1)
        self._prefix = prefix
        self._ledger = ledger
        self._look = look
        self._sabotage = sabotage
        self._service = Service(self.oddities, self.rng, note=self._note, broken=self.broken)
        self._slot_state = SlotState(self.oddities.sending.max_concurrent)
        self._batches: list[int] = []
        self._file: list[SendJob] = []
        self._staged: set[str] = set()
        self._maybe: set[str] = set()
        """Names that were in doubt when a run was killed or could not write: nobody can know."""
        self._ghosts: list[asyncio.Task[None]] = []
        self._token: str | None = None
        self._names = 0

    def broken(self, what: str) -> None:
        """A promise was broken."""
        self.breaks.append(what)
        self.trace.append(f"BROKEN: {what}")

    async def live(self) -> None:
        """From the first file to the end."""
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        rng = self.rng
        self._file = [self._new_job() for _ in range(self.oddities.jobs)]
        self._service.truth.taken = {job.message_name for job in self._file if rng.random() < self.oddities.p_taken}
        self._stage()
        for _ in range(self.oddities.wild_runs):
            await self._run(rng.choice(self._batches), calm=False)
            if self.breaks:
                return
            await self._between_runs()
        await self._come_to_an_end()
        self.figures.virtual_s = anyio.current_time()

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.broken(f"unhandled: {context.get('exception') or context['message']!r}")

    def _note(self, what: str, request: Request, *more: str) -> None:
        name = request.job.message_name if request.job is not None else "token or list"
        fault = f" ({request.fault})" if request.fault else ""
        self._tell(f"run {request.process}: {name}{fault} {what} {' '.join(more)}")

    def _tell(self, text: str) -> None:
        self.trace.append(f"{anyio.current_time():12.3f} {text}")

    # Files.

    def _new_job(self) -> SendJob:
        self._names += 1
        return self._payload(f"{self._prefix}-{self._names}")

    def _payload(self, name: str) -> SendJob:
        message, source = OWN_MESSAGE, self.rng.randrange(1000, 2000)
        if self.rng.random() < self.oddities.p_refused:
            match self.rng.randrange(4):
                case 0:
                    message = FOREIGN_MESSAGE
                case 1:
                    source = ODD_SOURCE
                case _:
                    source = NO_SUCH_SOURCE
        return SendJob(message_name=name, published_message_id=message, contact_source_id=source)

    def _stage(self) -> None:
        columns: dict[str, Any] = {name: [getattr(job, name) for job in self._file] for name in PAYLOAD}
        chunk = JobChunk(rows=list(range(2, len(self._file) + 2)), others=[None] * len(self._file), **columns)
        headers = list(ATTRIBUTES)
        with self._ledger.staging(
            name=f"{self._prefix}.csv",
            source="simulated",
            headers=headers,
            other_columns=[],
            attributes=dict(zip(headers, headers, strict=True)),
            now_ms=wall_ms(),
        ) as staging:
            staging.add(chunk)
            batch_id = staging.commit(digest=hashlib.sha256(repr(self._file).encode()).hexdigest())
        if batch_id not in self._batches:
            self._batches.append(batch_id)
        self._staged.update(job.message_name for job in self._file)
        self._tell(f"staged as batch {batch_id}")

    def _edit(self) -> None:
        """Some rows go, some change, some come; and now and then the file is sent again as it was."""
        if self.rng.random() < 0.3:
            return
        kept = [job for job in self._file if self.rng.random() < 0.9]
        edited = [self._payload(job.message_name) if self.rng.random() < 0.3 else job for job in kept]
        self._file = [*edited, *(self._new_job() for _ in range(self.rng.choice((0, 1, 5))))] or [self._new_job()]

    async def _between_runs(self) -> None:
        rng = self.rng
        settle_s = self.oddities.sending.settle_seconds
        await anyio.sleep(rng.choice((0.0, 0.0, 0.3, rng.uniform(0.0, 2 * settle_s))))
        if rng.random() < self.oddities.p_edit:
            self._edit()
            self._stage()
            self.figures.counts["edits"] += 1
        if rng.random() < self.oddities.p_retry:
            retried = self._ledger.make_retryable(rng.choice(self._batches), now_ms=wall_ms())
            self.figures.counts["retried jobs"] += retried
        if rng.random() < 0.3:
            self._service.user_enabled = True

    # Runs.

    async def _come_to_an_end(self) -> None:
        """With nothing going wrong any more, everything has to be settled within a bounded number of runs."""
        self._service.calm = self._service.user_enabled = True
        for _ in range(len(self._staged) + 2 * len(self._batches) + 5):
            unsettled = self._unsettled_batches()
            if not unsettled or self.breaks:
                break
            await self._run(unsettled[0], calm=True)
        else:
            self.broken(f"jobs stay unsettled in batches {self._unsettled_batches()}: no way on")
        for ghost in self._ghosts:
            await asyncio.wait({ghost})
        while not self._service.quiet():
            await anyio.sleep(1.0)
        self._audit(finished=True)

    async def _run(self, batch_id: int, *, calm: bool) -> None:  # noqa: PLR0915 - one run, from its start to its end
        rng, oddities, service = self.rng, self.oddities, self._service
        settle_s = oddities.sending.settle_seconds
        run_id = self._ledger.start_run(batch_id, settle_s=settle_s, now_ms=wall_ms())
        process = Process(
            number=run_id,
            oddities=oddities,
            rng=rng,
            service=service,
            sabotage=self._sabotage,
            broken=self.broken,
            note=self._note,
            calm=calm,
        )
        slots = Slots(oddities.sending.max_concurrent)
        self._slot_state.open(slots, settle_s=settle_s)
        books = ProcessBooks(process, self._ledger, run_id=run_id, batch_id=batch_id)
        client = ProcessClient(process, state_on_disk=self._state_on_disk)
        tokens = ProcessTokens(process, slots, token=self._token)
        limit = rng.randint(1, oddities.jobs) if not calm and rng.random() < oddities.p_limit else None
        doubts = self._taken_over(run_id, batch_id)
        loop = Loop(
            Api(client=client, tokens=tokens, slots=slots, published=ProcessListing(process, slots)),
            books,
            Plan(sending=self._sending_as_told(), doubts=doubts, limit=limit),
            breakers=Breakers(max_rejected=oddities.sending.max_rejected, started_at=anyio.current_time()),
            wall_ms=wall_ms,
            rng=Random(rng.random()),
            progress=Progress(),
        )
        process.has_stopped = lambda: loop.stopped is not None
        self._tell(f"run {run_id} begins on batch {batch_id}, {len(doubts)} doubts, limit {limit}, calm {calm}")
        task = asyncio.create_task(loop.run(), name=f"run {run_id}")
        self.figures.counts["runs"] += 1

        def kill() -> None:
            if process.alive and not task.done():
                process.alive = False
                books.flush()
                service.process_died(run_id, settle_s=settle_s)
                self._slot_state.died(forget=self._sabotage is Sabotage.SLOTS_FORGET_THE_DEAD)
                task.cancel()
                self.figures.counts["crashes"] += 1
                self._tell(f"run {run_id} is killed")
                over.set()

        def interrupt() -> None:
            if not process.alive or task.done():
                return
            process.stop_asked = True
            self.figures.counts["signals"] += 1
            self._tell(f"run {run_id} gets a signal")
            event_loop = asyncio.get_running_loop()
            if self._sabotage is Sabotage.DEAF_TO_STOP:
                event_loop.call_later(0.5, loop.stop, INTERRUPTED)
                return
            loop.stop(INTERRUPTED)
            if rng.random() < 0.5:
                event_loop.call_later(rng.choice((0.0, rng.uniform(0.0, 2.0))), second)

        def second() -> None:
            if process.alive and not task.done():
                self._tell(f"run {run_id} gets another signal")
                loop.stop(TERMINATED)

        over = asyncio.Event()
        task.add_done_callback(lambda _: over.set())
        happenings = []
        if not calm and rng.random() < oddities.p_crash:
            happenings.append(kill)
        if not calm and rng.random() < oddities.p_signal:
            happenings.append(interrupt)
        for happening in happenings:
            if rng.random() < 0.5 and process.when_due is None:
                process.when_due, process.ticks_left = happening, rng.randint(1, 6 * oddities.jobs)
            else:
                horizon_s = rng.choice((0.05, 1.0, settle_s, 4 * oddities.sending.timeout_seconds))
                asyncio.get_running_loop().call_later(rng.uniform(0.0, horizon_s), happening)
        with anyio.move_on_after(LONGEST_RUN_S) as patience:
            await over.wait()
        if patience.cancelled_caught:
            return self.broken(f"run {run_id} does not come to its end")
        self.figures.counts += process.counts
        self._token = tokens.token
        if process.alive:
            self._ended(loop, task, process, slots)
            books.flush()
            self._ledger.end_run(run_id, reason="simulated", exit_code=0, now_ms=wall_ms())
            process.alive = False
            self._audit(doubtful=process.doubtful)
        else:
            self._ghosts.append(task)
            self._maybe |= process.doubtful
            self._audit()

    def _ended(self, loop: Loop, task: asyncio.Task[None], process: Process, slots: Slots) -> None:
        """Look at a run that came to its end by itself."""
        self._slot_state.closed(slots, now=anyio.current_time())
        error = task.exception()
        code = loop.stopped.code if loop.stopped else "finished"
        self._tell(f"run {process.number} has ended: {code} {error!r}")
        self.figures.counts[f"ended: {code}"] += 1
        if isinstance(error, LedgerWriteError):
            self._maybe |= {name for name, job in self._jobs().items() if job["state"] == JobState.IN_DOUBT}
        elif error is not None:
            self.broken(f"run {process.number} ended with {error!r}")

    def _taken_over(self, run_id: int, batch_id: int) -> list[tuple[ClaimedJob, float]]:
        """As a run does at its start."""
        now = wall_ms() / 1000
        due = [
            (doubt.claim, max(0.0, doubt.doubt_since_ms / 1000 + BEAT_S + doubt.settle_s - now))
            for doubt in self._ledger.doubts(batch_id)
        ]
        self._ledger.adopt(run_id, job_ids=[claim.job_id for claim, _ in due], now_ms=wall_ms())
        if self._sabotage is Sabotage.NO_SETTLE_AFTER_CRASH:
            return [(claim, 0.0) for claim, _ in due]
        if self._sabotage is Sabotage.DOUBT_FORGOTTEN:
            pending = [
                JobResult(job_id=claim.job_id, state=JobState.PENDING, attempts=claim.attempts) for claim, _ in due
            ]
            self._ledger.turn(run_id, results=pending, batch_id=batch_id, claim=0, now_ms=wall_ms())
            return []
        return due

    def _sending_as_told(self) -> Any:
        sending = self.oddities.sending
        if self._sabotage is Sabotage.NO_SETTLE:
            return sending.model_copy(update={"settle_seconds": 0.0})
        return sending

    # The books.

    def _jobs(self) -> dict[str, dict[str, Any]]:
        columns = ("message_name", "state", "evidence", "send_id", "batch_id", *PAYLOAD[2:], "published_message_id")
        places = ",".join("?" * len(self._batches))
        found = self._look.execute(
            f"SELECT {','.join(columns)} FROM jobs WHERE batch_id IN ({places})", self._batches  # noqa: S608 - own names
        )
        return {row[0]: dict(zip(columns, row, strict=True)) for row in found}

    def _mind_doubts(self, count: int) -> None:
        self.figures.counts["most in doubt"] = max(self.figures.counts["most in doubt"], count)
        if count > MOST_IN_DOUBT:
            self.broken(f"{count} jobs in doubt at once")

    def _state_on_disk(self, name: str) -> str:
        if self.oddities.jobs > MOST_IN_DOUBT:
            sql = "SELECT count(*) FROM jobs WHERE batch_id = ? AND state = 'in_doubt'"
            self._mind_doubts(self._look.execute(sql, self._batches).fetchone()[0])
        found = self._look.execute("SELECT state FROM jobs WHERE message_name = ?", (name,)).fetchone()
        return str(found[0])

    def _unsettled_batches(self) -> list[int]:
        states = {JobState.PENDING, JobState.IN_DOUBT}
        return sorted({job["batch_id"] for job in self._jobs().values() if job["state"] in states})

    def _audit(self, *, doubtful: set[str] | None = None, finished: bool = False) -> None:
        """Compare the books with the truth.

        Args:
            doubtful: names with an attempt of unknown outcome in the run that has just ended by itself; None: it was
                killed, so whatever it had claimed is in doubt, and rightly.
            finished: everything has to be settled.
        """
        jobs = self._jobs()
        if jobs.keys() != self._staged:
            self.broken(f"lost or made up: {sorted(jobs.keys() ^ self._staged)}")
        in_doubt = {name for name, job in jobs.items() if job["state"] == JobState.IN_DOUBT}
        self._mind_doubts(len(in_doubt))
        if doubtful is None:
            self._maybe |= in_doubt
        elif in_doubt - doubtful - self._maybe:
            self.broken(f"in doubt for no reason: {sorted(in_doubt - doubtful - self._maybe)}")
        else:
            self._maybe |= doubtful
        if finished and in_doubt:
            self.broken(f"in doubt at the end: {sorted(in_doubt)}")
        for batch_id in self._batches if finished else self._batches[-1:]:
            if not self._ledger.balance(batch_id).balanced:
                self.broken(f"the books of batch {batch_id} do not balance")
        at_work = {
            request.job.message_name
            for request in [*self._service.under_way, *self._service.on_the_way]
            if request.job is not None
        }
        for name, job in jobs.items():
            self._audit_job(name, job, at_work=name in at_work)

    def _audit_job(self, name: str, job: dict[str, Any], *, at_work: bool) -> None:
        truth = self._service.truth
        accepted = truth.accepted.get(name)
        match job["state"]:
            case JobState.PENDING | JobState.REJECTED if accepted is not None:
                self.broken(f"{name} is {job['state']} in the ledger, but was accepted")
            case JobState.PENDING | JobState.REJECTED if at_work:
                self.broken(f"{name} is {job['state']} in the ledger, but the server is at work on it")
            case JobState.SENT if accepted is None:
                # Somebody else's name, met by a job in doubt: no client can tell the two apart.
                if not (name in truth.taken and job["evidence"] == Evidence.NAME_EXISTS and name in self._maybe):
                    self.broken(f"{name} is sent in the ledger, but was never accepted")
            case JobState.SENT if accepted is not None:
                if job["evidence"] == Evidence.RESPONSE and job["send_id"] != truth.ids[name]:
                    self.broken(f"{name} has the id {job['send_id']}, the server gave {truth.ids[name]}")
                if {key: job[key] for key in PAYLOAD} != {key: getattr(accepted, key) for key in PAYLOAD}:
                    self.broken(f"{name} was accepted with another payload than the ledger's")
