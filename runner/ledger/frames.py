"""Results as a data frame: the one place in the ledger that knows pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from runner.ledger.columns import LATENCY, NUMBERS, TIMES, Columns
from runner.ledger.texts import rounded_latencies


def joined(names: Sequence[str], pages: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The pages as one frame; with no pages, an empty one of the same column types."""
    return pd.concat(pages, ignore_index=True) if pages else typed(names, [[] for _ in names])


def typed(names: Sequence[str], columns: Columns) -> pd.DataFrame:
    """A page's columns as a frame, the types of its columns the same whatever the rows hold."""
    return pd.DataFrame({name: _series(name, column) for name, column in zip(names, columns, strict=True)})


def _series(name: str, column: Sequence[Any]) -> pd.Series[Any]:
    if name == "row":
        return pd.Series(column, dtype="int64")
    if name in NUMBERS:
        return pd.Series(column, dtype="Int64")
    if name == LATENCY:
        return pd.Series(rounded_latencies(column), dtype="float64")
    if name in TIMES:
        return pd.Series(pd.to_datetime(column, unit="ms", utc=True).astype("datetime64[ms, UTC]"))
    return pd.Series(column, dtype="str")
