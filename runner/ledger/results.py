"""What became of each row of a batch, as a file or as a data frame: one line per row, in the file's order.

The rows are read from the ledger page by page and written as they come, so a million of them need no more memory than
a few thousand. Everything is taken from one consistent view of the ledger, also while a run is going on.

A job stands in the results as the ledger holds it now: a batch whose job was edited by a later file shows the edited
payload, and the one before is in the history.

An invalid row keeps its cells as they were read, in the columns of their attributes and in the other columns; its
`status` is `invalid`, its `message` tells the problems, and what has no meaning for it is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runner.errors import OutputError
from runner.ledger.columns import RESULT_COLUMNS, Columns, ResultColumns
from runner.ledger.outputs import (
    SHEET_ROWS,
    Writer,
    whole_file,
    write_csv,
    write_jsonl,
    write_parquet,
    write_xlsx,
)
from runner.ledger.reading import LedgerReader

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESULT_COLUMNS", "export", "is_supported", "read_results"]

_PAGE_ROWS: Final = 250
"""So few that a page's cells stay in the processor's cache from the ledger to the file, and that the collector of
garbage, which looks at the newest objects after every 700, finds little; with 5,000 a row takes half as long again."""
_FRAME_ROWS: Final = 20_000
"""A frame is put together from its pages, each of which costs some milliseconds besides its rows."""


def is_supported(path: Path) -> bool:
    """Whether the path's suffix names a format that `export` writes: .csv, .parquet, .xlsx or .jsonl, in any case."""
    return path.suffix.lower() in _WRITERS


def export(ledger: LedgerReader, batch_id: int, path: Path, *, on_page: Callable[[int], None] | None = None) -> int:
    """Writes the results of a batch in the format of the path's suffix; how many rows.

    The file is complete and on disk when this returns, and is not there at all (or as it was) when it raises.
    `.csv`: UTF-8, comma, CRLF as in RFC 4180, an empty field where there is no value. The others: see
    `outputs`. Times are RFC 3339 in UTC with milliseconds; in Parquet, timestamps.

    Args:
        ledger: where the batch is; not to be used otherwise meanwhile.
        batch_id: which one.
        path: the file to write or to replace.
        on_page: told the number of rows written so far, after each page.

    Raises:
        OutputError: unknown suffix, too many rows for a spreadsheet, or the file cannot be written.
        LedgerError: there is no such batch, or the ledger turned out to be damaged.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise OutputError(
            f"Results cannot be written as {path.name}: the ending says no format that is known.",
            remedy=f"Use one of {', '.join(_WRITERS)}.",
        )
    batch = ledger.result_shape(batch_id)
    if writer is write_xlsx and batch.rows >= SHEET_ROWS:
        raise OutputError(
            f"A spreadsheet holds {SHEET_ROWS - 1:,} rows below its header; the batch has {batch.rows:,}.",
            remedy="Export to .csv or .parquet.",
        )
    columns = ResultColumns.of(batch)
    rows = 0

    def counted() -> Iterator[Columns]:
        nonlocal rows
        for page in pages:
            yield columns.from_page(page)
            rows += len(page)
            if on_page is not None:
                on_page(rows)

    with closing(ledger.result_pages(batch_id, size=_PAGE_ROWS)) as pages, whole_file(path) as file:
        writer(file, columns.names, counted())
    return rows


def read_results(ledger: LedgerReader, batch_id: int) -> pd.DataFrame:
    """The results of a batch as a data frame: the columns of a Parquet export, with missing values as such.

    `row` is int64, `http_status` and `attempts` are Int64, `latency_ms` is float64, the times are datetime64[ms, UTC],
    all else is text. Unlike an export, this holds all rows in memory.

    Raises:
        LedgerError: there is no such batch, or the ledger turned out to be damaged.
    """
    from runner.ledger.frames import joined, typed  # noqa: PLC0415 # writing files needs no pandas, half a second

    columns = ResultColumns.of(ledger.result_shape(batch_id))
    with closing(ledger.result_pages(batch_id, size=_FRAME_ROWS)) as pages:
        return joined(columns.names, [typed(columns.names, columns.from_page(page)) for page in pages])


_WRITERS: Final[dict[str, Writer]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".xlsx": write_xlsx,
    ".jsonl": write_jsonl,
}
