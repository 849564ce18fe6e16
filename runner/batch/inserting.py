"""Staging in a thread of its own: while a chunk of rows is inserted, the next is read and checked.

Most of both is done without Python's lock, by SQLite on one side, Arrow and numpy on the other, so a second core is put
to use. One chunk ahead and not more, since each is memory. The ledger's connection belongs to one thread at a time, so
what the checks ask of the ledger meanwhile takes its turn in the same thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from runner.model import InvalidRow, JobChunk

if TYPE_CHECKING:  # for annotations only: a check needs no ledger, and its library takes a quarter of a second
    from runner.ledger.staging import Staging

T = TypeVar("T")


class Inserting:
    """The thread that uses a staging, for as long as the block lasts; after it, the staging is the caller's again.

    However the block is left, no step of the thread is under way any more, and none will begin: the transaction would
    be over, and each statement of its own would be kept.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inserting")
        self._at_work = Lock()
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        again: KeyboardInterrupt | None = None
        while not self._over:
            try:
                with self._at_work:  # waits for the step under way, a chunk at most
                    self._over = True
            except KeyboardInterrupt as interrupt:  # pressed again, out of impatience: not a reason to wait less
                again = interrupt
        self._thread.shutdown(cancel_futures=True)
        if again is not None and error is None:
            raise again

    def settled(self, names: Sequence[str]) -> set[str]:
        """As `Staging.settled`, of all rows given before."""
        return self._submit(lambda: self._staging.settled(names)).result()

    def through(self, chunks: Iterable[JobChunk]) -> Iterator[tuple[list[InvalidRow], list[InvalidRow]]]:
        """Stages chunks; the invalid rows of each and then those that conflict with the ledger, chunk by chunk.

        What goes wrong, on either side, is raised when all that stood before it in the file has been given, as if there
        was no thread.
        """
        chunks = iter(chunks)
        waiting: tuple[list[InvalidRow], Future[list[InvalidRow]]] | None = None
        while True:
            chunk, failure = _next(chunks)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            if failure is not None:
                raise failure
            if chunk is None:
                return
            waiting = chunk.invalid, self._add(chunk)
            del chunk  # it is gone as soon as it is inserted, while the next is being checked

    def _add(self, chunk: JobChunk) -> Future[list[InvalidRow]]:
        return self._submit(lambda: self._staging.add(chunk))

    def _submit(self, step: Callable[[], T]) -> Future[T]:
        def taken() -> T:
            with self._at_work:
                if self._over:
                    raise RuntimeError("the staging is over")
                return step()

        return self._thread.submit(taken)


def _next(chunks: Iterator[JobChunk]) -> tuple[JobChunk | None, Exception | None]:
    """The next chunk, or what was raised instead; neither at the end."""
    try:
        return next(chunks, None), None
    except Exception as error:  # noqa: BLE001 - not swallowed: it is raised in its turn
        return None, error
