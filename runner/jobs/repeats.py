"""Rows that repeat an earlier one: the same messageName, or the same message to the same audience at the same time.

No pass over a file of any size may keep its names in memory. So the first pass keeps one 64-bit fingerprint per row
(SipHash under a random key), sorted and put into a temporary file beyond a million of them; afterwards the
fingerprints that occur twice are found share by share. Nearly always there are none, and that is the end of it.
Otherwise the rows are read once more, only those with such a fingerprint are looked at, and a second fingerprint under
another key must agree as well: 128 bits in all, so that two different names are never taken for one. What comes out
is nine bytes per repeat; the sentence about it is made when somebody asks.
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runner.jobs.buffers import Bools, Ints
from runner.jobs.faults import ProblemCode, problem
from runner.jobs.fingerprints import Fingerprints, Prints, scattered, text_prints
from runner.jobs.judge import Judged
from runner.model import Problem

Settled = Callable[[Sequence[str]], Collection[str]]

NAMES_KEPT: Final = 1000
"""How many repeats keep the name itself, to be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What may repeat, for some valid rows."""

    rows: Ints
    names: npt.NDArray[np.object_]
    message: Judged
    contact: Judged
    date: Judged
    chosen: Ints | None
    """Places of the valid rows in the judged columns; None: all."""

    def name_prints(self, key: str) -> Prints:
        """A fingerprint of each name; `key` has 16 characters."""
        return text_prints(self.names, key)

    def audience_prints(self, key: str, among: Ints | None = None) -> Prints:
        """A fingerprint of each row's message, contact source and time (as an instant, however it is written).

        `among`: places of the rows that are wanted; None: all.
        """
        # Objects of faulty places may be None; those rows are not chosen, but the column is hashed as a whole.
        words = np.array([word or "" for word in self.message.objects.tolist()], dtype=object)
        prints = self._rows_of(self.message, text_prints(words, key))
        for column in (self.contact, self.date):
            numbers = column.numbers
            if numbers is not None:
                prints = scattered(prints ^ scattered(self._rows_of(column, numbers).view(np.uint64)))
        return prints if among is None else prints[among]

    def _rows_of(self, column: Judged, per_value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        per_row = column.at_rows(per_value)
        return per_row if self.chosen is None else per_row[self.chosen]


class RepeatFinder:
    """Fed with the valid rows of a pass, finds the repeats among them with the help of a second pass."""

    def __init__(self, *, audiences: bool) -> None:
        self._key = secrets.token_hex(8)
        self._second_key = secrets.token_hex(8)
        self._names = Fingerprints()
        self._audiences = Fingerprints() if audiences else None

    def add(self, keys: Keys) -> None:
        """Takes in some rows."""
        self._names.add(keys.name_prints(self._key))
        if self._audiences is not None:
            self._audiences.add(keys.audience_prints(self._key))

    def close(self) -> None:
        """Frees what was put away."""
        self._names.close()
        if self._audiences is not None:
            self._audiences.close()

    def find(
        self,
        again: Callable[[], Iterable[Keys]],
        *,
        settled: Settled | None,
        name_column: str,
        audience_column: str | None,
    ) -> Repeats:
        """The repeats. `again` reads the rows once more, if need be; `settled` as in `FileCheck.chunks`."""
        repeats = Repeats(name_column=name_column, audience_column=audience_column)
        names = _Firsts(self._names.twice())
        audiences = None if self._audiences is None else _Firsts(self._audiences.twice())
        if not (names or audiences):
            return repeats
        for keys in again():
            later, firsts = names.later(
                keys.rows, keys.name_prints(self._key), partial(keys.name_prints, self._second_key)
            )
            by_audience = np.zeros(len(later), np.bool_)
            if audiences:
                rest = np.flatnonzero(~later)  # a row that repeats a name is out already, so it is nobody's first
                again_later, again_firsts = audiences.later(
                    keys.rows[rest],
                    keys.audience_prints(self._key, rest),
                    partial(keys.audience_prints, self._second_key, rest),
                )
                by_audience[rest] = again_later
                firsts[rest] = again_firsts
                if settled is not None and again_later.any():
                    by_audience &= ~_settled(keys, by_audience, settled)
            repeats.add(keys, later | by_audience, firsts, by_audience)
        return repeats


class Repeats(Mapping[int, Problem]):
    """Row -> the `Problem` of repeating an earlier row. Compact: the problems are made when looked up."""

    def __init__(self, *, name_column: str, audience_column: str | None) -> None:
        self._name_column = name_column
        self._audience_column = audience_column
        self._parts: list[_Part] = []
        self._begins: list[int] = []
        self._names: dict[int, str] = {}
        self._count = 0

    def add(self, keys: Keys, hit: Bools, firsts: Ints, by_audience: Bools) -> None:
        """Takes in the repeats among some rows (rows go up from call to call)."""
        places = np.flatnonzero(hit)
        if not len(places):
            return
        part = _Part(
            rows=keys.rows[places].astype(np.uint32),
            firsts=firsts[places].astype(np.uint32),
            by_audience=by_audience[places],
        )
        for place in places[: max(0, NAMES_KEPT - self._count)].tolist():
            self._names[int(keys.rows[place])] = keys.names[place]
        self._parts.append(part)
        self._begins.append(int(part.rows[0]))
        self._count += len(places)

    def among(self, rows: Ints) -> list[int]:
        """Those of these consecutive rows that are repeats."""
        if not self._count or not len(rows):
            return []
        first, last = int(rows[0]), int(rows[-1])
        begin = max(0, bisect_right(self._begins, first) - 1)
        end = bisect_right(self._begins, last)
        found = [part.rows[(part.rows >= first) & (part.rows <= last)] for part in self._parts[begin:end]]
        return [row for rows_found in found for row in rows_found.tolist()]

    def __getitem__(self, row: int) -> Problem:
        place = bisect_right(self._begins, row) - 1
        if place >= 0:
            part = self._parts[place]
            at = int(np.searchsorted(part.rows, row))
            if at < len(part.rows) and part.rows[at] == row:
                return self._problem(row, int(part.firsts[at]), by_audience=bool(part.by_audience[at]))
        raise KeyError(row)

    def __iter__(self) -> Iterator[int]:
        return (row for part in self._parts for row in part.rows.tolist())

    def __len__(self) -> int:
        return self._count

    def _problem(self, row: int, first: int, *, by_audience: bool) -> Problem:
        if by_audience:
            return problem(
                ProblemCode.AUDIENCE_TWICE_IN_FILE,
                row=row,
                column=self._audience_column,
                attribute="contactSourceId",
                first=first,
            )
        return problem(
            ProblemCode.NAME_TWICE_IN_FILE,
            row=row,
            column=self._name_column,
            value=self._names.get(row),
            attribute="messageName",
            first=first,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    rows: npt.NDArray[np.uint32]
    firsts: npt.NDArray[np.uint32]
    by_audience: Bools


@dataclass(slots=True)
class _Firsts:
    """The first row of each fingerprint that occurs twice, as the rows go by in order."""

    prints: Prints
    rows: Ints = field(init=False)
    seconds: Prints = field(init=False)
    clashes: dict[tuple[int, int], int] = field(default_factory=dict)
    """First rows of texts whose first fingerprint is that of another text: once in a very long time."""

    def __post_init__(self) -> None:
        self.rows = np.zeros(len(self.prints), np.int64)
        self.seconds = np.zeros(len(self.prints), np.uint64)

    def __bool__(self) -> bool:
        return len(self.prints) > 0

    def later(self, rows: Ints, prints: Prints, second: Callable[[], Prints]) -> tuple[Bools, Ints]:
        """Which of the rows repeat an earlier one, and the first row of each of those."""
        hit = np.zeros(len(rows), np.bool_)
        firsts = np.zeros(len(rows), np.int64)
        if not self or not len(rows):
            return hit, firsts
        places = np.minimum(np.searchsorted(self.prints, prints), len(self.prints) - 1)
        candidates = np.flatnonzero(self.prints[places] == prints)
        if not len(candidates):
            return hit, firsts
        seconds = second()
        at = places[candidates]
        fresh, fresh_index = np.unique(at, return_index=True)
        new = self.rows[fresh] == 0  # rows count from 1
        self.rows[fresh[new]] = rows[candidates[fresh_index[new]]]
        self.seconds[fresh[new]] = seconds[candidates[fresh_index[new]]]
        same = self.seconds[at] == seconds[candidates]
        repeated = same & (self.rows[at] != rows[candidates])
        hit[candidates] = repeated
        firsts[candidates] = np.where(repeated, self.rows[at], 0)
        for index in np.flatnonzero(~same).tolist():
            place, row = int(candidates[index]), int(rows[candidates[index]])
            first = self.clashes.setdefault((int(at[index]), int(seconds[place])), row)
            if first != row:
                hit[place], firsts[place] = True, first
        return hit, firsts


def _settled(keys: Keys, rows: Bools, settled: Settled) -> Bools:
    places = np.flatnonzero(rows)
    known = set(settled(keys.names[places].tolist()))
    marks = np.zeros(len(rows), np.bool_)
    marks[places] = [name in known for name in keys.names[places]]
    return marks
