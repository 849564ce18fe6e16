"""Which kind of file this is, and the source that reads it.

The content decides before the name does: people rename files, and a spreadsheet saved as `.csv` by hand is still a
spreadsheet. What is not read is named, with the way to something that is.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runner.errors import JobFileError
from runner.jobs.csvfile import CsvSource
from runner.jobs.rows import RowSource

_PARQUET = b"PAR1"
_HEAD_BYTES = 16

_SAVE_AS_CSV: Final = "Save it as CSV UTF-8 (in a spreadsheet: Save As, CSV UTF-8), and use that file."

_FOREIGN_CONTENT: Final = (
    (b"PK\x03\x04", "a spreadsheet or a zip archive", _SAVE_AS_CSV),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls)", _SAVE_AS_CSV),
    (b"\x1f\x8b", "compressed (gzip)", "Unpack it first, for example with gunzip."),
    (b"\xfd7zXZ", "compressed (xz)", "Unpack it first, for example with unxz."),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "Unpack it first, for example with unzstd."),
    (b"%PDF-", "a PDF document", _SAVE_AS_CSV),
    (b"SQLite format 3\0", "a SQLite database", "Export the table as CSV UTF-8."),
    (b"ARROW1\0\0", "an Arrow (Feather) file", "Write it as Parquet or CSV."),
)

_FOREIGN_NAMES: Final = {
    ".xlsx": _SAVE_AS_CSV,
    ".xlsm": _SAVE_AS_CSV,
    ".xls": _SAVE_AS_CSV,
    ".ods": _SAVE_AS_CSV,
    ".numbers": _SAVE_AS_CSV,
    ".json": "Write the jobs as CSV or Parquet, one row per job.",
    ".jsonl": "Write the jobs as CSV or Parquet, one row per job.",
    ".xml": "Write the jobs as CSV or Parquet, one row per job.",
    ".gz": "Unpack the file first.",
    ".zip": "Unpack the file first.",
    ".bz2": "Unpack the file first.",
    ".xz": "Unpack the file first.",
    ".zst": "Unpack the file first.",
}


def open_source(
    path: Path,
    *,
    encoding: str | None,
    delimiter: str | None,
    columns: Mapping[str, str],
    defaults: Mapping[str, str],
    chunk_rows: int,
) -> RowSource:
    """The source that reads the file at `path`; raises `JobFileError` for one that cannot be read."""
    try:
        head = _head(path)
        if head.startswith(_PARQUET):
            # Only a Parquet file needs Parquet's reader, and its import takes a moment.
            from runner.jobs.parquetfile import ParquetSource  # noqa: PLC0415

            return ParquetSource(path, columns=columns, defaults=defaults, chunk_rows=chunk_rows)
        _check_foreign(path, head)
        return CsvSource(
            path, encoding=encoding, delimiter=delimiter, columns=columns, defaults=defaults, chunk_rows=chunk_rows
        )
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> JobFileError:
    """What to say when the operating system does not give the file."""
    if isinstance(error, FileNotFoundError):
        return JobFileError(f"There is no file {path}.", remedy="Check the name and the folder.")
    if isinstance(error, PermissionError):
        return JobFileError(f"The file {path} may not be read.", remedy="Give yourself the right to read it.")
    return JobFileError(f"The file {path} cannot be read.", cause=error.strerror or type(error).__name__)


def _head(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL in the name
        raise JobFileError("This is no name of a file.", cause=str(error)) from error
    if stat.S_ISDIR(mode):
        raise JobFileError(f"{path} is a directory.", remedy="Name the job file in it.")
    if not stat.S_ISREG(mode):
        raise JobFileError(
            f"{path} is no ordinary file.",
            cause="A job file is read more than once, which a pipe or a device does not allow.",
            remedy="Save what it gives in a file first.",
        )
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise JobFileError(f"The file {path} is empty.", remedy="Check that this is the right file.")
    return head


def _check_foreign(path: Path, head: bytes) -> None:
    for magic, what, remedy in _FOREIGN_CONTENT:
        if head.startswith(magic):
            raise JobFileError(f"{path.name} is {what}; CSV and Parquet are read.", remedy=remedy)
    suffix = path.suffix.lower()
    if suffix in _FOREIGN_NAMES:
        raise JobFileError(
            f"Files of the kind {suffix} are not read; CSV and Parquet are.", remedy=_FOREIGN_NAMES[suffix]
        )
    if suffix in {".parquet", ".pq"}:
        raise JobFileError(
            f"{path.name} is no Parquet file, whatever its name says.",
            cause="It does not begin as Parquet files do; it may be damaged.",
            remedy="Write the file again, or name it .csv if it is one.",
        )
