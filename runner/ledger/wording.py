"""Between the ledger's text columns and the project's values: problems, cells, dates and times.

JSON where a column holds more than one value, so that any tool can read it. Everything here is a plain function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson

from runner.model import InvalidRow, Problem, Scenario


def json_text(value: Mapping[str, object] | Sequence[object]) -> str:
    """`value` as JSON, in the shortest form."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate, kept in an invalid row, is no UTF-8; the escapes of plain JSON can hold it
        return json.dumps(value)


def problems_text(problems: Sequence[Problem]) -> str:
    """The problems of a row as a JSON array of objects, their row left out."""
    return json_text(
        [
            {
                "column": problem.column,
                "value": problem.value,
                "rule": problem.rule,
                "remedy": problem.remedy,
                "code": problem.code,
                "scenario": problem.scenario,
            }
            for problem in problems
        ]
    )


def invalid_row(row: int, *, cells: str, problems: str) -> InvalidRow:
    """The invalid row that was kept as these texts."""
    return InvalidRow(
        row=row,
        cells=json.loads(cells),
        problems=tuple(
            Problem(**{**kept, "row": row, "scenario": Scenario(kept["scenario"]) if kept["scenario"] else None})
            for kept in json.loads(problems)
        ),
    )


def problem_sentence(problem: Problem) -> str:
    """One problem as a person reads it in the results."""
    return (
        f"{problem.column}: {problem.rule} {problem.remedy}" if problem.column else f"{problem.rule} {problem.remedy}"
    )


def moment(ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC, to the second, for sentences."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def scheduled(text: str) -> datetime | None:
    """A job's scheduled date as an aware `datetime`; None where it is no RFC 3339 text, which the checks prevent."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None
