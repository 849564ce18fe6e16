"""The rules for one cell: which texts each attribute takes, declared in one table, `GATES`.

Every rule exists in two forms that say the same. The *gate* looks at a whole column at once and says which cells are
in order; it is what a million rows pass through. The *explanation* looks at one cell and says which rule it breaks;
it is asked only about cells the gate stopped. (A test holds the two against each other.) A column's gate is handed
the distinct values where there are few, so a published message's id is looked at once, not in every row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.jobs.buffers import Arrow, Bools, Ints, characters, content, grid, has_byte, sizes, to_objects
from runner.jobs.faults import CELL_LIMIT, ProblemCode
from runner.model import EXTERNAL_FIELD_LIMIT, INT32_MAX, INT64_MAX, REQUIRED_ATTRIBUTES

RANGES: Final = {"contactSourceId": (1, INT64_MAX), "preBlockingHours": (0, INT32_MAX)}
"""Attributes that are whole numbers, and where they lie."""

Gate: TypeAlias = Callable[[Arrow], Bools]

_LIMITED: Final = ("externalSystemName", "externalSystemReferenceId")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_WIDTH: Final = 36
_UUID_DASHES: Final = (8, 13, 18, 23)
_INT64_DIGITS: Final = 19
_SCIENTIFIC: Final = re.compile(r"[+-]?\d+([.,]\d*)?[eE][+-]?\d+", re.ASCII)
_SEPARATED: Final = re.compile(r"[+-]?\d{1,3}([,.'_ \u00a0\u2009\u202f]\d{3})+", re.ASCII)
_FRACTION: Final = re.compile(r"[+-]?\d*[.,]\d*", re.ASCII)

_hexadecimal: Final = np.zeros(256, np.bool_)
_hexadecimal[list(b"0123456789abcdefABCDEF")] = True


def explain(attribute: str, value: str) -> ProblemCode | None:  # noqa: PLR0911 - one return per rule
    """The rule of `attribute` that a cell breaks; None if it is in order. Dates have rules of their own (`dates`)."""
    if "\0" in value:
        return ProblemCode.NUL_CHARACTER
    if len(value) > CELL_LIMIT:
        return ProblemCode.CELL_TOO_LONG
    if not value:
        return ProblemCode.BLANK_REQUIRED if attribute in REQUIRED_ATTRIBUTES else None
    if attribute == "messageName":
        return ProblemCode.NAME_ONLY_SPACES if value.isspace() else None
    if attribute == "publishedMessageId":
        return None if _UUID.fullmatch(value) else ProblemCode.NOT_A_UUID
    if attribute in _LIMITED:
        return ProblemCode.TEXT_TOO_LONG if len(value) > EXTERNAL_FIELD_LIMIT else None
    if attribute in RANGES:
        return _explain_number(attribute, value)
    return None


def faults(attribute: str, values: Arrow) -> dict[int, ProblemCode]:
    """The places of a string array whose cells break a rule of `attribute`, each with that rule."""
    if not len(values):
        return {}
    stopped = np.zeros(len(values), np.bool_)
    for gate in GATES[attribute]:
        stopped |= ~gate(values)
    return _explained(attribute, values, np.flatnonzero(stopped)) if stopped.any() else {}


def _explained(attribute: str, values: Arrow, places: Ints) -> dict[int, ProblemCode]:
    cells = to_objects(values.take(pa.array(places)))
    found = zip(places.tolist(), (explain(attribute, cell) for cell in cells), strict=True)
    return {place: code for place, code in found if code is not None}


# The gates. Each takes a string array without nulls and gives one truth per cell; an empty cell passes all but
# `_filled`.


def _sound(values: Arrow) -> Bools:
    good = np.ones(len(values), np.bool_)
    if int(sizes(values).max()) > CELL_LIMIT:
        good &= characters(values) <= CELL_LIMIT
    if has_byte(values, 0):
        good &= ~pc.match_substring(values, "\0").to_numpy(zero_copy_only=False)
    return good


def _filled(values: Arrow) -> Bools:
    return sizes(values) > 0


def _more_than_spaces(values: Arrow) -> Bools:
    data, begins = content(values)
    good = np.ones(len(values), np.bool_)
    filled = np.flatnonzero(np.diff(begins))
    first = data[begins[filled]]
    # ASCII spaces are not above 32; a space that is not ASCII begins with a byte above 127.
    doubtful = filled[(first <= ord(" ")) | (first > 127)]  # noqa: PLR2004 - the last of ASCII
    if len(doubtful):
        good[doubtful] = [not cell.isspace() for cell in to_objects(values.take(pa.array(doubtful)))]
    return good


def _uuids(values: Arrow) -> Bools:
    good: Bools = sizes(values) == 0
    places, cells = grid(values, _UUID_WIDTH)
    dashes = np.zeros(_UUID_WIDTH, np.bool_)
    dashes[list(_UUID_DASHES)] = True
    good[places] = _hexadecimal[cells[:, ~dashes]].all(axis=1) & (cells[:, dashes] == ord("-")).all(axis=1)
    return good


def _within_field_limit(values: Arrow) -> Bools:
    if int(sizes(values).max()) <= EXTERNAL_FIELD_LIMIT:
        return np.ones(len(values), np.bool_)
    return characters(values) <= EXTERNAL_FIELD_LIMIT


def _whole_numbers(values: Arrow, *, low: int, high: int) -> Bools:
    lengths = sizes(values)
    digits: Bools = pc.ascii_is_decimal(values).to_numpy(zero_copy_only=False)
    safe = digits & (lengths < _INT64_DIGITS)  # fits into 64 bits whatever the digits are
    good: Bools = lengths == 0
    places = np.flatnonzero(safe)
    numbers = pc.cast(values if safe.all() else values.take(pa.array(places)), pa.int64()).to_numpy()
    good[places] = (numbers >= low) & (numbers <= high)
    for place in np.flatnonzero(digits & ~safe).tolist():
        good[place] = low <= _bounded_int(values[place].as_py()) <= high
    return good


_contact_source: Final = partial(_whole_numbers, low=RANGES["contactSourceId"][0], high=RANGES["contactSourceId"][1])
_hours: Final = partial(_whole_numbers, low=RANGES["preBlockingHours"][0], high=RANGES["preBlockingHours"][1])

GATES: Final[dict[str, tuple[Gate, ...]]] = {
    "publishedMessageId": (_sound, _filled, _uuids),
    "messageName": (_sound, _filled, _more_than_spaces),
    "contactSourceId": (_sound, _contact_source),
    "externalSystemName": (_sound, _within_field_limit),
    "externalSystemReferenceId": (_sound, _within_field_limit),
    "scheduledDate": (_sound,),  # the others are in `dates`, where they are read
    "preBlockingHours": (_sound, _hours),
    "folder": (_sound,),
}
"""What the cells of each attribute must pass, all of it."""


def _bounded_int(digits: str) -> int:
    """The number, or one beyond every range where there are too many digits to matter."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _INT64_DIGITS else 2 * INT64_MAX


def _explain_number(attribute: str, value: str) -> ProblemCode | None:
    low, high = RANGES[attribute]
    if value.isascii() and value.isdigit():
        if low <= _bounded_int(value) <= high:
            return None
        return _out_of_range(attribute)
    if value[:1] in "+-" and value[1:].isascii() and value[1:].isdigit():
        return _out_of_range(attribute) if value[0] == "-" else ProblemCode.NOT_A_NUMBER
    for pattern, code in (
        (_SCIENTIFIC, ProblemCode.NUMBER_SCIENTIFIC),
        (_SEPARATED, ProblemCode.NUMBER_SEPARATORS),
        (_FRACTION, ProblemCode.NUMBER_FRACTION),
    ):
        if pattern.fullmatch(value) and any(mark.isdigit() for mark in value):
            return code
    trimmed = value.strip()
    if trimmed != value and trimmed.isascii() and trimmed.isdigit():
        return ProblemCode.NUMBER_SPACES
    return ProblemCode.NOT_A_NUMBER


def _out_of_range(attribute: str) -> ProblemCode:
    if attribute == "contactSourceId":
        return ProblemCode.CONTACT_SOURCE_OUT_OF_RANGE
    return ProblemCode.HOURS_OUT_OF_RANGE
