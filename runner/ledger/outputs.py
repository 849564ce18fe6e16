"""Results as files: written whole or not at all, in formats that keep every value what it is.

A file appears under its name only when it is complete and on disk; whoever reads that name finds the old one or the new
one. Spreadsheet cells are written as text or numbers, never as formulas or links: a message name may begin with `=`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, Final

import orjson

from runner.errors import OutputError
from runner.ledger.columns import LATENCY, NUMBERS, TIMES, Columns
from runner.ledger.csvlines import csv_header, csv_lines
from runner.ledger.texts import rounded_latencies, time_texts

Pages = Iterable[Columns]
"""As `ResultColumns.from_page` makes them."""
Writer = Callable[[BinaryIO, Sequence[str], Pages], None]
"""Writes all pages under these column names to a file opened for writing."""

SHEET_ROWS: Final = 1_048_576
SHEET_COLUMNS: Final = 16_384
_SHEET_CELL: Final = 32_767
"""Characters a cell of a spreadsheet can hold; what is longer is cut there."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends, and is gone without a trace when it raises.

    The new file has the old one's permissions, or those that new files get. A symbolic link stays one.

    Raises:
        OutputError: the file cannot be written.
    """
    with _translated(path):
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise OutputError(f"{path} is no file that could be replaced.", remedy="Name another file for the results.")
        temporary = target.with_name(f".{target.name}.{token_hex(4)}.part")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if target.exists():
                    os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
                yield file
                file.flush()
                os.fsync(descriptor)
            temporary.replace(target)
            _sync_directory(target.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


def write_csv(file: BinaryIO, names: Sequence[str], pages: Pages) -> None:
    """UTF-8, comma, CRLF as in RFC 4180; an empty field where there is no value. See `csvlines`."""
    file.write(csv_header(names))
    file.writelines(csv_lines(names, page) for page in pages)


def write_parquet(file: BinaryIO, names: Sequence[str], pages: Pages) -> None:
    """Parquet with the same column types whatever the rows hold: int64, UTC timestamps in ms, double, else string."""
    from runner.ledger.parquet import write_pages  # noqa: PLC0415 # a quarter of a second that other formats need not pay

    write_pages(file, names, pages)


def write_jsonl(file: BinaryIO, names: Sequence[str], pages: Pages) -> None:
    """One JSON object a line; null where there is no value."""
    for page in pages:
        file.writelines(
            orjson.dumps(dict(zip(names, values, strict=True)), option=orjson.OPT_APPEND_NEWLINE)
            for values in zip(*told(names, page), strict=True)
        )


def write_xlsx(file: BinaryIO, names: Sequence[str], pages: Pages) -> None:
    """A workbook with one sheet; numbers as numbers, all else as text.

    Raises:
        OutputError: there are more columns than a sheet can hold (more rows are refused before it comes to this).
    """
    import xlsxwriter  # noqa: PLC0415 # needed for this format only

    if len(names) > SHEET_COLUMNS:
        raise OutputError(f"A spreadsheet holds {SHEET_COLUMNS:,} columns.", remedy="Export to .csv or .parquet.")
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "default_date_format": None,
    }
    try:
        with xlsxwriter.Workbook(file, options) as workbook:
            _write_sheet(workbook.add_worksheet("results"), names, pages)
    except xlsxwriter.exceptions.FileCreateError as error:
        # What the system said is its first argument; the caller translates that as it does for the other formats.
        cause = error.args[0] if error.args else None
        raise cause if isinstance(cause, OSError) else OSError(str(error)) from error


def _write_sheet(sheet: Any, names: Sequence[str], pages: Pages) -> None:  # noqa: ANN401 - its library has no types
    numeric = {place for place, name in enumerate(names) if name in NUMBERS or name == LATENCY}
    sheet.freeze_panes(1, 0)
    for place, name in enumerate(names):
        sheet.write_string(0, place, name)
    line = 0
    for page in pages:
        for values in zip(*told(names, page), strict=True):
            line += 1
            for place, value in enumerate(values):
                if value is None:
                    continue
                if place in numeric:
                    sheet.write_number(line, place, value)
                else:
                    sheet.write_string(line, place, value[:_SHEET_CELL])


def told(names: Sequence[str], columns: Columns) -> Columns:
    """The columns with times as text and latencies rounded, for formats that know numbers and texts."""
    return [
        time_texts(column) if name in TIMES else rounded_latencies(column) if name == LATENCY else column
        for name, column in zip(names, columns, strict=True)
    ]


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The file {path} could not be written: {error.strerror or 'the system refused it'}.",
            cause="What the ledger holds is not touched by this.",
            remedy="See that its directory exists, that you may write there, and that the disk is not full.",
        ) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
