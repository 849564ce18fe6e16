"""Job files for measuring: every column filled, every row good, the same bytes for the same number of rows.

The harder cases of a good file are in every row (a date with an offset, a number, a long reference, a column that is
carried through), so that a check has something to check. The data is made from a seed, never committed.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

SEED: Final = 20
HEADER: Final = (
    "publishedMessageId,messageName,contactSourceId,externalSystemName,externalSystemReferenceId,scheduledDate,"
    "preBlockingHours,folder,store\n"
)
"""The last column is none of the API's."""
MESSAGES: Final = 25
_ROWS_AT_ONCE: Final = 20_000


def job_file(folder: Path, rows: int) -> Path:
    """A CSV file of `rows` good jobs; made if it is not there."""
    path = folder / f"jobs-{rows}.csv"
    if path.exists():
        return path
    random = Random(SEED)  # noqa: S311 - made-up rows, no secret
    messages = [str(UUID(int=random.getrandbits(128), version=4)) for _ in range(MESSAGES)]
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER)
        for begin in range(0, rows, _ROWS_AT_ONCE):
            file.write("".join(_row(random, messages, n) for n in range(begin, min(begin + _ROWS_AT_ONCE, rows))))
    temporary.rename(path)
    return path


def _row(random: Random, messages: list[str], number: int) -> str:
    one, two = random.getrandbits(32), random.getrandbits(32)
    return (
        f"{messages[one % MESSAGES]},spring sale {number:08d},{40_000_000 + number},Campaign,"
        f"store/{two:08x}/order/{one:08x},2040-0{one % 9 + 1}-1{two % 10}T0{one % 10}:30:00.000+00:00,"
        f"{two % 48},/Shared/SMS/{two % 12},Store {one % 900}\n"
    )
