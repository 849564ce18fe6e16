"""The cells of columns that are no attribute, as one text per row, so that the results can give them back.

The text is a JSON array. Where no cell needs an escape (nearly always) it is put together by Arrow for all rows at
once; a test holds that against what orjson writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pyarrow.compute as pc

from runner.jobs.buffers import Arrow, Ints, content, to_objects

_QUOTE, _BACKSLASH, _SPACE = b'"\\ '


def as_json(columns: Sequence[Arrow], rows: Ints | None, count: int) -> list[str | None]:
    """For each of `count` rows (`rows`: their places, None: all) the JSON array of its cells; None without columns."""
    if not columns:
        return [None] * count
    chosen = list(columns) if rows is None else [column.take(rows) for column in columns]
    if any(_needs_escapes(column) for column in chosen):
        return [orjson.dumps(cells).decode() for cells in zip(*map(to_objects, chosen), strict=True)]
    joined = pc.binary_join_element_wise(*chosen, '","')
    texts: list[str | None] = to_objects(pc.binary_join_element_wise('["', joined, '"]', "")).tolist()
    return texts


def _needs_escapes(column: Arrow) -> bool:
    data, _ = content(column)
    return bool(((data < _SPACE) | (data == _QUOTE) | (data == _BACKSLASH)).any())
