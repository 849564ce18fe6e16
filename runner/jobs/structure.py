"""Where records and cells begin and end in delimited text, found without making a Python object of each.

The rules are those of Python's csv module (tested against it): a double quote opens a quoted cell only at the cell's
beginning; inside, two quotes mean one; after the closing quote the rest of the cell is taken as it stands; line feed,
carriage return, or both end a record outside quotes.

How it is fast: whether a byte lies inside quotes is the parity of the quotes before it, and parity is one cumulative
exclusive-or. That holds as long as every quote opens, closes or doubles one, which is checked at the quotes only. A
quote anywhere else (`5" pipe`) would upset the parity, so such a block is walked quote by quote, and the records with
literal quotes are marked as irregular: the caller rewrites them before a parser with other ideas sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from runner.jobs.buffers import Bools, Bytes, Ints

RECORD_LIMIT: Final = 16 * 2**20
"""Bytes a single record may have (as UTF-8). More is a quote that is never closed, or no table of jobs."""

_QUOTE, _LF, _CR = b'"\n\r'


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Whole records, and where they are in `data`."""

    data: bytes
    begins: Ints
    """Where each record begins."""
    ends: Ints
    """Where each record's text ends, before its line break."""
    nexts: Ints
    """Where the following record begins, after the line break."""
    cells: Ints
    """Cells of each record; a blank line counts as one cell."""
    irregular: Bools | None
    """Records with quotes where csv takes them literally; None: there are none."""
    first_row: int
    """Row number of the first record."""

    @property
    def blank(self) -> Bools:
        """Records without a byte in them: lines left empty."""
        nothing: Bools = self.begins == self.ends
        return nothing


class LongRecordError(Exception):
    """A record longer than `RECORD_LIMIT` begins in `row`. Never leaves this room."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class OpenQuoteError(Exception):
    """The text ends inside quotes; the record that holds the opening one begins in `row`. Never leaves this room."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class Splitter:
    """Cuts pieces of text into blocks of whole records; what is left over waits for the next piece."""

    def __init__(self, delimiter: str, *, first_row: int = 1) -> None:
        self._delimiter = ord(delimiter)
        self._waiting: list[bytes] = []
        self._size = 0
        """Bytes that wait."""
        self._enough = 0
        """Bytes that must wait before it is worth looking for the end of a record again."""
        self.next_row = first_row
        """Row number of the next record to be handed out."""

    def feed(self, piece: bytes) -> Block | None:
        """The whole records that `piece` completes; raises `LongRecordError`."""
        self._wait(piece)
        # A record in many pieces is looked at when they have doubled, so that its length costs no squared time.
        if self._size < self._enough and self._size <= RECORD_LIMIT:
            return None
        data = self._take()
        block, used = self._scan(data, final=False)
        self._wait(data[used:] if used else data)
        self._enough = 0 if used else 2 * self._size
        if self._size > RECORD_LIMIT:
            raise LongRecordError(self.next_row)
        return block

    def finish(self) -> Block | None:
        """The records left when the text is over; raises `OpenQuoteError` if it ends inside quotes."""
        data = self._take()
        if not data:
            return None
        if data[-1] not in (_LF, _CR):
            data += b"\n"
        block, used = self._scan(data, final=True)
        if used < len(data):
            raise OpenQuoteError(self.next_row)
        return block

    def _take(self) -> bytes:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting = []
        self._size = 0
        return data

    def _wait(self, data: bytes) -> None:
        if data:
            self._waiting.append(data)
            self._size += len(data)

    def _scan(self, data: bytes, *, final: bool) -> tuple[Block | None, int]:
        view = np.frombuffer(data, np.uint8)
        marks, odd = _quotes(data, view, self._delimiter)
        breaks = _line_breaks(data, view, final=final)
        outside = None if marks is None else _outside(marks, len(view))
        if outside is not None:
            breaks &= outside
        places = np.flatnonzero(breaks)
        if not len(places):
            return None, 0  # early, since an endless cell may have brought many MiB here
        separators = view == self._delimiter
        if outside is not None:
            separators &= outside
        begins = np.concatenate(([0], places[:-1] + 1))
        ends = places - _two_byte_breaks(view, begins, places)
        if int((ends - begins).max()) > RECORD_LIMIT:
            raise LongRecordError(self.next_row + int(np.argmax(ends - begins > RECORD_LIMIT)))
        block = Block(
            data=data,
            begins=begins,
            ends=ends,
            nexts=places + 1,
            cells=_cells(np.flatnonzero(separators), begins, ends),
            irregular=_hit(odd, places),
            first_row=self.next_row,
        )
        self.next_row += len(places)
        return block, int(places[-1]) + 1


