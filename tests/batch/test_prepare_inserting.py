"""Checking and staging go on side by side, and nobody can tell from what comes out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from runner.batch.inserting import Inserting
from runner.batch.prepare import prepare
from runner.errors import JobFileError, LedgerWriteError
from runner.jobs.checks import CheckRules, FileCheck
from runner.ledger.staging import Staging
from runner.ledger.store import Ledger
from runner.model import Balance, InvalidRow, JobChunk, Problem

SOON_S = 20.0
"""Long enough for any machine; only a test that fails waits for it."""


def _chunk(number: int) -> JobChunk:
    """A chunk that is told by the row of its only, invalid, row."""
    columns: dict[str, list[Any]] = {name: [] for name in JobChunk.__dataclass_fields__ if name != "invalid"}
    return JobChunk(**columns, invalid=[_row(number)])


def _row(number: int) -> InvalidRow:
    return InvalidRow(row=number, cells={}, problems=())


class Scripted:
    """A staging that notes what is asked of it, and in which thread; `on_add` may wait or raise."""

    def __init__(self, on_add: Callable[[int], None] = lambda _: None) -> None:
        self.on_add = on_add
        self.asked: list[str] = []
        self.threads: set[int] = set()

    def add(self, chunk: JobChunk) -> list[InvalidRow]:
        """Conflicts with a row of a hundred more."""
        number = chunk.invalid[0].row
        self.threads.add(threading.get_ident())
        self.on_add(number)
        self.asked.append(f"add {number}")
        return [_row(100 + number)]

    def settled(self, names: Sequence[str]) -> set[str]:
        """All of them."""
        self.threads.add(threading.get_ident())
        self.asked.append(f"settled {' '.join(names)}")
        return set(names)


def _inserting(staging: Scripted) -> Inserting:
    return Inserting(cast("Staging", staging))


def _told(inserting: Inserting, chunks: Iterator[JobChunk], told: list[int]) -> None:
    for invalid, conflicts in inserting.through(chunks):
        told += [row.row for row in (*invalid, *conflicts)]


def test_a_chunk_is_checked_while_the_one_before_it_is_inserted_and_never_two() -> None:
    second_is_checked = threading.Event()
    staging = Scripted(lambda number: None if number != 1 or second_is_checked.wait(SOON_S) else pytest.fail("alone"))

    def chunks() -> Iterator[JobChunk]:
        yield _chunk(1)
        second_is_checked.set()
        yield _chunk(2)
        assert "add 1" in staging.asked
        yield _chunk(3)
        assert "add 2" in staging.asked

    told: list[int] = []
    with _inserting(staging) as inserting:
        _told(inserting, chunks(), told)
    assert told == [1, 101, 2, 102, 3, 103]
    assert staging.asked == ["add 1", "add 2", "add 3"]


def test_what_the_checks_ask_takes_its_turn_in_the_one_thread_that_uses_the_ledger() -> None:
    staging = Scripted()

    def chunks() -> Iterator[JobChunk]:
        yield _chunk(1)
        assert inserting.settled(["a", "b"]) == {"a", "b"}
        yield _chunk(2)

    with _inserting(staging) as inserting:
        _told(inserting, chunks(), [])
        assert inserting.settled(["c"]) == {"c"}
    assert staging.asked == ["add 1", "settled a b", "add 2", "settled c"]
    assert len(staging.threads) == 1
    assert threading.get_ident() not in staging.threads


def test_an_error_of_the_file_comes_after_all_rows_before_it_were_told() -> None:
    def chunks() -> Iterator[JobChunk]:
        yield _chunk(1)
        yield _chunk(2)
        raise JobFileError("torn")

    told: list[int] = []
    with pytest.raises(JobFileError, match="torn"), _inserting(Scripted()) as inserting:
        _told(inserting, chunks(), told)
    assert told == [1, 101, 2, 102]


def test_an_error_of_the_ledger_comes_before_an_error_of_the_rows_behind_it() -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise LedgerWriteError("full")

    def chunks() -> Iterator[JobChunk]:
        yield _chunk(1)
        yield _chunk(2)
        raise JobFileError("torn")

    told: list[int] = []
    with pytest.raises(LedgerWriteError, match="full"), _inserting(Scripted(fail)) as inserting:
        _told(inserting, chunks(), told)
    assert told == [1, 101]


class Pressed:
    """A lock that is interrupted when the main thread waits for it, as by a key pressed again."""

    def __init__(self, times: int) -> None:
        self.lock = threading.Lock()
        self.times = times
        self.pressed = threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread() and self.times:
            self.times -= 1
            if not self.times:
                self.pressed.set()
            raise KeyboardInterrupt
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


@pytest.mark.parametrize("error", [None, ValueError])
def test_leaving_the_block_waits_for_the_step_under_way_however_often_it_is_interrupted(
    error: type[Exception] | None,
) -> None:
    """A step that went on after the transaction was undone would keep what it inserts."""
    lock = Pressed(times=3)
    begun = threading.Event()
    noted: list[bool] = []
    steps: list[Future[list[InvalidRow]]] = []

    def wait(_: int) -> None:
        begun.set()
        noted.append(lock.pressed.wait(SOON_S))

    staging = Scripted(wait)
    inserting = _inserting(staging)
    inserting._at_work = cast("threading.Lock", lock)

    def leave() -> None:
        with inserting:
            steps.append(inserting._submit(lambda: staging.add(_chunk(1))))
            assert begun.wait(SOON_S)
            if error is not None:
                raise error

    # Where the block was left without an error, the interruption is the one; else the error goes on its way.
    with pytest.raises(error or KeyboardInterrupt):
        leave()
    assert noted == [True]
    assert steps[0].done()
    _assert_no_thread()


def test_nothing_is_staged_after_the_block() -> None:
    staging = Scripted()
    with _inserting(staging) as inserting:
        pass
    with pytest.raises(RuntimeError):
        inserting.settled(["a"])
    assert staging.asked == []
    _assert_no_thread()


HEADER = "publishedMessageId,messageName,contactSourceId\n"
MESSAGE = "0a5c0000-0000-4000-8000-000000000001"


def _file(folder: Path, contacts: Sequence[str]) -> FileCheck:
    path = folder / "jobs.csv"
    rows = "".join(f"{MESSAGE},n{number},{contact}\n" for number, contact in enumerate(contacts))
    path.write_text(HEADER + rows, encoding="utf-8")
    return FileCheck(path, rules=CheckRules(now=datetime(2026, 1, 1, tzinfo=UTC), chunk_rows=10))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "a.ledger.db", org="a") as opened:
        yield opened


def _prepare(ledger: Ledger, source: FileCheck, told: list[Problem]) -> int:
    with prepare(ledger, source, name="a", origin="a", skip_invalid=True, now_ms=1, on_problem=told.append) as prepared:
        _assert_no_thread()
        return prepared.commit()


def test_problems_of_cells_and_of_the_ledger_are_told_in_the_order_of_the_rows(tmp_path: Path, ledger: Ledger) -> None:
    """Over many chunks; in the thread of the caller."""
    first = _prepare(ledger, _file(tmp_path, [str(number) for number in range(1, 96)]), [])
    run_id = ledger.start_run(first, settle_s=30, now_ms=1)
    ledger.turn(run_id, results=[], batch_id=first, claim=95, now_ms=1)  # in doubt: none may take other contents
    edited = [f"{number}e" if number % 7 == 0 else str(number + number % 5 // 4) for number in range(1, 96)]
    told: list[Problem] = []
    _prepare(ledger, _file(tmp_path, edited), told)
    by_chunk: dict[int, list[int]] = {}
    for problem in told:
        assert problem.row is not None
        by_chunk.setdefault((problem.row - 2) // 10, []).append(problem.row)
    assert list(by_chunk) == sorted(by_chunk)
    cells = [number + 1 for number in range(1, 96) if number % 7 == 0]
    conflicts = [number + 1 for number in range(1, 96) if number % 5 == 4 and number % 7]
    for number, rows in by_chunk.items():
        wanted = [[row for row in some if (row - 2) // 10 == number] for some in (cells, conflicts)]
        assert rows == [*wanted[0], *wanted[1]]


def test_an_interruption_in_the_middle_leaves_no_trace_and_no_thread(tmp_path: Path, ledger: Ledger) -> None:
    source = _file(tmp_path, ["1", "x", *map(str, range(2, 60)), "y", *map(str, range(60, 90))])

    def interrupt(problem: Problem) -> None:
        if problem.value == "y":
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        prepare(ledger, source, name="a", origin="a", skip_invalid=True, now_ms=1, on_problem=interrupt),
    ):
        pytest.fail("the file was not read to its end")
    _assert_no_thread()
    assert ledger.batches() == []
    batch_id = _prepare(ledger, source, [])
    assert ledger.balance(batch_id) == Balance(rows=91, invalid=2, pending=89)


def _assert_no_thread() -> None:
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("inserting")] == []
