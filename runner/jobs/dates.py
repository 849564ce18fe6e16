"""scheduledDate: from the ways people and programs write it to the one the API documents.

`parse` is the definition, for one text. `read` does the same for a column: the usual layouts are taken apart as a
grid of bytes, millions a second; whatever does not fit or is not in order there goes through `parse`, so that there
is one judgement and one wording. (A test holds the two against each other.)

What is accepted is RFC 3339 section 5.6, with a space for the T and with the seconds left out as ISO 8601 allows.
What is given back is `YYYY-MM-DDTHH:MM:SS.mmm+HH:MM`, keeping the offset: it may be what the sender thinks in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.jobs.buffers import TEXT, Arrow, Bools, Bytes, Ints, grid, to_objects
from runner.jobs.faults import ProblemCode

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on wall-clock times
_MOST_OFFSET_MINUTES: Final = 14 * 60
_LAYOUT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):(\d\d))?", re.ASCII
)
_DATE_ONLY: Final = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{4}", re.ASCII)
_MONTH_DAYS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int32)

# How a date is written in a request, as a grid of bytes: digits where it has "0", any sign for "+".
_WRITTEN: Final = b"0000-00-00T00:00:00.000+00:00"
_FIELDS: Final = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19), (20, 23), (24, 26), (27, 29))
_CLASSES: Final = np.arange(256, dtype=np.uint8)
_CLASSES[list(b"0123456789")] = ord("0")
_CLASSES[list(b"+-")] = ord("-")
_PATTERN: Final = _CLASSES[np.frombuffer(_WRITTEN, np.uint8)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A point in time: as it goes into the request, and as milliseconds since 1970 in UTC."""

    text: str
    at_ms: int


def parse(value: str, timezone: ZoneInfo | None) -> Instant | ProblemCode:  # noqa: PLR0911 - one return per rule
    """The instant a text names, or the rule it breaks; `timezone` is for texts without an offset."""
    found = _LAYOUT.fullmatch(value)
    if found is None:
        return ProblemCode.DATE_WITHOUT_TIME if _DATE_ONLY.fullmatch(value) else ProblemCode.DATE_FORMAT
    day, hour, minute, second, fraction, zulu, sign, offset_hours, offset_minutes = found.groups()
    digits = (fraction or "").ljust(3, "0")
    if hour == "24":  # newer Pythons read 24:00 as the next day's midnight; RFC 3339 does not have it
        return ProblemCode.DATE_IMPOSSIBLE
    try:
        wall = datetime.fromisoformat(f"{day}T{hour}:{minute}:{second or '00'}")
    except ValueError:
        return ProblemCode.DATE_IMPOSSIBLE
    if digits[3:].strip("0"):
        return ProblemCode.DATE_TOO_PRECISE
    wall += timedelta(milliseconds=int(digits[:3]))
    if zulu:
        offset = 0
    elif sign:
        offset = int(offset_hours) * 60 + int(offset_minutes)
        if offset > _MOST_OFFSET_MINUTES or int(offset_minutes) > 59:  # noqa: PLR2004 - minutes of an hour
            return ProblemCode.DATE_IMPOSSIBLE
        offset = -offset if sign == "-" else offset
    elif timezone is None:
        return ProblemCode.DATE_WITHOUT_OFFSET
    else:
        return _in_zone(wall, timezone)
    return _instant(wall, offset)


