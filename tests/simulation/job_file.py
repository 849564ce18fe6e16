"""The job file of one world, and what becomes of it while somebody edits it between the runs."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

from simulation.audit import PAYLOAD
from simulation.oddities import Oddities
from simulation.service import FOREIGN_MESSAGE, NO_SUCH_SOURCE, ODD_SOURCE, OWN_MESSAGE

from runner.ledger.store import Ledger
from runner.model import ATTRIBUTES, JobChunk, SendJob


class JobFile:
    """Rows of jobs; every name begins with `prefix`."""

    def __init__(self, oddities: Oddities, rng: Random, *, prefix: str) -> None:
        self._oddities = oddities
        self._rng = rng
        self._prefix = prefix
        self._names = 0
        self.jobs = [self._new_job() for _ in range(oddities.jobs)]

    def edit(self) -> None:
        """Some rows go, some change, some come; and now and then the file stays as it was."""
        if self._rng.random() < 0.3:
            return
        kept = [job for job in self.jobs if self._rng.random() < 0.9]
        edited = [self._payload(job.message_name) if self._rng.random() < 0.3 else job for job in kept]
        new = [self._new_job() for _ in range(self._rng.choice((0, 1, 5)))]
        self.jobs = [*edited, *new] or [self._new_job()]

    def stage(self, ledger: Ledger, *, now_ms: int) -> int:
        """Stage it as it is now; the batch's id."""
        columns: dict[str, Any] = {name: [getattr(job, name) for job in self.jobs] for name in PAYLOAD}
        rows = list(range(2, len(self.jobs) + 2))
        headers = list(ATTRIBUTES)
        with ledger.staging(
            name=f"{self._prefix}.csv",
            source="simulated",
            headers=headers,
            other_columns=[],
            attributes=dict(zip(headers, headers, strict=True)),
            now_ms=now_ms,
        ) as staging:
            staging.add(JobChunk(rows=rows, others=[None] * len(rows), **columns))
            return staging.commit(digest=hashlib.sha256(repr(self.jobs).encode()).hexdigest())

    def _new_job(self) -> SendJob:
        self._names += 1
        return self._payload(f"{self._prefix}-{self._names}")

    def _payload(self, name: str) -> SendJob:
        message, source = OWN_MESSAGE, self._rng.randrange(1000, 2000)
        if self._rng.random() < self._oddities.p_refused:
            match self._rng.randrange(4):
                case 0:
                    message = FOREIGN_MESSAGE
                case 1:
                    source = ODD_SOURCE
                case _:
                    source = NO_SUCH_SOURCE
        return SendJob(message_name=name, published_message_id=message, contact_source_id=source)
