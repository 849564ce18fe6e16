"""Some rows against all rules and guards: which may be sent, and what is wrong with the others.

Rules are about cells, guards about what nobody is likely to want; a guard is silent for a job that will not be sent
anyway because the ledger has it already. Good rows leave as columns, and only bad ones cost work one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from runner.jobs import carried
from runner.jobs.buffers import Bools, Ints
from runner.jobs.faults import GUARDS, VALUE_LIMIT, ProblemCode, problem
from runner.jobs.headers import Columns
from runner.jobs.judge import ABSENT, Judged, judge
from runner.jobs.repeats import Keys, Repeats
from runner.jobs.rows import Rows
from runner.model import ATTRIBUTES, InvalidRow, JobChunk, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What is looked out for beyond the rules."""

    now_ms: int | None
    """Dates before this are past; None: dates in the past are allowed."""
    blank_contact_source: bool
    """Whether an empty contactSourceId is a problem, in a file that has the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the caller of a pass knows about rows and names."""

    settled: Callable[[Sequence[str]], Collection[str]] | None
    excluded: Mapping[int, Problem]


class Assessment:
    """Some rows, judged."""

    def __init__(
        self,
        rows: Rows,
        *,
        columns: Columns,
        defaults: Mapping[str, str],
        timezone: ZoneInfo | None,
        guards: Guards,
        asked: Asked,
    ) -> None:
        self._rows = rows
        self._columns = columns
        self._timezone = timezone
        self._count = len(rows.numbers)
        places = {header: place for place, header in enumerate(columns.headers)}
        self._judged: dict[str, Judged] = {}
        for attribute in ATTRIBUTES:
            header = columns.attributes.get(attribute)
            cells = None if header is None else rows.cells[places[header]]
            default = defaults.get(attribute, "")
            self._judged[attribute] = judge(attribute, cells, rows=self._count, default=default, timezone=timezone)
        self._others = [rows.cells[places[header]] for header in columns.others]
        self._problems: dict[int, list[Problem]] = {}
        """Place of a row among the columns -> its problems."""
        if self._count:
            self._find_faults()
            self._find_guarded(guards, asked)
        bad = sorted(self._problems)
        self._bad = bad
        self._good: Ints | None = None
        if bad:
            keep = np.ones(self._count, np.bool_)
            keep[bad] = False
            self._good = np.flatnonzero(keep)

    @property
    def bad(self) -> int:
        """How many rows may not be sent."""
        return len(self._bad) + len(self._rows.broken)

    def keys(self) -> Keys:
        """What may repeat among the good rows."""
        return Keys(
            rows=self._rows.numbers if self._good is None else self._rows.numbers[self._good],
            names=self._judged["messageName"].rows(self._good),
            message=self._judged["publishedMessageId"],
            contact=self._judged["contactSourceId"],
            date=self._judged["scheduledDate"],
            chosen=self._good,
        )

    def chunk(self) -> JobChunk:
        """The rows as they go on to the ledger."""
        good = self._good
        numbers = self._rows.numbers if good is None else self._rows.numbers[good]
        listed = {field: self._judged[name].rows(good).tolist() for name, field in ATTRIBUTES.items()}
        invalid = self._invalid_rows()
        if self._rows.broken:
            invalid = sorted([*invalid, *self._rows.broken], key=lambda row: row.row)
        others = carried.as_json(self._others, good, len(numbers))
        return JobChunk(rows=numbers.tolist(), others=others, invalid=invalid, **listed)

    def _find_faults(self) -> None:
        for attribute, judged in self._judged.items():
            faulty = judged.faulty()
            if faulty is None:
                continue
            for place in np.flatnonzero(faulty).tolist():
                self._add(place, attribute, judged.faults[judged.place(place)])

    def _find_guarded(self, guards: Guards, asked: Asked) -> None:
        found: list[tuple[int, Problem]] = []
        date, contact = self._judged["scheduledDate"], self._judged["contactSourceId"]
        if guards.now_ms is not None and date.numbers is not None:
            past = date.at_rows((date.numbers != ABSENT) & (date.numbers < guards.now_ms))
            found += self._guarded(past, "scheduledDate", ProblemCode.DATE_IN_PAST)
        if guards.blank_contact_source and "contactSourceId" in self._columns.attributes:
            blank = contact.at_rows(contact.empty())
            found += self._guarded(blank, "contactSourceId", ProblemCode.BLANK_CONTACT_SOURCE)
        found += self._excluded(asked.excluded)
        known: Collection[str] = ()
        if asked.settled is not None:
            names = [self._name(place) for place, fault in found if fault.code in GUARDS]
            known = set(asked.settled(names)) if names else ()
        for place, fault in found:
            if not (fault.code in GUARDS and known and self._name(place) in known):
                self._problems.setdefault(place, []).append(fault)

    def _guarded(self, marks: Bools, attribute: str, code: ProblemCode) -> list[tuple[int, Problem]]:
        return [(place, self._problem(place, attribute, code)) for place in np.flatnonzero(marks).tolist()]

    def _excluded(self, excluded: Mapping[int, Problem]) -> list[tuple[int, Problem]]:
        if not excluded:
            return []
        numbers = self._rows.numbers
        if isinstance(excluded, Repeats):
            rows = excluded.among(numbers)
        else:
            rows = [row for row in numbers.tolist() if row in excluded]
        places = np.searchsorted(numbers, rows)
        found = []
        for row, place in zip(rows, places.tolist(), strict=True):
            if numbers[place] != row:
                continue
            fault = excluded[row]
            if fault.value is None and fault.code == ProblemCode.NAME_TWICE_IN_FILE:
                fault = replace(fault, value=self._name(place)[:VALUE_LIMIT])
            found.append((place, fault))
        return found

    def _name(self, place: int) -> str:
        return self._judged["messageName"].text(place)

    def _add(self, place: int, attribute: str, code: ProblemCode) -> None:
        self._problems.setdefault(place, []).append(self._problem(place, attribute, code))

    def _problem(self, place: int, attribute: str, code: ProblemCode) -> Problem:
        zone = "" if self._timezone is None else self._timezone.key
        return problem(
            code,
            row=int(self._rows.numbers[place]),
            column=self._columns.attributes.get(attribute, attribute),
            value=self._judged[attribute].text(place),
            attribute=attribute,
            timezone=zone,
        )

    def _invalid_rows(self) -> list[InvalidRow]:
        if not self._bad:
            return []
        chosen = pa.array(self._bad)
        records = zip(*(column.take(chosen).to_pylist() for column in self._rows.cells), strict=True)
        return [self._invalid_row(place, record) for place, record in zip(self._bad, records, strict=True)]

    def _invalid_row(self, place: int, record: tuple[str, ...]) -> InvalidRow:
        row = int(self._rows.numbers[place])
        problems = tuple(self._problems[place])
        if not any(record):
            problems = (problem(ProblemCode.BLANK_ROW, row=row),)
        return InvalidRow(row=row, cells=dict(zip(self._columns.headers, record, strict=True)), problems=problems)
