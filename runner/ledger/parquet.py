"""Results as Parquet: the one place in the ledger that knows pyarrow, so that other formats do not load it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runner.ledger.columns import LATENCY, NUMBERS, TIMES, Columns

_GROUP_ROWS: Final = 20_000
"""A row group ends with the page that reaches so many rows: few enough to be held in memory."""
_UNIQUE: Final = {"row", "id", "messageName", LATENCY} | TIMES
"""Columns that hardly repeat a value: to look for repetitions in them would be a third of what writing costs."""
_PLAIN_BELOW: Final = 1e9
_TIE: Final = 1e-3
"""More than the thousandfold of a number below `_PLAIN_BELOW`, itself rounded, can be wrong by."""


def write_pages(file: BinaryIO, names: Sequence[str], pages: Iterable[Columns]) -> None:
    """Writes the pages, with the same column types whatever they hold."""
    schema = pa.schema([pa.field(name, _kind(name)) for name in names])
    repeating = [name for name in names if name not in _UNIQUE]
    with pq.ParquetWriter(file, schema, use_dictionary=repeating) as writer:
        group: list[pa.RecordBatch] = []
        rows = 0
        for page in pages:
            group.append(_batch(schema, page))
            rows += len(page[0])
            if rows >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group))
                group.clear()
                rows = 0
        if group:
            writer.write_table(pa.Table.from_batches(group))


def _kind(name: str) -> pa.DataType:
    if name in NUMBERS:
        return pa.int64()
    if name in TIMES:
        return pa.timestamp("ms", tz="UTC")
    return pa.float64() if name == LATENCY else pa.string()


def _batch(schema: pa.Schema, page: Columns) -> pa.RecordBatch:
    arrays = [
        _rounded(column) if field.name == LATENCY else pa.array(column, type=field.type)
        for column, field in zip(page, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _rounded(values: Sequence[float | None]) -> pa.Array:
    """The values as `round(value, 3)` makes them, by a tenth of its time.

    Away from a tie the nearest whole number of thousandths is plain, and a thousandth of it is the number wanted, as a
    division yields the nearest one there is. Near a tie, and for big numbers, each is rounded by itself.
    """
    numbers = np.array(values, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is not plain
        thousandths = numbers * 1000
        nearest = np.rint(thousandths)
        is_plain = (np.abs(np.abs(thousandths - nearest) - 0.5) > _TIE) & (np.abs(numbers) < _PLAIN_BELOW)
    rounded = nearest / 1000
    for place in np.flatnonzero(~is_plain).tolist():
        value = values[place]
        rounded[place] = np.nan if value is None else round(value, 3)
    return pa.array(rounded, from_pandas=True)