def _in_zone(wall: datetime, timezone: ZoneInfo) -> Instant | ProblemCode:
    # PEP 495: around a change of the clocks the two folds differ. Put back, the first has the larger offset.
    first, second = (wall.replace(tzinfo=timezone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    if first != second:
        return ProblemCode.LOCAL_TIME_TWICE if first > second else ProblemCode.LOCAL_TIME_SKIPPED
    if first % timedelta(minutes=1):  # local mean times of the 19th century; RFC 3339 has no seconds in offsets
        try:
            return _instant(wall - first, 0)
        except OverflowError:
            return ProblemCode.DATE_IMPOSSIBLE
    return _instant(wall, first // timedelta(minutes=1))


def _instant(wall: datetime, offset: int) -> Instant:
    hours, minutes = divmod(abs(offset), 60)
    mark = "-" if offset < 0 else "+"
    return Instant(
        text=f"{wall.isoformat(timespec='milliseconds')}{mark}{hours:02d}:{minutes:02d}",
        at_ms=(wall - _EPOCH) // timedelta(milliseconds=1) - offset * 60_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """A column of texts, read."""

    text: Arrow
    """What goes into the request, as a string array; empty where `faults` has the place."""
    at_ms: Ints
    """Milliseconds since 1970 in UTC; 0 where `faults` has the place."""
    faults: dict[int, ProblemCode]


def read(values: Arrow, timezone: ZoneInfo | None) -> Dates:
    """As `parse`, for a string array of distinct texts without empty ones."""
    at_ms = np.zeros(len(values), np.int64)
    text = np.full(len(values), "", dtype=object)
    done = np.zeros(len(values), np.bool_)
    for width, fraction_end in ((20, 19), (25, 19), (24, 23), (29, 23)):
        places, cells = grid(values, width)
        if len(places):
            good, written, instants = _read_grid(cells, fraction_end)
            taken = places[good]
            at_ms[taken] = instants[good]
            text[taken] = to_objects(_strings(written[good]))
            done[taken] = True
    faults: dict[int, ProblemCode] = {}
    for place in np.flatnonzero(~done).tolist():
        parsed = parse(values[place].as_py(), timezone)
        if isinstance(parsed, ProblemCode):
            faults[place] = parsed
        else:
            text[place], at_ms[place] = parsed.text, parsed.at_ms
    return Dates(text=pa.array(text, TEXT), at_ms=at_ms, faults=faults)


def now_ms(now: datetime) -> int:
    """An aware time in milliseconds since 1970."""
    return (now.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _read_grid(cells: Bytes, fraction_end: int) -> tuple[Bools, Bytes, Ints]:
    """Rows of one layout: which are in order, how they are written in a request, and when they are."""
    count, width = cells.shape
    written = np.empty((count, 29), np.uint8)
    written[:, :19] = cells[:, :19]
    written[:, 10] = ord("T")
    written[:, 19:23] = cells[:, 19:23] if fraction_end > 19 else np.frombuffer(b".000", np.uint8)  # noqa: PLR2004
    if width == fraction_end + 1:  # Z
        good = (cells[:, -1] | 32) == ord("z")
        written[:, 23:] = np.frombuffer(b"+00:00", np.uint8)
    else:
        good = (cells[:, -6] == ord("+")) | (cells[:, -6] == ord("-"))
        written[:, 23:] = cells[:, -6:]
    good &= ((cells[:, 10] | 32) == ord("t")) | (cells[:, 10] == ord(" "))
    good &= (_CLASSES[written] == _PATTERN).all(axis=1)
    # Turned on its side, the digits of one place in all rows lie together, and arithmetic on them is vectorised.
    digits = np.ascontiguousarray((written - np.uint8(ord("0"))).T)
    year, month, day, hour, minute, second, milli, off_hours, off_minutes = (
        _number(digits[start:end]) for start, end in _FIELDS
    )
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)  # noqa: PLR2004 - months of a year
    month = np.where(good, month, 1)
    good &= day <= _MONTH_DAYS[month] + (leap & (month == 2))  # noqa: PLR2004 - February
    good &= (hour < 24) & (minute < 60) & (second < 60) & (off_minutes < 60)  # noqa: PLR2004 - a day's clock
    offset = off_hours * 60 + off_minutes
    good &= offset <= _MOST_OFFSET_MINUTES
    written[offset == 0, 23] = ord("+")  # -00:00 is the same time
    offset = np.where(written[:, 23] == ord("-"), -offset, offset)
    months = (np.where(good, year, 1970) - 1970).astype(np.int64) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    minutes = (days * 24 + hour) * 60 + minute - offset
    return good, written, (minutes * 60 + second) * 1000 + milli


def _number(digits: Bytes) -> npt.NDArray[np.int32]:
    """The numbers whose digits stand one below the other, all rows at once."""
    value: npt.NDArray[np.int32] = digits[0].astype(np.int32)
    for digit in digits[1:]:
        value = value * 10 + digit
    return value


def _strings(rows: Bytes) -> Arrow:
    """Rows of bytes of one width as a string array."""
    count, width = rows.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return pa.StringArray.from_buffers(count, buffers[1], buffers[2])