def split(record: str, delimiter: str) -> list[str]:
    """The cells of one record without its line break, as the csv module reads them."""
    cells: list[str] = []
    place = 0
    pattern = _cell_pattern(delimiter)
    while True:
        found = pattern.match(record, place)
        if found is None:  # pragma: no cover - the pattern matches the empty text
            raise AssertionError(record[:80])
        quoted, rest = found.group(1), found.group(2)
        cells.append(rest if quoted is None else quoted.replace('""', '"') + rest)
        place = found.end()
        if place >= len(record):
            return cells
        place += 1
        if place == len(record):
            cells.append("")
            return cells


def joined(cells: list[str], delimiter: str) -> str:
    """A record that every reader of delimited text splits into these cells."""
    return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells)


@lru_cache(maxsize=16)
def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    return re.compile(rf'(?:"([^"]*+(?:""[^"]*+)*+)")?+([^{mark}]*+)')


def _quotes(data: bytes, view: Bytes, delimiter: int) -> tuple[Ints | None, list[int]]:
    """The quotes that open or close a cell (or double one: parity is the same), and the places of literal ones."""
    if _QUOTE not in data:
        return None, []
    quotes = np.flatnonzero(view == _QUOTE)
    edge = np.zeros(256, np.bool_)
    edge[[_QUOTE, _LF, _CR, delimiter]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = edge[view[opening - 1]] | (opening == 0)
    after = edge[view[np.minimum(closing + 1, len(view) - 1)]] | (closing == len(view) - 1)
    if before.all() and after.all():
        return quotes, []
    return _walk(data, quotes, delimiter)


def _walk(data: bytes, quotes: Ints, delimiter: int) -> tuple[Ints, list[int]]:
    """As `_quotes`, one quote after the other: exact for any text, at a price per quote."""
    places = quotes.tolist()
    edges = (delimiter, _LF, _CR)
    marks: list[int] = []
    odd: list[int] = []
    i, count = 0, len(places)
    while i < count:
        place = places[i]
        i += 1
        if place and data[place - 1] not in edges:
            odd.append(place)
            continue
        marks.append(place)
        while i < count:
            place = places[i]
            if i + 1 < count and places[i + 1] == place + 1:
                i += 2
                continue
            marks.append(place)
            if place + 1 < len(data) and data[place + 1] not in edges:
                odd.append(place)
            i += 1
            break
    return np.array(marks, np.int64), odd


def _outside(marks: Ints, length: int) -> Bools:
    """For each byte, whether an even number of marks lies at or before it."""
    flips = np.zeros(length, np.uint8)
    flips[marks] = 1
    inside = np.bitwise_xor.accumulate(flips, out=flips).view(np.bool_)
    return np.logical_not(inside, out=inside)


def _line_breaks(data: bytes, view: Bytes, *, final: bool) -> Bools:
    """The last byte of each line break: every line feed, and every carriage return no line feed follows."""
    breaks: Bools = view == _LF
    if b"\r" in data:
        returns = np.flatnonzero(view == _CR)
        after = np.minimum(returns + 1, len(view) - 1)
        lone = returns[~breaks[after]]
        if not final and len(lone) and lone[-1] == len(view) - 1:
            lone = lone[:-1]
        breaks[lone] = True
    return breaks


def _two_byte_breaks(view: Bytes, begins: Ints, places: Ints) -> Ints:
    """1 for each record that ends with carriage return and line feed, 0 for the others."""
    pairs = (view[places] == _LF) & (places > begins) & (view[places - 1] == _CR)
    lengths: Ints = pairs.astype(np.int64)
    return lengths


def _cells(separators: Ints, begins: Ints, ends: Ints) -> Ints:
    """Cells of each record, from where the delimiters outside quotes are."""
    per_record, rest = divmod(len(separators), len(begins))
    if not rest:
        # The usual case costs two comparisons per record: all delimiters in rows, the first and last one in place.
        rows = separators.reshape(len(begins), per_record)
        if not per_record or ((rows[:, 0] >= begins).all() and (rows[:, -1] < ends).all()):
            return np.full(len(begins), per_record + 1, np.int64)
    return np.searchsorted(separators, ends) - np.searchsorted(separators, begins) + 1


def _hit(places: list[int], record_ends: Ints) -> Bools | None:
    """The records in which any of the places lies."""
    if not places:
        return None
    records = np.searchsorted(record_ends, np.array(places, np.int64))
    hit = np.zeros(len(record_ends), np.bool_)
    hit[records[records < len(record_ends)]] = True
    return hit if hit.any() else None


def blocks(pieces: Iterator[bytes], splitter: Splitter) -> Iterator[Block]:
    """All records of the text in blocks; raises what the splitter and the pieces raise."""
    for piece in pieces:
        block = splitter.feed(piece)
        if block is not None:
            yield block
    block = splitter.finish()
    if block is not None:
        yield block
