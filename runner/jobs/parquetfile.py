"""A Parquet file as rows of text, by its types.

The rules downstream read text, so typed values become the text that means the same: integers their digits, instants
RFC 3339 in the column's own zone, whole numbers stored as floats or decimals their digits again. A float that may
have lost digits (2^53 and more) keeps its decimal point, and the rule for numbers then refuses it.
Columns that are no attribute are only carried through; their values appear as Arrow (or Python) writes them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from runner.errors import JobFileError
from runner.jobs.buffers import TEXT, Arrow
from runner.jobs.headers import Columns, match
from runner.jobs.rows import Kind, Rows
from runner.jobs.structure import RECORD_LIMIT
from runner.jobs.text import Digest

_EXACT_FLOAT: Final = 2.0**53
_HASHED_AT_A_TIME = 2**20
_BATCH_BYTES = 16 * 2**20


class ParquetSource:
    """One Parquet file; raises `JobFileError` where it cannot be read."""

    kind: Kind = "parquet"

    def __init__(self, path: Path, *, columns: Mapping[str, str], defaults: Mapping[str, str], chunk_rows: int) -> None:
        self._path = path
        with _translated():
            file = pq.ParquetFile(path)
            schema, metadata = file.schema_arrow, file.metadata
            names = list(schema.names)
            file.close()
        self.columns: Columns = match(names, columns=columns, defaults=defaults)
        for name, header in self.columns.attributes.items():
            _check_type(name, header, schema.field(header).type)
        # Texts stay in their dictionary: a megabyte repeated in every row must not be unfolded.
        self._folded = [field.name for field in schema if _is_text(field.type)]
        width = max((_row_width(metadata.row_group(i)) for i in range(metadata.num_row_groups)), default=1)
        self._batch_rows = max(1, min(chunk_rows, _BATCH_BYTES // max(width, 1)))

    def batches(self, digest: Digest) -> Generator[Rows]:
        """All rows, at most `chunk_rows` at a time; they count from 1."""
        first = 1
        attributes = set(self.columns.attributes.values())
        with _translated(), self._path.open("rb") as raw:
            while piece := raw.read(_HASHED_AT_A_TIME):
                digest.update(piece)
            file = pq.ParquetFile(self._path, read_dictionary=self._folded, pre_buffer=False, buffer_size=2**20)
            try:
                for batch in file.iter_batches(batch_size=self._batch_rows, use_threads=False):
                    if tuple(batch.schema.names) != self.columns.headers:
                        raise JobFileError("The columns of the file have changed since it was opened.")
                    for part in _bounded(batch):
                        cells = [
                            _valid(as_text(column, exact=header in attributes))
                            for header, column in zip(self.columns.headers, part.columns, strict=True)
                        ]
                        yield Rows(numbers=np.arange(first, first + part.num_rows, dtype=np.int64), cells=cells)
                        first += part.num_rows
            finally:
                file.close()


class _translated:  # noqa: N801 - used as a statement, `with _translated():`
    """Turns what pyarrow raises for a file it cannot read into `JobFileError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)):
            detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise JobFileError(
                "The Parquet file cannot be read.", cause=detail, remedy="Write the file again; it may be damaged."
            ) from error


def as_text(column: Arrow, *, exact: bool) -> Arrow:  # noqa: PLR0911 - one return per kind of type
    """The column as text without nulls (null is the empty text).

    `exact` is for attributes: whole floats and decimals become digits, instants become RFC 3339. Without it values
    are written as they are.
    """
    kind = column.type
    if isinstance(column, pa.DictionaryArray):
        words = as_text(column.dictionary, exact=exact)
        return pc.fill_null(words.take(column.indices), "")
    if isinstance(column, pa.ExtensionArray):
        return as_text(pa.array([None if v is None else str(v) for v in column.to_pylist()], TEXT), exact=exact)
    if exact and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return _whole_numbers(column)
    if exact and pa.types.is_timestamp(kind):
        return _instants(column)
    if pa.types.is_floating(kind) or pa.types.is_nested(kind) or pa.types.is_decimal(kind):
        return pa.array(["" if value is None else str(value) for value in column.to_pylist()], TEXT)
    try:
        text = pc.cast(column, TEXT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(["" if value is None else str(value) for value in column.to_pylist()], TEXT)
    return pc.fill_null(text, "")


def _valid(text: Arrow) -> Arrow:
    """The texts; raises `ArrowInvalid` for bytes that are none, which Parquet's readers let through."""
    text.validate(full=True)
    return text


def _whole_numbers(column: Arrow) -> Arrow:
    floats = pa.types.is_floating(column.type)

    def text(value: Any) -> str:  # noqa: ANN401 - a float or a Decimal
        if value is None:
            return ""
        if value == value and abs(value) != float("inf") and value == int(value):  # noqa: PLR0124 - NaN is not itself
            if not floats or abs(value) < _EXACT_FLOAT:
                return str(int(value))
            return f"{int(value)}.0"
        return str(value)

    distinct = pc.dictionary_encode(column)
    words = pa.array([text(value) for value in distinct.dictionary.to_pylist()], TEXT)
    return pc.fill_null(words.take(distinct.indices), "")


def _instants(column: Arrow) -> Arrow:
    """RFC 3339 with the offset of the column's zone; without a zone the same without an offset."""
    distinct = pc.dictionary_encode(column)
    values = distinct.dictionary
    zoned = values.type.tz is not None
    text = pc.strftime(values, format="%Y-%m-%dT%H:%M:%S%z" if zoned else "%Y-%m-%dT%H:%M:%S", locale="C")
    if zoned:  # +0200 becomes +02:00
        text = pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, -2), pc.utf8_slice_codeunits(text, -2), ":")
    return pc.fill_null(pc.cast(text, TEXT).take(distinct.indices), "")


def _is_text(kind: Arrow) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _check_type(name: str, header: str, kind: Arrow) -> None:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if isinstance(value, pa.BaseExtensionType):
        readable = value.extension_name == "arrow.uuid"
    else:
        readable = not (pa.types.is_nested(value) or pa.types.is_duration(value) or _is_bytes(value))
    if not readable:
        raise JobFileError(
            f"The column {header!r} ({name}) holds values of the type {kind}, which cannot be read as {name}.",
            remedy="Write the column as text, or as integers or timestamps where the attribute is one.",
        )


def _is_bytes(kind: Arrow) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _row_width(group: Arrow) -> int:
    return int(group.total_byte_size // max(group.num_rows, 1))


def _bounded(batch: Arrow) -> Iterator[Arrow]:
    """The batch in parts whose texts take at most a few MiB once they are out of their dictionaries."""
    weight = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray) and _is_text(column.type.value_type):
            sizes = pc.binary_length(column.dictionary).take(column.indices)
        elif _is_text(column.type):
            sizes = pc.binary_length(column)
        else:
            continue
        weight += pc.fill_null(sizes, 0).to_numpy(zero_copy_only=False)
    if batch.num_rows and int(weight.max()) > RECORD_LIMIT:
        raise JobFileError(
            f"A row of the file is longer than {RECORD_LIMIT // 2**20} MiB.",
            remedy="Check that this is the right file.",
        )
    shares = np.cumsum(weight) // _BATCH_BYTES
    edges = [0, *(np.flatnonzero(np.diff(shares)) + 1).tolist(), batch.num_rows]
    for start, end in pairwise(edges):
        if end > start:
            yield batch.slice(start, end - start)
