"""Reading one step ahead: while one block of rows is judged, the next is read and cut in a thread of its own.

Hashing, Arrow's parser and numpy work without Python's lock for most of their time, so on a machine with a second
core a fifth of the time of a check is gone. One step, and not more, since each block ahead is memory.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(items: Generator[T]) -> Generator[T]:
    """The same items in the same order; what `items` raises is raised in its place.

    `items` runs in another thread, but never in two at once. It is closed when this generator ends or is closed.
    """
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="reading ahead") as thread:
            coming = thread.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = thread.submit(next, items, None)
                yield item
    finally:
        items.close()  # no step is under way any more: leaving the block above has waited for it
