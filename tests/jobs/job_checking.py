"""What the tests of this room share: one way to write a file and check it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.jobs.checks import CheckRules, FileCheck, JobsCheck
from runner.model import InvalidRow, Problem, SendJob

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MESSAGE = "0a5c0000-0000-4000-8000-000000000001"


class Checked:
    """One complete pass, gathered."""

    def __init__(self, check: FileCheck | JobsCheck, **passed: Any) -> None:
        chunks = list(check.chunks(**passed))
        self.check = check
        self.jobs: list[SendJob] = [job for chunk in chunks for job in chunk.jobs()]
        self.rows = [row for chunk in chunks for row in chunk.rows]
        self.others = [text for chunk in chunks for text in chunk.others]
        self.invalid: list[InvalidRow] = [row for chunk in chunks for row in chunk.invalid]
        self.problems: list[Problem] = [problem for row in self.invalid for problem in row.problems]
        self.codes = [(problem.row, problem.column, problem.code) for problem in self.problems]
        self.names = [job.message_name for job in self.jobs]


def opened(folder: Path, content: str | bytes, *, name: str = "jobs.csv", **rules: Any) -> FileCheck:
    """Writes a job file into the folder and opens it under these rules."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FileCheck(path, rules=CheckRules(now=rules.pop("now", NOW), **rules))


def run(folder: Path, content: str | bytes, **rules: Any) -> Checked:
    """Writes a job file and checks it in one pass."""
    return Checked(opened(folder, content, **rules))


def one_cell(folder: Path, attribute: str, text: str, **rules: Any) -> Checked:
    """Checks a file with one row that is in order but for this cell."""
    cells = {"publishedMessageId": MESSAGE, "messageName": "Spring Sale"} | {attribute: text}
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells.values())
    return run(folder, ",".join(cells) + "\n" + quoted + "\n", **rules)
