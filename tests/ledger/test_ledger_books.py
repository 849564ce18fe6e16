"""Whatever is done to a ledger in whatever order, its books balance and no job is lost or sent twice.

The machine knows a ledger by its public methods only, so another store can be put under it: `LedgerMachine.opened`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger.ledger_rows import ORG, chunk, in_doubt, invalid, job, rejected, result, sent, stage

from runner.ledger.entries import ClaimedJob
from runner.ledger.store import Ledger
from runner.model import JobState, SendJob

NAMES = st.sampled_from([f"n{i}" for i in range(8)])
JOBS = st.builds(lambda name, source: job(name, contact_source_id=source), NAMES, st.integers(1, 2))
FILES = st.lists(JOBS, max_size=8)
FILE_NAMES = st.sampled_from(["a.csv", "b.csv"])
MEMORY = Path("/dev/shm")  # noqa: S108 # a folder of a name nobody can guess is made in it
SENT, REJECTED, IN_DOUBT, PENDING = JobState.SENT, JobState.REJECTED, JobState.IN_DOUBT, JobState.PENDING


class LedgerMachine(RuleBasedStateMachine):
    """Keeps its own small model: each name's payload, state and attempts, and the rows of each batch."""

    def __init__(self) -> None:
        super().__init__()
        # Without waiting for a disk, where the system has memory to offer: nothing here depends on it.
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.clock = 1_000
        self.jobs: dict[str, SendJob] = {}
        self.states: dict[str, JobState] = {}
        self.rows: dict[int, list[str | None]] = {}
        self.run: int | None = None
        self.batch = 0
        self.claims: dict[str, ClaimedJob] = {}
        self.doubted: set[str] = set()
        self.attempts: dict[str, int] = {}

    def opened(self) -> Ledger:
        """The store under test."""
        return Ledger.open(Path(self.folder.name) / "ledger.db", org=ORG)

    def now(self) -> int:
        """Later than ever before."""
        self.clock += 10
        return self.clock

    @initialize()
    def open(self) -> None:
        """Makes an empty ledger."""
        self.ledger = self.opened()

    def teardown(self) -> None:
        """Leaves nothing behind."""
        self.ledger.close()
        self.folder.cleanup()

    @precondition(lambda self: self.run is None)
    @rule(file=FILES, name=FILE_NAMES, bad=st.integers(0, 2))
    def stage(self, file: list[SendJob], name: str, bad: int) -> None:
        """A file comes in; the model decides about each row by the rules of the states."""
        rows: list[str | None] = []
        seen: set[str] = set()
        for one in file:
            known = self.states.get(one.message_name)
            same = self.jobs.get(one.message_name) == one
            # Also where the earlier row of the name was a conflict itself: two rows of one name are one too many.
            conflict = one.message_name in seen or (known in {SENT, IN_DOUBT} and not same)
            seen.add(one.message_name)
            rows.append(None if conflict else one.message_name)
            if conflict or (same and known is not None):
                continue
            self.jobs[one.message_name] = one
            self.states[one.message_name] = PENDING
            self.attempts.setdefault(one.message_name, 0)
        bad_rows = [invalid(row) for row in range(len(file) + 2, len(file) + 2 + bad)]
        done = stage(self.ledger, chunk(file, bad=bad_rows), name=name, digest=repr((file, bad)), now_ms=self.now())
        rows += [None] * bad
        assert len(done.conflicts) + bad == rows.count(None) == done.plan.invalid
        plan = done.plan
        parts = (plan.invalid, plan.new, plan.edited, plan.sent, plan.rejected, plan.in_doubt, plan.pending)
        assert plan.rows == len(rows) == sum(parts)
        assert sum(share.count for share in plan.by_message) == plan.to_send
        if done.batch_id in self.rows:
            assert self.rows[done.batch_id] == rows
        self.rows[done.batch_id] = rows

    @precondition(lambda self: self.rows and self.run is None)
    @rule(data=st.data())
    def start(self, data: Any) -> None:
        """A run begins on some batch and takes over the doubts it finds."""
        self.batch = data.draw(st.sampled_from(sorted(self.rows)))
        self.run = self.ledger.start_run(self.batch, settle_s=30, now_ms=self.now())
        doubts = self.ledger.doubts(self.batch)
        for doubt in doubts:
            name = doubt.claim.job.message_name
            assert self.states[name] is IN_DOUBT
            assert doubt.claim.job == self.jobs[name]
            self.claims[name] = doubt.claim
            self.doubted.add(name)
        self.ledger.adopt(self.run, job_ids=[doubt.claim.job_id for doubt in doubts], now_ms=self.now())

    @precondition(lambda self: self.run is not None)
    @rule(data=st.data(), claim=st.integers(0, 4))
    def turn(self, data: Any, claim: int) -> None:
        """Some claims come to an outcome, new ones are made."""
        assert self.run is not None
        results = []
        for name in data.draw(st.lists(st.sampled_from(sorted(self.claims)), unique=True)) if self.claims else []:
            made = self.claims[name]
            outcome = data.draw(
                st.sampled_from([SENT, REJECTED, IN_DOUBT, *([] if name in self.doubted else [PENDING])])
            )
            self.states[name] = outcome
            self.attempts[name] = made.attempts + 1
            if outcome is IN_DOUBT:
                self.doubted.add(name)
                self.claims[name] = replace(made, attempts=made.attempts + 1)
                results.append(in_doubt(made, finished_at=self.clock))
            else:
                self.doubted.discard(name)
                del self.claims[name]
                maker = {SENT: sent, REJECTED: rejected}.get(outcome)
                results.append(maker(made) if maker else result(made, PENDING))
        found = self.ledger.turn(self.run, results=results, batch_id=self.batch, claim=claim, now_ms=self.now())
        assert [one.row for one in found] == sorted(one.row for one in found)
        assert len(found) <= claim
        for one in found:
            name = one.job.message_name
            assert self.states[name] is PENDING, "a job was handed out that may have been sent"
            assert one.job == self.jobs[name]
            assert one.attempts == self.attempts[name]
            self.states[name] = IN_DOUBT
            self.claims[name] = one

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        """Some claims are given back unsent."""
        assert self.run is not None
        names = data.draw(st.lists(st.sampled_from(sorted(self.claims)), unique=True))
        self.ledger.release(self.run, job_ids=[self.claims[name].job_id for name in names], now_ms=self.now())
        for name in names:
            del self.claims[name]
            if name not in self.doubted:
                self.states[name] = PENDING

    @precondition(lambda self: self.run is not None)
    @rule(gracefully=st.booleans())
    def end(self, *, gracefully: bool) -> None:
        """An end with claims open is a crash: they stay in doubt."""
        assert self.run is not None
        if gracefully:
            self.ledger.end_run(self.run, reason="end", exit_code=0, now_ms=self.now())
        self.run = None
        self.claims.clear()
        self.doubted.clear()

    @precondition(lambda self: self.rows and self.run is None)
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        """Rejected jobs are made pending, of one batch or of all."""
        batch = data.draw(st.sampled_from([None, *sorted(self.rows)]))
        names = [
            name
            for name, state in self.states.items()
            if state is REJECTED and (batch is None or name in self.rows[batch])
        ]
        assert self.ledger.make_retryable(batch, now_ms=self.now()) == len(names)
        self.states.update(dict.fromkeys(names, PENDING))

    @rule()
    def reopen(self) -> None:
        """Another process goes on."""
        self.ledger.close()
        self.ledger = self.opened()

    @invariant()
    def books_balance(self) -> None:
        """Each batch has its rows in the states the model has them in."""
        for info in self.ledger.batches():
            balance = info.balance
            assert balance.balanced
            expected = [JobState.INVALID if name is None else self.states[name] for name in self.rows[info.batch_id]]
            assert {state: getattr(balance, state) for state in JobState} == {
                state: expected.count(state) for state in JobState
            }

    @invariant()
    def every_unfinished_job_is_within_reach(self) -> None:
        """Some batch would send it, or retry it: else it would be lost without a word."""
        unfinished = {name for name, state in self.states.items() if state in {PENDING, IN_DOUBT}}
        found = self.ledger.newest_unfinished()
        assert (found is not None) == bool(unfinished)
        doubts = [one.claim.job.message_name for batch in self.rows for one in self.ledger.doubts(batch)]
        assert sorted(doubts) == sorted(name for name, state in self.states.items() if state is IN_DOUBT)


LedgerMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestLedgerBooks = LedgerMachine.TestCase
