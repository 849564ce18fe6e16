"""Columns of numbers and times as text, a whole column at a time.

At the end of a run this is done for every row, and a call for each cell would cost more than reading the row from
disk. So a column goes through one call into C where there is one that writes the very same digits, and is split again:
what comes out is what `str` would have made of each value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeGuard, cast

import orjson

Texts = Sequence[str | None]
"""A column as text; None where there is no value."""

_PLAIN_BELOW: Final = 1e12
"""Up to here three decimals are all significant (15 digits), so what `%.3f` writes is what `str` of the rounded number
would, save for zeros at the end."""
_THOUSANDTHS: Final = tuple(f".{ms:03d}Z" for ms in range(1000))


def integer_texts(values: Sequence[int | None]) -> Texts:
    """Whole numbers of 64 bits, in digits."""
    written = orjson.dumps(values).decode()[1:-1]
    if not written:
        return []
    texts = written.split(",")
    return [None if text == "null" else text for text in texts] if "null" in written else texts


def rounded_latencies(values: Sequence[float | None]) -> list[float | None]:
    """Milliseconds with three decimals."""
    return [None if value is None else round(value, 3) for value in values]


def latency_texts(values: Sequence[float | None]) -> Texts:
    """Milliseconds with three decimals, without zeros at the end but for one: `str` of `rounded_latencies`."""
    numbers = tuple(values)
    if not _is_plain(numbers):
        return [None if value is None else str(value) for value in rounded_latencies(values)]
    written = "%.3f," * len(numbers) % numbers
    # Each takes one zero from the end of a number that has one; of the three decimals one stays, as with `str`.
    return written.replace("0,", ",").replace("0,", ",")[:-1].split(",")


def _is_plain(values: tuple[float | None, ...]) -> TypeGuard[tuple[float, ...]]:
    """Whether all are numbers that `%.3f` writes like `str`."""
    if not values or None in values:
        return False
    numbers = cast("tuple[float, ...]", values)
    return min(numbers) >= 0.0 and max(numbers) < _PLAIN_BELOW


def time_texts(times: Sequence[int | None]) -> Texts:
    """Epoch milliseconds as RFC 3339 in UTC with milliseconds (`2026-11-22T14:03:07.123Z`)."""
    seconds = _Seconds()
    return [None if ms is None else seconds[ms // 1000] + _THOUSANDTHS[ms % 1000] for ms in times]


class _Seconds(dict[int, str]):
    """Epoch seconds as text; each is asked of the calendar once, as neighbours in a file were sent within the same."""

    def __missing__(self, second: int) -> str:
        text = self[second] = datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return text
