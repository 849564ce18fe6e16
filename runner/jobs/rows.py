"""What every source of jobs hands to the checks: rows as columns of text, and the few rows that fit in no column.

A CSV file, a Parquet file and a Python program differ in how they come to this; the rules behind it do not know which
of them it was. That is why the same job is judged alike, wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
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


class RowSource(Protocol):
    """Where rows come from. Every call of `batches` reads from the beginning."""

    @property
    def kind(self) -> Kind:
        """What it is that is read."""

    @property
    def columns(self) -> Columns:
        """Its headers, and which of them are attributes."""

    def batches(self, digest: Digest) -> Iterator[Rows]:
        """All rows in order, counting every byte into `digest`; raises `JobFileError`."""
