"""From a job file to a batch that may be sent: checked, compared with the ledger, staged, and shown before it counts.

All of it happens in one transaction of the ledger that stays open while the operator is asked. Saying no, a problem
in the file, or a crash leaves the ledger as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runner.batch.inserting import Inserting
from runner.jobs.checks import FileCheck, JobsCheck
from runner.jobs.faults import ProblemCode
from runner.ledger.entries import StagedPlan
from runner.model import InvalidRow, Problem

if TYPE_CHECKING:  # for annotations only: a check needs no ledger, and its library takes a quarter of a second
    from runner.ledger.staging import Staging
    from runner.ledger.store import Ledger

JobSource = FileCheck | JobsCheck

FIRST_PROBLEMS: Final = 20
"""Problems kept to be shown; all are told to `on_problem`."""


@dataclass(slots=True, kw_only=True)
class Problems:
    """The problems of one pass over a file: how many, in how many rows, and the first of them."""

    on_problem: Callable[[Problem], None] | None = None
    count: int = 0
    rows: int = 0
    first: list[Problem] = field(default_factory=list)

    def take_rows(self, rows: list[InvalidRow]) -> None:
        """Count the problems of rows that failed their checks."""
        for row in rows:
            self.rows += 1
            for problem in row.problems:
                self._take(problem)

    def take_repeats(self, repeats: Mapping[int, Problem]) -> None:
        """Count rows that repeat an earlier one, a problem each."""
        for problem in repeats.values():
            self.rows += 1
            self._take(problem)

    def _take(self, problem: Problem) -> None:
        self.count += 1
        if len(self.first) < FIRST_PROBLEMS:
            self.first.append(problem)
        if self.on_problem is not None:
            self.on_problem(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A whole file after its checks, nothing staged."""

    rows: int
    valid: int
    problems: Problems


def check_source(source: JobSource, *, on_problem: Callable[[Problem], None] | None = None) -> Checked:
    """Check every row; nothing is kept.

    Raises:
        JobFileError: the file as a whole cannot be read.
    """
    problems = Problems(on_problem=on_problem)
    for chunk in source.chunks():
        problems.take_rows(chunk.invalid)
    problems.take_repeats(source.repeats())
    return Checked(rows=source.rows, valid=source.rows - problems.rows, problems=problems)


class Prepared:
    """A staged file that does not count yet: what sending it would mean, and `commit` to make it so."""

    def __init__(self, staging: Staging, *, plan: StagedPlan, problems: Problems, digest: str) -> None:
        self.plan = plan
        self.problems = problems
        self._staging = staging
        self._digest = digest

    def commit(self) -> int:
        """Make it a batch, durably; its id.

        Raises:
            LedgerWriteError: the ledger could not be written; it is as it was.
        """
        return self._staging.commit(digest=self._digest)


def _is_repeat(conflict: InvalidRow) -> bool:
    """Whether a row conflicts only with an earlier row of the file, which `repeats` tells as well."""
    return all(problem.code == ProblemCode.NAME_TWICE_IN_FILE for problem in conflict.problems)


@contextlib.contextmanager
def prepare(
    ledger: Ledger,
    source: JobSource,
    *,
    name: str,
    origin: str,
    skip_invalid: bool,
    now_ms: int,
    on_problem: Callable[[Problem], None] | None = None,
    on_restart: Callable[[], None] | None = None,
) -> Iterator[Prepared]:
    """Check and stage `source`, known as `name` from `origin`; without `commit`, leaving the block leaves no trace.

    Rows that repeat an earlier one are known only when the whole file is read. With `skip_invalid` they must not be
    staged, so the file is staged again without them; that is rare, and cheaper than keeping every row in mind. Before
    that, `on_restart` is called, since `on_problem` is told everything anew.

    Raises:
        JobFileError: the file as a whole cannot be read.
        LedgerWriteError: the ledger cannot be written.
    """
    excluded: Mapping[int, Problem] = {}
    while True:
        problems = Problems(on_problem=on_problem)
        with ledger.staging(
            name=name,
            source=origin,
            headers=source.headers,
            other_columns=source.other_columns,
            attributes=source.attributes,
            now_ms=now_ms,
        ) as staging:
            with Inserting(staging) as inserting:
                chunks = source.chunks(settled=inserting.settled, excluded=excluded)
                for invalid, conflicts in inserting.through(chunks):
                    problems.take_rows(invalid)
                    problems.take_rows([row for row in conflicts if not _is_repeat(row)])
                repeats = {} if excluded else source.repeats()
            if repeats and skip_invalid:
                excluded = repeats
                if on_restart is not None:
                    on_restart()
                continue
            problems.take_repeats(repeats)
            yield Prepared(staging, plan=staging.plan(), problems=problems, digest=source.digest)
            return
