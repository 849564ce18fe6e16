"""What the jobs to be sent have in common, counted while they go by, so that the plan costs no second look at them.

A file may have as many contact sources as rows, and counting must not need memory for each. Past a limit numbers go to
a temporary file (`numbers`), which is counted at the end; a tally of texts gives up its counts, and the plan asks the
database instead. It could be asked about numbers too, but needs ten times as long, while the operator waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from runner.ledger.entries import TOP_SHARES, Share
from runner.ledger.numbers import Numbers
from runner.ledger.wording import scheduled

DISTINCT_LIMIT: Final = 20_000
"""Values counted in memory, some 4 MB of them."""


class Tally:
    """How often each value of one column occurs; None is counted apart.

    With `numeric` the values are whole numbers of 64 bits, and there may be any number of distinct ones.
    """

    def __init__(self, *, numeric: bool = False, limit: int | None = None) -> None:
        self._limit = DISTINCT_LIMIT if limit is None else limit
        self._numeric = numeric
        self._counts: Counter[object] = Counter()
        self._spilled: Numbers | None = None
        self.absent = 0
        """Jobs without a value."""
        self.overflowed = False
        """More distinct texts than the limit: `top` and `distinct` are not known here."""

    def add(self, values: list[str | None] | list[int | None] | list[str]) -> None:
        """Counts a column of a chunk. Raises `OSError` where there is no room for a temporary file."""
        absent = values.count(None)  # type: ignore[arg-type] # None is no member of list[str], and is then not found
        self.absent += absent
        if self.overflowed or absent == len(values):
            return
        if self._spilled is not None:
            self._spilled.add([value for value in values if value is not None] if absent else values)
            return
        self._counts.update(values)
        self._counts.pop(None, None)
        if len(self._counts) > self._limit:
            self._overflow()

    @property
    def distinct(self) -> int:
        """How many distinct values there are."""
        return self._spilled.distinct if self._spilled is not None else len(self._counts)

    def top(self) -> tuple[Share, ...]:
        """The most frequent values, at most `TOP_SHARES`.

        Equally frequent ones stand in the order they came, or by size where there are too many to know it.
        """
        most = self._spilled.top if self._spilled is not None else self._counts.most_common(TOP_SHARES)
        return tuple(Share(value=str(value), count=count) for value, count in most)

    def _overflow(self) -> None:
        if self._numeric:
            self._spilled = Numbers(most=TOP_SHARES)
            self._spilled.add(list(self._counts.elements()))
        else:
            self.overflowed = True
        self._counts.clear()


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
