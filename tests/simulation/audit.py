"""The books compared with the truth, which only a model of the server knows."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from simulation.diary import Diary
from simulation.service import Service

from runner.batch.bookkeeper import MOST_IN_DOUBT
from runner.model import ATTRIBUTES, Evidence, JobState

PAYLOAD: Final = tuple(ATTRIBUTES.values())
_COLUMNS: Final = ("message_name", "state", "evidence", "send_id", "batch_id", *PAYLOAD)


class Audit:
    """Looks at the ledger's file with a connection of its own, so it sees what is committed and nothing else."""

    def __init__(self, look: sqlite3.Connection, *, prefix: str, service: Service, diary: Diary) -> None:
        self._look = look
        self._prefix = prefix
        self._service = service
        self._diary = diary
        self.staged: set[str] = set()
        """All names that were ever in a file."""
        self.maybe: set[str] = set()
        """Names of which nobody can know: an outcome was unknown, or a run died or could not write."""

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job of this world by its name, as it stands on disk."""
        sql = f"SELECT {','.join(_COLUMNS)} FROM jobs WHERE message_name GLOB ?"  # noqa: S608 - names of our own
        return {
            row[0]: dict(zip(_COLUMNS, row, strict=True)) for row in self._look.execute(sql, (f"{self._prefix}-*",))
        }

    def state_on_disk(self, name: str) -> str:
        """The state of one job."""
        found = self._look.execute("SELECT state FROM jobs WHERE message_name = ?", (name,)).fetchone()
        return str(found[0])

    def count_doubts(self, batch_id: int) -> None:
        """See that there are not too many at this moment."""
        sql = "SELECT count(*) FROM jobs WHERE batch_id = ? AND state = 'in_doubt'"
        self._mind_doubts(int(self._look.execute(sql, (batch_id,)).fetchone()[0]))

    def names_in(self, state: JobState, *, batch_id: int | None = None) -> set[str]:
        """Names of the jobs in a state, of one batch or of all."""
        return {
            name
            for name, job in self.jobs().items()
            if job["state"] == state and (batch_id is None or job["batch_id"] == batch_id)
        }

    def unsettled_batches(self) -> list[int]:
        """Batches that own jobs with something left to do."""
        unsettled = {JobState.PENDING, JobState.IN_DOUBT}
        return sorted({job["batch_id"] for job in self.jobs().values() if job["state"] in unsettled})

    def check(self, *, doubtful: set[str] | None = None, finished: bool = False) -> None:
        """Compare.

        Args:
            doubtful: names with an attempt of unknown outcome in the run that has just ended by itself; None: it was
                killed, so whatever it had claimed is in doubt, and rightly.
            finished: everything has to be settled.
        """
        jobs = self.jobs()
        if jobs.keys() != self.staged:
            self._diary.broken(f"lost or made up: {sorted(jobs.keys() ^ self.staged)}")
        in_doubt = {name for name, job in jobs.items() if job["state"] == JobState.IN_DOUBT}
        self._mind_doubts(len(in_doubt))
        if doubtful is not None and in_doubt - doubtful - self.maybe:
            self._diary.broken(f"in doubt for no reason: {sorted(in_doubt - doubtful - self.maybe)}")
        self.maybe |= in_doubt if doubtful is None else doubtful
        if finished and in_doubt:
            self._diary.broken(f"in doubt at the end: {sorted(in_doubt)}")
        at_work = self._service.names_at_work()
        for name, job in jobs.items():
            self._check_job(name, job, at_work=name in at_work)

    def _mind_doubts(self, count: int) -> None:
        counts = self._diary.figures.counts
        counts["most in doubt"] = max(counts["most in doubt"], count)
        if count > MOST_IN_DOUBT:
            self._diary.broken(f"{count} jobs in doubt at once")

    def _check_job(self, name: str, job: dict[str, Any], *, at_work: bool) -> None:
        state = job["state"]
        if state == JobState.SENT:
            self._check_sent(name, job)
        elif state != JobState.IN_DOUBT:
            if name in self._service.truth.accepted:
                self._diary.broken(f"{name} is {state} in the ledger, but was accepted")
            if at_work:
                self._diary.broken(f"{name} is {state} in the ledger, but the server is at work on it")

    def _check_sent(self, name: str, job: dict[str, Any]) -> None:
        truth = self._service.truth
        accepted = truth.accepted.get(name)
        if accepted is None:
            # Somebody else's name, met by a job in doubt: no client can tell the two apart.
            if not (name in truth.taken and job["evidence"] == Evidence.NAME_EXISTS and name in self.maybe):
                self._diary.broken(f"{name} is sent in the ledger, but was never accepted")
            return
        if job["evidence"] == Evidence.RESPONSE and job["send_id"] != truth.ids[name]:
            self._diary.broken(f"{name} has the id {job['send_id']}, the server gave {truth.ids[name]}")
        if {key: job[key] for key in PAYLOAD} != {key: getattr(accepted, key) for key in PAYLOAD}:
            self._diary.broken(f"{name} was accepted with another payload than the ledger's")
