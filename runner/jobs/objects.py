"""Jobs made by a Python program as rows of text, so that they pass the very checks a file passes.

There are no two sets of rules: a value becomes the text a file would hold, and what is wrong with it is found and
said in the same way. Rows count from 1.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from runner.jobs.buffers import TEXT, Arrow
from runner.jobs.faults import ProblemCode, problem
from runner.jobs.headers import match
from runner.jobs.rows import Kind, Rows
from runner.jobs.text import Digest
from runner.model import ATTRIBUTES, REQUIRED_ATTRIBUTES, InvalidRow, SendJob

_EXACT_FLOAT: Final = 2.0**53


class ObjectSource:
    """Jobs in memory: `SendJob` values, or mappings with the names a file's headers may have."""

    kind: Kind = "jobs"

    def __init__(
        self,
        jobs: Iterable[SendJob | Mapping[str, object]],
        *,
        columns: Mapping[str, str],
        defaults: Mapping[str, str],
        chunk_rows: int,
    ) -> None:
        # Checks read twice where rows repeat each other, which an iterator would not stand.
        self._jobs = [_as_mapping(job) for job in jobs]
        self._chunk_rows = chunk_rows
        headers = list(dict.fromkeys(header for job in self._jobs for header in job))
        self.columns = match(headers or list(REQUIRED_ATTRIBUTES), columns=columns, defaults=defaults)

    def batches(self, digest: Digest) -> Generator[Rows]:
        """All rows; the digest is taken over their cells, since there are no bytes of a file."""
        headers = self.columns.headers
        for start in range(0, len(self._jobs), self._chunk_rows):
            numbers: list[int] = []
            records: list[list[str]] = []
            broken: list[InvalidRow] = []
            for row, job in enumerate(self._jobs[start : start + self._chunk_rows], start=start + 1):
                cells = [as_text(job.get(header)) for header in headers]
                digest.update(orjson.dumps([cell.encode(errors="surrogatepass").hex() for cell in cells]))
                half = next((i for i, cell in enumerate(cells) if not _is_unicode(cell)), None)
                if half is None:
                    numbers.append(row)
                    records.append(cells)
                else:
                    broken.append(_not_unicode(row, headers, cells, half))
            columns: list[Arrow] = [pa.array(column, TEXT) for column in zip(*records, strict=True)]
            yield Rows(
                numbers=np.array(numbers, np.int64),
                cells=columns or [pa.array([], TEXT) for _ in headers],
                broken=broken,
            )


def as_text(value: object) -> str:
    """The text a file would hold for a value; None is the empty text, whole floats and decimals are their digits."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def _as_mapping(job: SendJob | Mapping[str, object]) -> Mapping[str, object]:
    if not isinstance(job, SendJob):
        return job
    # An attribute that is None is one the job does not have; required ones are there to be complained about.
    cells = {name: getattr(job, field) for name, field in ATTRIBUTES.items()}
    return {name: value for name, value in cells.items() if value is not None or name in REQUIRED_ATTRIBUTES}


def _is_unicode(cell: str) -> bool:
    return cell.isascii() or not any("\ud800" <= mark <= "\udfff" for mark in cell)


def _not_unicode(row: int, headers: tuple[str, ...], cells: list[str], place: int) -> InvalidRow:
    shown = [cell if _is_unicode(cell) else cell.encode(errors="backslashreplace").decode() for cell in cells]
    fault = problem(ProblemCode.NOT_UNICODE, row=row, column=headers[place], value=shown[place])
    return InvalidRow(row=row, cells=dict(zip(headers, shown, strict=True)), problems=(fault,))
