"""The columns of a batch's results, and a page of the ledger turned into them.

Values stay what they are (numbers, texts, epoch milliseconds); what a format makes of them is the format's business.
The attributes are text in every format: an invalid row may hold anything in them, and a column whose type depends on
whether some row was bad could not be relied on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from runner.ledger.entries import BatchInfo
from runner.ledger.pages import RESULT_CELLS
from runner.ledger.wording import invalid_row, problem_sentence
from runner.model import ATTRIBUTES, JobState

RESULT_COLUMNS: Final = (
    "row",
    "status",
    "id",
    "scenario",
    "http_status",
    "message",
    "attempts",
    "evidence",
    "first_attempt_at",
    "finished_at",
    "latency_ms",
)
"""The columns about the outcome; the documented attributes follow, then the file's other columns."""

NUMBERS: Final = frozenset({"row", "http_status", "attempts"})
TIMES: Final = frozenset({"first_attempt_at", "finished_at"})
LATENCY: Final = "latency_ms"

_OUTCOME_WIDTH: Final = len(RESULT_COLUMNS)
_ATTRIBUTES_END: Final = _OUTCOME_WIDTH + len(ATTRIBUTES)
_NUMBER_ATTRIBUTES: Final = tuple(
    place for place, name in enumerate(ATTRIBUTES, _OUTCOME_WIDTH) if name in {"contactSourceId", "preBlockingHours"}
)
_LATENCY_AT: Final = RESULT_COLUMNS.index(LATENCY)
_STATUS_AT: Final = RESULT_COLUMNS.index("status")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumns:
    """The names of a batch's result columns, and how a page becomes them."""

    names: tuple[str, ...]
    other_columns: tuple[str, ...]
    attributes: dict[str, str]

    @classmethod
    def of(cls, batch: BatchInfo) -> ResultColumns:
        """The columns of this batch.

        One of the file's other columns whose name is taken gets `_file` added, as often as it takes: `status` becomes
        `status_file`.
        """
        names = [*RESULT_COLUMNS, *ATTRIBUTES]
        for header in batch.other_columns:
            name = header
            while name in names or (name != header and name in batch.other_columns):
                name += "_file"
            names.append(name)
        return cls(names=tuple(names), other_columns=batch.other_columns, attributes=batch.attributes)

    def from_page(self, page: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The page's values column by column, in the order of `names`."""
        columns = [list(column) for column in zip(*page, strict=True)]
        others_at = len(RESULT_CELLS) - 3
        others, kept, problems = columns[others_at:]
        columns = columns[:others_at]
        for place in _NUMBER_ATTRIBUTES:
            columns[place] = [None if value is None else str(value) for value in columns[place]]
        columns[_LATENCY_AT] = [None if value is None else round(value, 3) for value in columns[_LATENCY_AT]]
        if self.other_columns:
            blank = [None] * len(self.other_columns)
            # One text of the whole page is read in half the time of its rows'.
            parsed = orjson.loads(f"[{','.join(['null' if text is None else text for text in others])}]")
            parsed = [blank if cells is None else cells for cells in parsed]
            columns += [list(column) for column in zip(*parsed, strict=True)]
        for place, why in enumerate(problems):
            if why is not None:
                for column, value in zip(columns, self._invalid(columns[0][place], kept[place], why), strict=True):
                    column[place] = value
        return columns

    def _invalid(self, number: int, cells: str, problems: str) -> list[str | int | None]:
        """An invalid row: why it is one, then its cells as they were read."""
        row = invalid_row(number, cells=cells, problems=problems)
        outcome: dict[str, str | int | None] = dict.fromkeys(RESULT_COLUMNS)
        outcome["row"] = number
        outcome["status"] = JobState.INVALID.value
        outcome["scenario"] = next((one.scenario.value for one in row.problems if one.scenario is not None), None)
        outcome["message"] = _storable(" ".join(map(problem_sentence, row.problems)))
        headers = [*(self.attributes.get(attribute) for attribute in ATTRIBUTES), *self.other_columns]
        found = [row.cells.get(header) if header is not None else None for header in headers]
        return [*outcome.values(), *(None if cell is None else _storable(cell) for cell in found)]


def _storable(text: str) -> str:
    """The text with what no file can hold (a lone surrogate, from a job made in Python) written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
