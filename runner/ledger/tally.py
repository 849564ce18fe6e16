"""What the jobs to be sent have in common, counted while they go by, so that the plan costs no second look at them.

A file may have as many contact sources as rows, and counting must not need memory for each. Past a limit a tally gives
up its counts, and the plan asks the database instead, which sorts on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from runner.ledger.entries import TOP_SHARES, Share
from runner.ledger.wording import scheduled

DISTINCT_LIMIT: Final = 20_000
"""Values counted in memory, some 4 MB of them."""


class Tally:
    """How often each value of one column occurs; None is counted apart."""

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = DISTINCT_LIMIT if limit is None else limit
        self._counts: Counter[object] = Counter()
        self.absent = 0
        """Jobs without a value."""
        self.overflowed = False
        """More distinct values than the limit: `top` and `distinct` are not known here."""

    def add(self, values: list[str | None] | list[int | None] | list[str]) -> None:
        """Counts a column of a chunk."""
        absent = values.count(None)  # type: ignore[arg-type] # None is no member of list[str], and is then not found
        self.absent += absent
        if self.overflowed or absent == len(values):
            return
        self._counts.update(values)
        self._counts.pop(None, None)
        if len(self._counts) > self._limit:
            self.overflowed = True
            self._counts.clear()

    @property
    def distinct(self) -> int:
        """How many distinct values there are."""
        return len(self._counts)

    def top(self) -> tuple[Share, ...]:
        """The most frequent values, at most `TOP_SHARES`; equally frequent ones in the order they came."""
        return tuple(Share(value=str(value), count=count) for value, count in self._counts.most_common(TOP_SHARES))


class Span:
    """The earliest and the latest of the scheduled dates."""

    def __init__(self) -> None:
        self.earliest: datetime | None = None
        self.latest: datetime | None = None
        self.absent = 0
        """Jobs without a date: they are sent at once."""

    def add(self, dates: list[str | None]) -> None:
        """Takes in a column of a chunk; each distinct text is read once."""
        self.absent += dates.count(None)
        self._take(scheduled(text) for text in set(dates) if text is not None)

    def _take(self, moments: Iterable[datetime | None]) -> None:
        for moment in moments:
            if moment is None:
                continue
            if self.earliest is None or moment < self.earliest:
                self.earliest = moment
            if self.latest is None or moment > self.latest:
                self.latest = moment
