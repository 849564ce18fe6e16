"""A process that dies at any instant loses nothing it has said, and leaves nothing it has not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledger.ledger_rows import ORG, chunk, jobs, owned, stage

from runner.errors import LedgerBusyError
from runner.ledger.store import Ledger
from runner.model import Balance

VICTIM = Path(__file__).with_name("ledger_victim.py")
NAMES = [f"n{i:03d}" for i in range(100)]


@contextmanager
def victim(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(VICTIM), *map(str, arguments)]
    root = VICTIM.parents[2]
    with subprocess.Popen(  # noqa: S603 # our own script
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={"PYTHONPATH": os.pathsep.join((str(root), str(root / "tests")))},
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("steps", [20, 150, 400, 700, 100_000])
def test_a_kill_within_a_turn_leaves_every_job_in_doubt_or_recorded_never_pending_again(path: Path, steps: int) -> None:
    """What was claimed before, the whole turn, or nothing of it: and no claim that was told is pending."""
    with Ledger.open(path, org=ORG) as ledger:
        stage(ledger, chunk(jobs(*NAMES)))
    with victim("turns", path, str(steps)) as process:
        said = [line.split() for line in process.communicate()[0].splitlines()]
    assert process.returncode == -9
    assert said[0] == ["claimed", *NAMES[:10]]
    done = len(said) > 1
    assert done == (steps == 100_000)
    with Ledger.open(path, org=ORG) as ledger:
        if done:
            assert ledger.balance(1) == Balance(rows=100, pending=80, in_doubt=10, sent=10)
        else:
            assert ledger.balance(1) == Balance(rows=100, pending=90, in_doubt=10)
        doubtful = NAMES[10:20] if done else NAMES[:10]
        assert [doubt.claim.job.message_name for doubt in ledger.doubts(1)] == doubtful
        assert {doubt.doubt_since_ms for doubt in ledger.doubts(1)} == {7_000 if done else 6_000}
        assert owned(ledger, 1) == NAMES[20 if done else 10 :]


def test_a_kill_while_the_operator_is_asked_leaves_no_trace_and_frees_the_ledger(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        stage(ledger, chunk(jobs("a")))
    with victim("staging", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "staged 20000\n"
    with Ledger.open(path, org=ORG) as ledger, ledger.lock_for_run():
        assert [batch.name for batch in ledger.batches()] == ["campaign.csv"]
        assert stage(ledger, chunk(jobs("new1")), digest="2").plan.new == 1


def test_the_run_lock_dies_with_its_process(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        with victim("lock", path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            assert ledger.at_work()
            with pytest.raises(LedgerBusyError), ledger.lock_for_run():
                pass
            process.kill()
            process.wait()
            assert not ledger.at_work()
        with ledger.lock_for_run():
            pass
