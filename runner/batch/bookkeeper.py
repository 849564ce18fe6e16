"""The only one who writes to the ledger during a run: results in, claims out, one turn after the other.

A turn writes the results that have come in since the last one and claims the next jobs, in one transaction with one
fsync, so durability costs one fsync per group and not per job. A job reaches the worklist only after its claim is
durable. Groups form by themselves while the previous turn is being written, and by a short wait (`GROUP_S`) that ends
at once when the workers run low.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import anyio
import structlog

from runner.batch.attempted import Attempted
from runner.batch.stops import TOO_MANY_IN_DOUBT, Stop
from runner.batch.worklist import Worklist
from runner.errors import LedgerWriteError
from runner.ledger.entries import ClaimedJob, JobResult
from runner.model import JobState

MOST_IN_DOUBT: Final = 256
"""Jobs that may be in doubt on disk at any moment, claimed ones included."""
MOST_AHEAD: Final = 192
"""Jobs claimed ahead at most. The rest of those that may be in doubt is for requests under way, and for results that
come in while a turn is being written."""
GROUP_S: Final = 0.02
"""Seconds in which results are gathered into one turn: what a crash may cost in answers that are not yet on disk."""
BEAT_S: Final = 0.5
"""Longest time between two signs of life of a run in the ledger."""
WRITE_AGAIN_S: Final = 1.0
"""Seconds between two tries to write results when the ledger cannot be written."""
WRITE_TRIES: Final = 10

log = structlog.get_logger()


class Books(Protocol):
    """The ledger as a run uses it: nobody else on the event loop waits for it."""

    async def turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:
        """Write results, claim up to `claim` jobs and give a sign of life, durably.

        Raises:
            LedgerWriteError: nothing of this turn was written.
        """


class Bookkeeper:
    """Keeps `worklist` filled and the ledger up to date.

    Args:
        books: the ledger.
        worklist: where claimed jobs go.
        claim_ahead: how many jobs to have at hand to begin with; doubled, to `MOST_AHEAD`, when workers run dry.
        in_doubt: jobs of the ledger that are in doubt on disk already.
        limit: most jobs to claim; None: all there are.
        on_stop: told when the run has to end.
    """

    def __init__(
        self,
        *,
        books: Books,
        worklist: Worklist[Attempted],
        claim_ahead: int,
        in_doubt: int,
        limit: int | None,
        on_stop: Callable[[Stop], None],
    ) -> None:
        self._books = books
        self._worklist = worklist
        self._claim_ahead = claim_ahead
        self._in_doubt = in_doubt
        self._left_to_claim = limit
        self._on_stop = on_stop
        self._more = True
        self._claiming = True
        self._ended = False
        self._results: list[JobResult] = []
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self.write_error: LedgerWriteError | None = None
        """Set when results could not be written in the end; they were logged then."""

    def record(self, result: JobResult) -> None:
        """Take a result in; it is on disk after the next turn."""
        self._results.append(result)
        self._wake.set()

    def running_low(self) -> None:
        """Take note that the worklist has become shorter."""
        if self._to_claim():
            self._wake.set()
            self._urgent.set()

    def claim_no_more(self) -> None:
        """Only write from now on; a claim already under way is given back."""
        self._claiming = False

    def end(self) -> None:
        """Write what there is and end `keep`."""
        self._claiming = False
        self._ended = True
        self._wake.set()
        self._urgent.set()

    async def keep(self) -> None:
        """Take turns until `end` was called and the last result is on disk, or cannot be written."""
        failures = 0
        while not (self._ended and not self._results):
            results, self._results = self._results, []
            settled = sum(result.state is not JobState.IN_DOUBT for result in results)
            # They are out of doubt before the turn claims.
            claim = self._to_claim(in_doubt=self._in_doubt - settled)
            try:
                claimed = await self._books.turn(results, claim)
            except LedgerWriteError as error:
                self._results = results + self._results
                failures += 1
                self._on_stop(_not_writable(error))
                if failures == WRITE_TRIES:
                    self._give_up(error)
                    return
                await anyio.sleep(WRITE_AGAIN_S)
            except BaseException:
                self._results = results + self._results
                self._log_unrecorded()
                raise
            else:
                failures = 0
                self._in_doubt += len(claimed) - settled
                self._hand_out(claimed, claim=claim)
                await self._until_next_turn()

    def _to_claim(self, *, in_doubt: int | None = None) -> int:
        """How many jobs to claim now; 0 while enough are at hand, since a claim is a job in doubt on disk."""
        in_doubt = self._in_doubt if in_doubt is None else in_doubt
        at_hand = len(self._worklist.ready)
        if not self._more or not self._claiming or at_hand * 2 > self._claim_ahead:
            return 0
        wanted = min(self._claim_ahead - at_hand, MOST_IN_DOUBT - in_doubt)
        return max(0, wanted if self._left_to_claim is None else min(wanted, self._left_to_claim))

    def _hand_out(self, claimed: list[ClaimedJob], *, claim: int) -> None:
        jobs = [Attempted(claimed=job, doubted=job.doubted) for job in claimed]
        if self._left_to_claim is not None:
            self._left_to_claim -= len(claimed)
        if len(claimed) < claim or self._left_to_claim == 0:
            self._more = False
        if self._claiming:
            self._worklist.add(jobs)
        else:
            self._results.extend(job.given_back() for job in jobs)
        if not self._more:
            self._worklist.exhausted()
        if self._worklist.starved:
            self._worklist.starved = 0
            self._claim_ahead = min(self._claim_ahead * 2, MOST_AHEAD)
        if self._more and self._in_doubt >= MOST_IN_DOUBT and not self._worklist.can_bring_more:
            self._on_stop(TOO_MANY_IN_DOUBT)

    async def _until_next_turn(self) -> None:
        """Wait for something to write or claim, or until a sign of life is due; then gather for a moment."""
        if not (self._results or self._to_claim() or self._ended):
            self._wake.clear()
            with anyio.move_on_after(BEAT_S):
                await self._wake.wait()
        if self._results and not self._to_claim() and not self._ended:
            self._urgent.clear()
            with anyio.move_on_after(GROUP_S):
                await self._urgent.wait()

    def _give_up(self, error: LedgerWriteError) -> None:
        self.write_error = error
        self._log_unrecorded()

    def _log_unrecorded(self) -> None:
        for result in self._results:
            # The ledger holds these jobs as in doubt, which is true; what is known of them beyond that goes here.
            log.error(
                "result_not_recorded",
                job_id=result.job_id,
                state=str(result.state),
                id=result.send_id,
                scenario=result.scenario and str(result.scenario),
                message=result.message,
            )


def _not_writable(error: LedgerWriteError) -> Stop:
    return Stop(
        code="ledger_not_writable",
        reason=error.what,
        remedy=error.remedy or "Make the ledger writable, then `sms-runner resume`.",
    )
