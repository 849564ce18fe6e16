"""What every source of jobs hands to the checks: rows as columns of text, and the few rows that fit in no column.

A CSV file, a Parquet file and a Python program differ in how they come to this; the rules behind it do not know which
of them it was. That is why the same job is judged alike, wherever it comes from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from runner.jobs.buffers import Arrow, Ints
from runner.jobs.headers import Columns
from runner.jobs.text import Digest
from runner.model import InvalidRow

Kind = Literal["csv", "parquet", "jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some consecutive rows; none of the arrays has nulls, an empty cell is the empty text."""

    numbers: Ints
    """Row number of each row in the columns."""
    cells: list[Arrow]
    """One Arrow string array per header, in the file's order."""
    broken: list[InvalidRow] = field(default_factory=list)
    """Rows that are in no column: ragged ones, and such as no column of text can hold."""

    def parts(self, size: int) -> Iterator[Rows]:
        """The same rows in the same order, at most `size` of them in columns at a time."""
        if len(self.numbers) <= size:
            yield self
            return
        done = 0
        for start in range(0, len(self.numbers), size):
            numbers = self.numbers[start : start + size]
            # Broken rows go with the rows before which they stand, those at the end with the last ones.
            last = start + size >= len(self.numbers)
            upto = len(self.broken) if last else bisect_right(self.broken, int(numbers[-1]), key=_row_number)
            cells = [column.slice(start, len(numbers)) for column in self.cells]
            yield Rows(numbers=numbers, cells=cells, broken=self.broken[done:upto])
            done = upto


def _row_number(row: InvalidRow) -> int:
    return row.row


class RowSource(Protocol):
    """Where rows come from. Every call of `batches` reads from the beginning."""

    @property
    def kind(self) -> Kind:
        """What it is that is read."""

    @property
    def columns(self) -> Columns:
        """Its headers, and which of them are attributes."""

    def batches(self, digest: Digest) -> Generator[Rows]:
        """All rows in order, counting every byte into `digest`; raises `JobFileError`."""
