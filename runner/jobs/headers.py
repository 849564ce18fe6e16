"""Which column of a file is which attribute of a send job.

A header matches a documented name without regard to case, spaces, underscores and hyphens. What is close to a name
but is none stops the file: to take `schedulDate` for just another column would send at once what was meant for later.
"Close" means at most two typing errors (one for short names, since `folder` and `order` are two apart), the
beginning of a name (`contactSource`, `scheduled`), or a name with something after it (`scheduledDate UTC`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runner.errors import ConfigurationError, JobFileError
from runner.model import ATTRIBUTES, REQUIRED_ATTRIBUTES

COLUMN_LIMIT: Final = 16_384
"""Columns a spreadsheet can have; a file with more of them is no table of jobs."""

_SHOWN = 60
_SHORT_NAME = 6
_TELLING_PREFIX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of one file."""

    headers: tuple[str, ...]
    """As the file writes them, in its order."""
    attributes: dict[str, str]
    """Documented name -> header, for the attributes the file has."""

    @property
    def others(self) -> tuple[str, ...]:
        """Headers that are no attribute, in the file's order."""
        taken = set(self.attributes.values())
        return tuple(header for header in self.headers if header not in taken)


def fold(header: str) -> str:
    """The header without what does not matter: case, spaces, underscores, hyphens."""
    return "".join(mark for mark in header.casefold() if not (mark.isspace() or mark in "_-"))


_FOLDED: Final = {fold(name): name for name in ATTRIBUTES}


def check_mappings(*, columns: Mapping[str, str], defaults: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` where [columns] or [defaults] name an attribute that does not exist."""
    known = ", ".join(ATTRIBUTES)
    for header, name in columns.items():
        if name and name not in ATTRIBUTES:
            raise ConfigurationError(
                f"[columns] maps the header {header!r} to {name!r}, which is no attribute.",
                remedy=f'Use one of {known}; or "" for a column that is only carried through to the results.',
            )
    for name in defaults:
        if name not in ATTRIBUTES:
            raise ConfigurationError(
                f"[defaults] names {name!r}, which is no attribute.", remedy=f"Use one of {known}."
            )
    if "messageName" in defaults:
        raise ConfigurationError(
            "[defaults] must not give a messageName: every message needs a name of its own.",
            remedy="Remove it from [defaults].",
        )


def match(headers: Sequence[str], *, columns: Mapping[str, str], defaults: Mapping[str, str]) -> Columns:
    """The attributes among `headers`; `columns` (header -> attribute, "" for none) goes before what they look like.

    Raises `JobFileError` for no header at all, too many, empty, doubled, and nearly right ones, two headers for one
    attribute, and a required attribute that neither the file nor `defaults` have.
    """
    _check_shape(headers)
    attributes: dict[str, str] = {}
    for header in headers:
        name = columns[header] if header in columns else _FOLDED.get(fold(header), "")
        if not name:
            if header not in columns:
                _check_not_close(header)
            continue
        if name in attributes:
            raise JobFileError(
                f"The headers {attributes[name]!r} and {_shown(header)!r} both stand for {name}.",
                remedy="Rename or remove one of the two columns.",
            )
        attributes[name] = header
    for name in REQUIRED_ATTRIBUTES:
        if name not in attributes and not defaults.get(name):
            raise JobFileError(
                f"The file has no column {name}. Its headers are: {_list(headers)}.",
                cause="The first row must hold the headers; the delimiter may have been taken for another one.",
                remedy=f"Add the column, or say in [columns] which header stands for {name}.",
            )
    return Columns(headers=tuple(headers), attributes=attributes)


def known_headers(headers: Sequence[str], *, columns: Mapping[str, str]) -> int:
    """How many of the headers stand for an attribute: tells a right delimiter from a wrong one."""
    return sum(bool(columns.get(header)) or fold(header) in _FOLDED for header in headers)


def _check_shape(headers: Sequence[str]) -> None:
    if len(headers) > COLUMN_LIMIT:
        raise JobFileError(
            f"The file has {len(headers):,} columns; at most {COLUMN_LIMIT:,} are read.",
            remedy="Check that this is the right file, and that its rows end with line breaks.",
        )
    seen: set[str] = set()
    for place, header in enumerate(headers, start=1):
        if not header.strip():
            raise JobFileError(
                f"Column {place} has no header.",
                remedy="Give it one, or remove the column (a delimiter at the end of the line makes an empty one).",
            )
        if "\0" in header:
            raise JobFileError(
                f"The header of column {place} holds a NUL character.",
                cause="The file may be damaged, or in another encoding such as UTF-16 without its mark.",
                remedy="Save the file as CSV UTF-8, or name its encoding.",
            )
        if header in seen:
            raise JobFileError(
                f"The header {_shown(header)!r} stands there twice.", remedy="Rename or remove one of the columns."
            )
        seen.add(header)


def _check_not_close(header: str) -> None:
    folded = fold(header)
    for known, name in _FOLDED.items():
        reach = 1 if len(known) <= _SHORT_NAME else 2
        begins = len(folded) >= _TELLING_PREFIX and known.startswith(folded)
        goes_on = len(known) > _SHORT_NAME and folded.startswith(known)
        if begins or goes_on or _within(folded, known, reach):
            raise JobFileError(
                f"The header {_shown(header)!r} is close to {name}, but not the same.",
                cause="Taken for any other column, it would not be part of the sends.",
                remedy=f"Rename it to {name}, or say in [columns] what it is: {header!r} = {name!r} for the attribute,"
                f' or {header!r} = "" for a column that is only carried through to the results.',
            )


def _within(left: str, right: str, reach: int) -> bool:
    """Whether at most `reach` letters put in, left out, replaced or swapped with their neighbour tell them apart."""
    if abs(len(left) - len(right)) > reach:
        return False
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        following = [i]
        for j, b in enumerate(right, start=1):
            cost = min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (a != b))
            if i > 1 and j > 1 and left[i - 2 : i] == right[j - 1] + right[j - 2]:
                cost = min(cost, before[j - 2] + 1)
            following.append(cost)
        before, row = row, following
    return row[-1] <= reach


def _shown(header: str) -> str:
    return header if len(header) <= _SHOWN else header[:_SHOWN] + "…"


def _list(headers: Sequence[str]) -> str:
    most = 20
    more = f" and {len(headers) - most:,} more" if len(headers) > most else ""
    return ", ".join(repr(_shown(header)) for header in headers[:most]) + more
