"""The columns of a batch's results, and a page of the ledger turned into them.

Values stay what they are (numbers, texts, epoch milliseconds); what a format makes of them is the format's business.
The attributes are text in every format: an invalid row may hold anything in them, and a column whose type depends on
whether some row was bad could not be relied on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from runner.ledger.pages import RESULT_CELLS, Page, ResultShape
from runner.ledger.texts import integer_texts
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

Columns = list[Sequence[Any]]
"""Some rows' values column by column, in the order of `ResultColumns.names`."""

_OUTCOME_WIDTH: Final = len(RESULT_COLUMNS)
_NUMBER_ATTRIBUTES: Final = tuple(
    place for place, name in enumerate(ATTRIBUTES, _OUTCOME_WIDTH) if name in {"contactSourceId", "preBlockingHours"}
)
_STATUS_AT: Final = RESULT_COLUMNS.index("status")
_MESSAGE_AT: Final = RESULT_COLUMNS.index("message")
_NOTHING: Final = (None,) * (len(RESULT_CELLS) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumns:
    """The names of a batch's result columns, and how a page becomes them."""

    names: tuple[str, ...]
    other_columns: tuple[str, ...]
    attributes: dict[str, str]

    @classmethod
    def of(cls, batch: ResultShape) -> ResultColumns:
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

    def from_page(self, page: Page) -> Columns:
        """The page's values column by column, in the order of `names`; latencies with all their decimals."""
        columns: Columns = list(zip(*page, strict=True))
        # A set finds None sooner than a tuple, which compares it with every text.
        if None not in set(columns[_STATUS_AT]):
            return self._of_jobs(columns)
        invalid = {place: row for place, row in enumerate(page) if row[_STATUS_AT] is None}
        # Stripped of what stands in the places of others, an invalid row goes the same way as a job that is empty.
        stripped = [(row[0], *_NOTHING) if row[_STATUS_AT] is None else row for row in page]
        lists = [list(column) for column in self._of_jobs(list(zip(*stripped, strict=True)))]
        for place, row in invalid.items():
            for column, value in zip(lists, self._invalid(row), strict=True):
                column[place] = value
        return [*lists]

    def _of_jobs(self, cells: Columns) -> Columns:
        *columns, others = cells
        for place in _NUMBER_ATTRIBUTES:
            columns[place] = integer_texts(columns[place])
        return [*columns, *self._parsed(others)] if self.other_columns else columns

    def _parsed(self, others: Sequence[str | None]) -> Iterable[Sequence[Any]]:
        """The file's other columns. One text of the whole page is read in half the time of its rows'."""
        if all(others):
            rows = orjson.loads(f"[{','.join(cast('Sequence[str]', others))}]")
        else:
            blank = f"[{','.join(['null'] * len(self.other_columns))}]"
            rows = orjson.loads(f"[{','.join([text or blank for text in others])}]")
        return zip(*rows, strict=True)

    def _invalid(self, row: tuple[Any, ...]) -> list[str | int | None]:
        """An invalid row: why it is one, then its cells as they were read."""
        number, problems, cells = row[0], row[_MESSAGE_AT], row[-1]
        kept = invalid_row(number, cells=cells, problems=problems)
        outcome: dict[str, str | int | None] = dict.fromkeys(RESULT_COLUMNS)
        outcome["row"] = number
        outcome["status"] = JobState.INVALID.value
        outcome["scenario"] = next((one.scenario.value for one in kept.problems if one.scenario is not None), None)
        outcome["message"] = _storable(" ".join(map(problem_sentence, kept.problems)))
        headers = [*(self.attributes.get(attribute) for attribute in ATTRIBUTES), *self.other_columns]
        found = [kept.cells.get(header) if header is not None else None for header in headers]
        return [*outcome.values(), *(None if cell is None else _storable(cell) for cell in found)]


def _storable(text: str) -> str:
    """The text with what no file can hold (a lone surrogate, from a job made in Python) written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
