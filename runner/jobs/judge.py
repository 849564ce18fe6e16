"""One attribute's column, judged: what its cells become in a job, and which of them are at fault.

Campaign files repeat themselves: a million rows have six messages, a dozen dates. So a column is brought to its
distinct values first where there are few, the rules and conversions look at those, and a row only keeps the place of
its value. The Python objects are shared between rows too, which is most of what keeps memory down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.jobs import dates, values
from runner.jobs.buffers import TEXT, Arrow, Bools, Ints, sizes, to_objects
from runner.jobs.faults import ProblemCode

ABSENT: Final = int(np.iinfo(np.int64).min)
"""Stands for "no value" among the numbers of a column; no id, hour or date has it."""

_SAMPLE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A column after judging. `objects`, `numbers`, `texts` and `faults` go by the places of distinct values."""

    objects: npt.NDArray[np.object_]
    """What goes into the job; None for an empty cell. Without meaning at a place in `faults`."""
    numbers: Ints | None
    """For whole numbers their value, for dates milliseconds since 1970; `ABSENT` for none. None for other columns."""
    texts: Arrow
    """The cells as read, or the default that took their place; a string array."""
    faults: dict[int, ProblemCode]
    codes: Ints | None
    """For each row the place of its value; None: each row has its own, in order."""

    def at_rows(self, per_value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One entry per distinct value -> one per row."""
        return per_value if self.codes is None else per_value[self.codes]

    def place(self, row: int) -> int:
        """The place of the row's value."""
        return row if self.codes is None else int(self.codes[row])

    def text(self, row: int) -> str:
        """The row's cell, or the default that took its place."""
        return str(self.texts[self.place(row)].as_py())

    def faulty(self) -> Bools | None:
        """The rows at fault; None if there are none."""
        if not self.faults:
            return None
        marks = np.zeros(len(self.objects), np.bool_)
        marks[list(self.faults)] = True
        return self.at_rows(marks)

    def empty(self) -> Bools:
        """The distinct values that are empty."""
        nothing: Bools = sizes(self.texts) == 0
        return nothing

    def rows(self, chosen: Ints | None) -> npt.NDArray[np.object_]:
        """What goes into the jobs of the chosen rows (None: all)."""
        if chosen is None:
            return self.at_rows(self.objects)
        return self.objects[chosen if self.codes is None else self.codes[chosen]]


def judge(
    attribute: str,
    cells: Arrow,
    *,
    rows: int,
    default: str = "",
    timezone: ZoneInfo | None = None,
) -> Judged:
    """Judges the cells (a string array of `rows` entries; None: the file has no such column).

    `default` takes the place of empty cells, and of the column the file lacks; it must have passed the rules.
    """
    if cells is None:
        distinct, codes = pa.array([default], TEXT), np.zeros(rows, np.int64)
    elif attribute == "messageName":  # unique by rule, so looking for distinct ones would be lost time
        distinct, codes = cells, None
    else:
        distinct, codes = _distinct(cells)
    if default and cells is not None:
        distinct = pc.if_else(pc.equal(distinct, ""), default, distinct)
    # What stands in for a whole column is a default, which passed the rules when they were set up, or nothing.
    faults = {} if cells is None else values.faults(attribute, distinct)
    numbers = None
    empty: Bools = sizes(distinct) == 0
    if attribute in values.RANGES:
        objects, numbers = _numbers(distinct, empty, faults)
    elif attribute == "scheduledDate":
        objects, numbers = _instants(distinct, empty, faults, timezone)
    else:
        objects = to_objects(pc.ascii_lower(distinct) if attribute == "publishedMessageId" else distinct)
        if empty.any():
            objects = objects.copy()  # Arrow may hand out memory that must not be written to
            objects[empty] = None
    return Judged(objects=objects, numbers=numbers, texts=distinct, faults=faults, codes=codes)


def _distinct(cells: Arrow) -> tuple[Arrow, Ints | None]:
    """The distinct values and each row's place among them; all cells as they are where most differ anyway."""
    sample = cells.slice(0, _SAMPLE)
    if len(cells) > _SAMPLE and len(sample.unique()) > _SAMPLE // 2:
        return cells, None
    encoded = cells.dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _numbers(
    distinct: Arrow,
    empty: Bools,
    faults: dict[int, ProblemCode],
) -> tuple[npt.NDArray[np.object_], Ints]:
    usable = ~empty
    usable[list(faults)] = False
    numbers = np.full(len(distinct), ABSENT, np.int64)
    objects = np.full(len(distinct), None, dtype=object)
    chosen = distinct if usable.all() else distinct.filter(pa.array(usable))
    numbers[usable] = pc.cast(chosen, pa.int64()).to_numpy()
    objects[usable] = numbers[usable].tolist()
    return objects, numbers


def _instants(
    distinct: Arrow,
    empty: Bools,
    faults: dict[int, ProblemCode],
    timezone: ZoneInfo | None,
) -> tuple[npt.NDArray[np.object_], Ints]:
    usable = ~empty
    usable[list(faults)] = False
    places = np.flatnonzero(usable)
    read = dates.read(distinct.filter(pa.array(usable)), timezone)
    faults.update({int(places[place]): code for place, code in read.faults.items()})
    numbers = np.full(len(distinct), ABSENT, np.int64)
    numbers[places] = read.at_ms
    numbers[[int(places[place]) for place in read.faults]] = ABSENT
    objects = np.full(len(distinct), None, dtype=object)
    objects[places] = to_objects(read.text)
    return objects, numbers
