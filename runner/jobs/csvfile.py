"""A delimited text file as rows of text.

pyarrow's parser does the cutting, because it is ten times as fast as any that makes a Python object of each cell.
It is only shown what it cannot misread: `structure` finds the records first, and from that come the row numbers, the
ragged rows (which a parser would fill up or drop) and the blank lines. Records with a quote in an odd place are
rewritten with every cell quoted, so that the csv module's reading of them holds and not a parser's own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
from pyarrow import csv

from runner.errors import ConfigurationError, JobFileError
from runner.jobs.buffers import TEXT, Arrow, Bools
from runner.jobs.faults import ProblemCode, problem
from runner.jobs.headers import COLUMN_LIMIT, Columns, known_headers, match
from runner.jobs.rows import Kind, Rows
from runner.jobs.structure import (
    RECORD_LIMIT,
    Block,
    LongRecordError,
    OpenQuoteError,
    Splitter,
    blocks,
    joined,
    split,
)
from runner.jobs.text import Digest, UndecodableError, check_encoding, utf8_pieces
from runner.model import InvalidRow

DELIMITERS: Final = (",", ";", "\t", "|")
"""What may stand between cells when nothing else is named, the usual one first."""

HEADER_LIMIT: Final = 2**20
"""Bytes within which the header must end."""

_FIRST_LOOK = 2**16
_MARK = "\ufeff".encode()


class CsvSource:
    """One CSV file; raises `JobFileError` where its header cannot be read, `ConfigurationError` for odd options."""

    kind: Kind = "csv"

    def __init__(
        self,
        path: Path,
        *,
        encoding: str | None,
        delimiter: str | None,
        columns: Mapping[str, str],
        defaults: Mapping[str, str],
        chunk_rows: int,
    ) -> None:
        self._path = path
        self._encoding = None if encoding is None else check_encoding(encoding)
        self._chunk_rows = chunk_rows
        named = None if delimiter is None else _check_delimiter(delimiter)
        with path.open("rb") as file:
            self._delimiter, headers = self._read_header(file, named, columns)
        self.columns: Columns = match(headers, columns=columns, defaults=defaults)

    def batches(self, digest: Digest) -> Generator[Rows]:
        """All rows, at most `chunk_rows` at a time; the header is row 1, a quoted line break does not count."""
        splitter = Splitter(self._delimiter)
        try:
            with self._path.open("rb") as file:
                header_seen = False
                for block in blocks(utf8_pieces(file, named=self._encoding, digest=digest), splitter):
                    leave_out = block.blank
                    if not header_seen:
                        filled = np.flatnonzero(~leave_out)
                        if not len(filled):
                            continue
                        header_seen = True
                        self._check_header(block, int(filled[0]))
                        leave_out[: filled[0] + 1] = True
                    yield from self._rows(block, leave_out)
        except UndecodableError as error:
            raise _undecodable(error, splitter.next_row) from error
        except LongRecordError as error:
            raise _too_long(error.row) from error
        except OpenQuoteError as error:
            raise _never_closed(error.row) from error

    def _read_header(self, file: BinaryIO, delimiter: str | None, columns: Mapping[str, str]) -> tuple[str, list[str]]:
        pieces = utf8_pieces(file, named=self._encoding)
        head = b""
        whole = False
        try:
            while len(head) <= HEADER_LIMIT:
                head += next(pieces)
        except StopIteration:
            whole = True
        except UndecodableError as error:
            splitter = Splitter(delimiter or ",")
            splitter.feed(head)
            if splitter.next_row == 1:
                raise _undecodable(error, 1) from error
            # The header is readable; the trouble is met again, with its row, when the rows are read.
        if not head.strip(b"\r\n"):
            raise JobFileError("The file is empty.", remedy="Check that this is the right file.")
        found = [
            (mark, headers)
            for mark in ([delimiter] if delimiter else DELIMITERS)
            if (headers := _first_record(head, mark, whole=whole)) is not None
        ]
        if not found:
            raise JobFileError(
                f"No header was found within the first {HEADER_LIMIT // 2**20} MiB of the file.",
                cause="This may be no CSV file, or a double quote in the header is never closed.",
                remedy="The first row must hold the names of the columns.",
            )
        return max(found, key=lambda pair: (known_headers(pair[1], columns=columns), len(pair[1])))

    def _check_header(self, block: Block, place: int) -> None:
        headers = split(_text(block, place), self._delimiter)
        if tuple(headers) != self.columns.headers:
            raise JobFileError("The header of the file has changed since it was opened.", remedy="Start again.")

    def _rows(self, block: Block, leave_out: Bools) -> Iterator[Rows]:
        width = len(self.columns.headers)
        ragged = (block.cells != width) & ~leave_out
        regular = ~(leave_out | ragged)
        numbers = np.flatnonzero(regular) + block.first_row
        broken = [self._ragged_row(block, place) for place in np.flatnonzero(ragged).tolist()]
        cells = self._parse(block, regular) if len(numbers) else [pa.array([], TEXT)] * width
        if len(numbers) or broken:
            yield from Rows(numbers=numbers, cells=cells, broken=broken).parts(self._chunk_rows)

    def _parse(self, block: Block, regular: Bools) -> list[Arrow]:
        """The regular records as one text array per column."""
        width = len(self.columns.headers)
        count = int(regular.sum())
        rewrite = np.zeros(len(regular), np.bool_) if block.irregular is None else block.irregular & regular
        first = int(np.argmax(regular))
        if block.data.startswith(_MARK, int(block.begins[first])):
            rewrite[first] = True  # Arrow would drop a mark at the beginning; within quotes it is a character
        data = self._assembled(block, regular & ~rewrite, rewrite)
        try:
            table = csv.read_csv(
                pa.BufferReader(pa.py_buffer(data)),
                read_options=csv.ReadOptions(
                    column_names=[str(place) for place in range(width)], use_threads=False, block_size=len(data) + 1
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=b'"' in block.data, ignore_empty_lines=False
                ),
                convert_options=csv.ConvertOptions(
                    column_types={str(place): TEXT for place in range(width)}, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            table = None
        if table is None or table.num_rows != count:
            # Arrow saw other rows than the csv module would: then the csv module's reading counts.
            records = [split(_text(block, place), self._delimiter) for place in np.flatnonzero(regular).tolist()]
            return [pa.array(column, TEXT) for column in zip(*records, strict=True)]
        return [_one_array(column) for column in table.columns]

    def _assembled(self, block: Block, keep: Bools, rewrite: Bools) -> bytes | memoryview:
        """The kept records as they stand and the rewritten ones with all cells quoted, in order."""
        if keep.all():
            return memoryview(block.data)[: block.nexts[-1]]
        # Runs of kept records are copied whole; a run begins where `keep` turns true and ends where it turns false.
        turns = np.flatnonzero(np.diff(np.concatenate(([False], keep, [False])).astype(np.int8)))
        parts = [
            (int(block.begins[a]), block.data[block.begins[a] : block.nexts[b - 1]])
            for a, b in zip(turns[0::2].tolist(), turns[1::2].tolist(), strict=True)
        ]
        for place in np.flatnonzero(rewrite).tolist():
            cells = split(_text(block, place), self._delimiter)
            parts.append((int(block.begins[place]), joined(cells, self._delimiter).encode() + b"\n"))
        parts.sort(key=lambda part: part[0])
        return b"".join(part for _, part in parts)

    def _ragged_row(self, block: Block, place: int) -> InvalidRow:
        headers = self.columns.headers
        row = block.first_row + place
        found = int(block.cells[place])
        if found > COLUMN_LIMIT:
            raise JobFileError(
                f"Row {row} has {found:,} cells; at most {COLUMN_LIMIT:,} are read.",
                remedy="Check that this is the right file, and that its rows end with line breaks.",
            )
        cells = split(_text(block, place), self._delimiter)
        known = dict(zip(headers, cells, strict=False))
        if found > len(headers):
            known[""] = self._delimiter.join(cells[len(headers) :])
        code = ProblemCode.TOO_MANY_CELLS if found > len(headers) else ProblemCode.TOO_FEW_CELLS
        fault = problem(code, row=row, found=found, expected=len(headers))
        return InvalidRow(row=row, cells=known, problems=(fault,))


def _check_delimiter(name: str) -> str:
    mark = "\t" if name in {"tab", "\\t"} else name
    if len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in '"\r\n\0':
        raise ConfigurationError(
            f"{name!r} cannot be the delimiter.", remedy="Use one character such as , ; | or the word tab."
        )
    return mark


def _first_record(head: bytes, delimiter: str, *, whole: bool) -> list[str] | None:
    """The cells of the first record that is not blank; None where it is not complete."""
    for size in (_FIRST_LOOK, HEADER_LIMIT):
        splitter = Splitter(delimiter)
        block = splitter.feed(head[:size])
        if block is None and whole and len(head) <= size:
            try:
                block = splitter.finish()
            except OpenQuoteError:
                return None
        filled = [] if block is None else np.flatnonzero(~block.blank).tolist()
        if block is not None and filled:
            if block.cells[filled[0]] > COLUMN_LIMIT:
                raise JobFileError(
                    f"The file has {int(block.cells[filled[0]]):,} columns; at most {COLUMN_LIMIT:,} are read.",
                    remedy="Check that this is the right file, and that its rows end with line breaks.",
                )
            return split(_text(block, filled[0]), delimiter)
    return None


def _text(block: Block, place: int) -> str:
    return block.data[block.begins[place] : block.ends[place]].decode()


def _one_array(column: Arrow) -> Arrow:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _undecodable(error: UndecodableError, row: int) -> JobFileError:
    how = "as named" if error.named else "the usual encoding"
    return JobFileError(
        f"Row {row} holds bytes that are no {error.encoding} ({how}).",
        cause="The file was saved in another encoding, or is damaged.",
        remedy="Save it as CSV UTF-8, or name its encoding with --encoding (cp1252 for many older Windows programs).",
    )


def _too_long(row: int) -> JobFileError:
    return JobFileError(
        f"Row {row} is longer than {RECORD_LIMIT // 2**20} MiB.",
        cause="A double quote that opens a cell there is probably never closed, or this is no CSV file.",
        remedy="Close the quote, or double it if it is part of the text.",
    )


def _never_closed(row: int) -> JobFileError:
    return JobFileError(
        f"A double quote opens a cell in row {row} and is never closed, so the rest of the file is one cell.",
        remedy="Close the quote, or double it if it is part of the text.",
    )
