"""A process that uses a ledger and is killed at a chosen instant; run by `test_ledger_crash`, not imported."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ledger.ledger_rows import HEADERS, ORG, chunk, jobs, sent

from runner.ledger.store import Ledger


def say(*words: object) -> None:
    """Tells the test, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def kill_after(ledger: Ledger, steps: int) -> None:
    """Dies, as by a power cut, once SQLite has done so many more steps."""

    def die() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    ledger._database._driver().set_progress_handler(die, steps)


def take_turns(path: Path, steps: int) -> None:
    """Tells each job it has claimed, as its send would leave then, and each it has recorded, until it dies."""
    with Ledger.open(path, org=ORG) as ledger:
        run_id = ledger.start_run(1, settle_s=30, now_ms=5_000)
        claims = ledger.turn(run_id, results=[], batch_id=1, claim=10, now_ms=6_000)
        say("claimed", *(claim.job.message_name for claim in claims))
        results = [sent(claim) for claim in claims]
        kill_after(ledger, steps)
        more = ledger.turn(run_id, results=results, batch_id=1, claim=10, now_ms=7_000)
        say("recorded", *(claim.job.message_name for claim in claims))
        say("claimed", *(claim.job.message_name for claim in more))
        os.kill(os.getpid(), signal.SIGKILL)


def stage_and_wait(path: Path) -> None:
    """Stages many rows and is asked whether to go on when the end comes."""
    with (
        Ledger.open(path, org=ORG) as ledger,
        ledger.lock_for_run(),
        ledger.staging(
            name="b.csv", source="b.csv", headers=HEADERS, other_columns=["store"], attributes={}, now_ms=1
        ) as staging,
    ):
        staging.add(chunk(jobs(*(f"new{i}" for i in range(20_000)))))
        say("staged", staging.plan().new)
        sys.stdin.read()


def hold_the_lock(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger, ledger.lock_for_run():
        say("locked")
        sys.stdin.read()


if __name__ == "__main__":
    place = Path(sys.argv[2])
    match sys.argv[1]:
        case "turns":
            take_turns(place, int(sys.argv[3]))
        case "staging":
            stage_and_wait(place)
        case "lock":
            hold_the_lock(place)
