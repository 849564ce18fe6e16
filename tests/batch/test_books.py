"""A run's turns at the ledger: the loop never waits, the disk is waited for elsewhere, a turn is whole or nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ledger.ledger_rows import ORG, chunk, jobs, sent, stage, start

from runner.batch.books import ThreadedBooks
from runner.errors import LedgerError, LedgerWriteError
from runner.ledger.entries import ClaimedJob
from runner.ledger.store import Ledger
from runner.model import Balance

SOON_S = 20.0
"""Long enough for any machine; only a test that fails waits for it."""
GIVES_IN_AFTER_S = 3.0
"""Less than SQLite waits for a lock."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "org.ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, org=ORG) as opened:
        stage(opened, chunk(jobs("a", "b", "c")))
        start(opened, 1)
        yield opened


@pytest.fixture
def books(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedBooks]:
    """For which every turn is a big one; small ones are but for the thread the same."""
    monkeypatch.setattr("runner.batch.books.BIG_TURN", 0)
    made = ThreadedBooks(ledger, run_id=1, batch_id=1, wall_ms=lambda: 2_000)
    yield made
    made.close()


@contextmanager
def writing_elsewhere(path: Path) -> Iterator[threading.Event]:
    """Another program is writing to the ledger; it gives in, and says so, if it is waited for instead of ended."""
    gave_in = threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=SOON_S, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        def give_in() -> None:
            gave_in.set()
            other.execute("ROLLBACK")

        giving_in = threading.Timer(GIVES_IN_AFTER_S, give_in)
        giving_in.start()
        try:
            yield gave_in
        finally:
            giving_in.cancel()
            giving_in.join()
        if not gave_in.is_set():
            other.execute("ROLLBACK")


def on_disk(path: Path) -> Balance:
    with Ledger.open(path, org=ORG, read_only=True) as other:
        return other.balance(1)


async def test_a_turn_is_on_disk_when_it_returns(path: Path, books: ThreadedBooks) -> None:
    claimed = await books.turn([], 2)
    assert [claim.job.message_name for claim in claimed] == ["a", "b"]
    assert on_disk(path) == Balance(rows=3, pending=1, in_doubt=2)
    (last,) = await books.turn([sent(claim) for claim in claimed], 5)
    assert last.job.message_name == "c"
    assert on_disk(path) == Balance(rows=3, in_doubt=1, sent=2)


@pytest.mark.parametrize(("big_turn", "on_the_loop"), [(3, True), (4, False)])
async def test_only_big_turns_are_done_on_the_loop_and_no_commit_is(
    path: Path, books: ThreadedBooks, big_turn: int, monkeypatch: pytest.MonkeyPatch, *, on_the_loop: bool
) -> None:
    monkeypatch.setattr("runner.batch.books.BIG_TURN", big_turn)
    seen: dict[str, Any] = {}
    real = Ledger.turning

    @contextmanager
    def watched(ledger: Ledger, *args: Any, **kwargs: Any) -> Iterator[list[ClaimedJob]]:
        with real(ledger, *args, **kwargs) as claimed:
            seen["begun on the loop"] = threading.current_thread() is threading.main_thread()
            seen["before"] = on_disk(path)
            yield claimed
            seen["ended on the loop"] = threading.current_thread() is threading.main_thread()

    monkeypatch.setattr(Ledger, "turning", watched)
    await books.turn([], 3)
    assert seen == {
        "begun on the loop": on_the_loop,
        "before": Balance(rows=3, pending=3),
        "ended on the loop": False,
    }
    assert on_disk(path) == Balance(rows=3, in_doubt=3)


async def test_the_loop_goes_on_while_another_program_writes(path: Path, books: ThreadedBooks) -> None:
    with writing_elsewhere(path) as gave_in:
        turn = asyncio.create_task(books.turn([], 3))
        await asyncio.sleep(0)
        assert not gave_in.is_set(), "the loop was kept"
        assert not turn.done()
    assert len(await asyncio.wait_for(turn, SOON_S)) == 3
    assert on_disk(path) == Balance(rows=3, in_doubt=3)


async def test_a_lock_that_stays_is_an_error_and_the_next_turn_works(
    path: Path, books: ThreadedBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.ledger.sqlite._BUSY_TIMEOUT_S", 0.05)
    with writing_elsewhere(path), pytest.raises(LedgerWriteError, match="another process keeps it locked"):
        await books.turn([], 3)
    assert len(await books.turn([], 3)) == 3


async def test_a_turn_that_is_refused_changes_nothing(path: Path, books: ThreadedBooks) -> None:
    (a,) = await books.turn([], 1)
    await books.turn([sent(a)], 0)
    with pytest.raises(LedgerError, match="not claimed"):
        await books.turn([sent(a)], 2)
    assert on_disk(path) == Balance(rows=3, pending=2, sent=1)
    assert len(await books.turn([], 2)) == 2


async def test_a_commit_that_fails_says_so_and_changes_nothing(
    path: Path, books: ThreadedBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Ledger.turning

    @contextmanager
    def full(ledger: Ledger, *args: Any, **kwargs: Any) -> Iterator[list[ClaimedJob]]:
        with real(ledger, *args, **kwargs) as claimed:
            yield claimed
            raise LedgerWriteError("The disk is full.")

    with monkeypatch.context() as disk:
        disk.setattr(Ledger, "turning", full)
        with pytest.raises(LedgerWriteError, match="disk is full"):
            await books.turn([], 3)
    assert on_disk(path) == Balance(rows=3, pending=3)
    assert len(await books.turn([], 3)) == 3


async def test_a_turn_given_up_before_its_commit_is_undone(path: Path, books: ThreadedBooks) -> None:
    free = threading.Event()
    books._thread.submit(free.wait, SOON_S)
    turn = asyncio.create_task(books.turn([], 3))
    await asyncio.sleep(0)
    turn.cancel()
    with suppress(asyncio.CancelledError):
        await turn
    free.set()
    assert turn.cancelled()
    assert on_disk(path) == Balance(rows=3, pending=3)
    assert len(await books.turn([], 3)) == 3


async def test_a_turn_that_finds_no_thread_is_undone(
    path: Path, books: ThreadedBooks, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as system:
        system.setattr(books._thread, "submit", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            await books.turn([], 3)
    assert on_disk(path) == Balance(rows=3, pending=3)
    ledger.end_run(1, reason="failed", exit_code=1, now_ms=3_000)
