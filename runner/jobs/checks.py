"""The door of this room: a job file, or jobs made by a program, against the documented rules and the guards.

A pass over the rows gives `JobChunk`s, good rows as columns and bad ones with their problems, and nothing is kept of
rows gone by but a fingerprint. What a single row cannot show (a name that stands twice) is known after a complete
pass, from `repeats`; a second pass that is told of them gives those rows as invalid ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from runner.errors import ConfigurationError, JobFileError
from runner.jobs import dates
from runner.jobs.ahead import one_ahead
from runner.jobs.assess import Asked, Assessment, Guards
from runner.jobs.buffers import TEXT
from runner.jobs.faults import WORDINGS
from runner.jobs.files import open_source, unreadable
from runner.jobs.headers import check_mappings
from runner.jobs.judge import judge
from runner.jobs.objects import ObjectSource
from runner.jobs.repeats import Keys, RepeatFinder, Repeats
from runner.jobs.rows import Kind, Rows, RowSource
from runner.jobs.text import Digest
from runner.model import JobChunk, Problem, SendJob

Settled = Callable[[Sequence[str]], Collection[str]]

_MANY_BAD = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRules:
    """What rows are judged by, beyond what the API documents."""

    now: datetime
    """Aware. Dates before it are past; nothing in this room reads a clock."""
    timezone: ZoneInfo | None = None
    """For a scheduledDate without an offset; None: such a date is a problem."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Attribute -> text, for columns the file lacks or cells left blank. It must pass the rules itself."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's header -> attribute; "" makes it an ordinary column, whatever it looks like."""
    encoding: str | None = None
    """Only when named by the operator; None: UTF-8, or what a byte order mark says."""
    delimiter: str | None = None
    """Only when named by the operator; None: found out from the header."""
    allow_default_audience: bool = False
    allow_repeat_audience: bool = False
    allow_past_date: bool = False
    chunk_rows: int = 50_000
    """Most rows of one chunk."""


class _Check:
    """What checking has in common, whatever the rows come from."""

    def __init__(self, source: RowSource, rules: CheckRules) -> None:
        self._source = source
        self._rules = rules
        self._guards = Guards(
            now_ms=None if rules.allow_past_date else dates.now_ms(rules.now),
            blank_contact_source=not rules.allow_default_audience,
        )
        self._finder: RepeatFinder | None = None
        self._asked = Asked(settled=None, excluded={})
        self._repeats: Repeats | None = None
        self.kind: Kind = source.kind
        """What is read: "csv", "parquet", or "jobs" for those of a program."""
        self.headers: tuple[str, ...] = source.columns.headers
        """As the file writes them, in its order."""
        self.other_columns: tuple[str, ...] = source.columns.others
        """Headers that are no attribute."""
        self.attributes: Mapping[str, str] = dict(source.columns.attributes)
        """Documented name -> header, for the attributes the file has."""
        self.rows = 0
        """Data rows of the last complete pass, invalid ones included; blank lines are no rows."""
        self.digest = ""
        """SHA-256 (hexadecimal) of the file's bytes as read in the last complete pass; "" before it."""

    def chunks(
        self, *, settled: Settled | None = None, excluded: Mapping[int, Problem] | None = None
    ) -> Iterator[JobChunk]:
        """Reads everything from the beginning, and gives the rows in order.

        `settled` is asked with names and answers with those whose job will not be sent anyway; for these the guards
        are silent. It is asked only about names with a guard's problem. `excluded` are rows an earlier pass found to
        be repeats: they come out as invalid, with that problem. Raises `JobFileError`; what was given before that
        must then be thrown away.
        """
        self._asked = Asked(settled=settled, excluded={} if excluded is None else excluded)
        self._repeats = None
        finder = RepeatFinder(audiences=not self._rules.allow_repeat_audience)
        if self._finder is not None:
            self._finder.close()
        self._finder = None
        digest = hashlib.sha256()
        rows = 0
        for assessment, count in self._assessments(digest):
            rows += count
            with _temporary_space():
                finder.add(assessment.keys())
            yield assessment.chunk()
        self._check_whole(rows, digest.hexdigest())
        self.rows, self.digest, self._finder = rows, digest.hexdigest(), finder

    def repeats(self) -> Mapping[int, Problem]:
        """After a complete pass: row -> problem, for each valid row that repeats an earlier valid one.

        Either its messageName stands in an earlier row, or (unless allowed) it sends the same publishedMessageId to
        the same contactSourceId at the same time as an earlier row of another name. The earlier row is in order and
        is named in the problem. Reads the rows once more where there may be repeats. The first 1,000 problems hold
        the name; a pass that is given the mapping as `excluded` adds it for all.
        """
        if self._finder is None:
            raise RuntimeError("repeats() needs a complete pass over chunks() before it")
        if self._repeats is None:
            with _temporary_space():
                self._repeats = self._finder.find(
                    self._keys_again,
                    settled=self._asked.settled,
                    name_column=self.attributes.get("messageName", "messageName"),
                    audience_column=self.attributes.get("contactSourceId"),
                )
        return self._repeats

    def _keys_again(self) -> Iterator[Keys]:
        digest = hashlib.sha256()
        for assessment, _ in self._assessments(digest):
            yield assessment.keys()
        if digest.hexdigest() != self.digest:
            raise _changed()

    def _assessments(self, digest: Digest) -> Iterator[tuple[Assessment, int]]:
        size = self._rules.chunk_rows
        for batch in self._read(digest):
            for rows in batch.parts(size):
                assessment = Assessment(
                    rows,
                    columns=self._source.columns,
                    defaults=self._rules.defaults,
                    timezone=self._rules.timezone,
                    guards=self._guards,
                    asked=self._asked,
                )
                # A bad row weighs as much as a hundred good ones, so a bad file goes on in small steps.
                size = self._rules.chunk_rows if assessment.bad < _MANY_BAD else min(size, 2 * _MANY_BAD)
                yield assessment, len(rows.numbers) + len(rows.broken)

    def _read(self, digest: Digest) -> Iterator[Rows]:
        yield from self._source.batches(digest)

    def _check_whole(self, rows: int, digest: str) -> None:
        """What can only be said of a whole pass; raises `JobFileError`."""


class FileCheck(_Check):
    """One file under one set of rules; may be iterated more than once (each pass reads the file anew).

    Raises `JobFileError` where the file, or its header, cannot be read, and `ConfigurationError` for defaults, column
    names, an encoding or a delimiter that cannot be. Problems of single rows are raised by nobody: they are in the
    chunks and in `repeats`.
    """

    def __init__(self, path: Path, *, rules: CheckRules) -> None:
        _check_rules(rules)
        self._path = Path(path)
        source = open_source(
            self._path,
            encoding=rules.encoding,
            delimiter=rules.delimiter,
            columns=rules.columns,
            defaults=rules.defaults,
            chunk_rows=rules.chunk_rows,
        )
        super().__init__(source, rules)

    def _read(self, digest: Digest) -> Iterator[Rows]:
        try:
            yield from one_ahead(self._source.batches(digest))
        except OSError as error:
            raise unreadable(self._path, error) from error

    def _check_whole(self, rows: int, digest: str) -> None:
        if not rows:
            raise JobFileError("The file has a header, but no rows.", remedy="Check that this is the right file.")
        if self.digest and digest != self.digest:
            raise _changed()


class JobsCheck(_Check):
    """Jobs made by a program under one set of rules: the same face as `FileCheck`; rows count from 1."""

    def __init__(self, jobs: Iterable[SendJob | Mapping[str, object]], *, rules: CheckRules) -> None:
        _check_rules(rules)
        source = ObjectSource(jobs, columns=rules.columns, defaults=rules.defaults, chunk_rows=rules.chunk_rows)
        super().__init__(source, rules)


def check_jobs(jobs: Iterable[SendJob | Mapping[str, object]], *, rules: CheckRules) -> JobsCheck:
    """The same rules for jobs made by a Python program: `SendJob` values, or mappings with a file's header names.

    All jobs are held in memory, since finding repeats may need a second look. The digest is that of their cells.
    """
    return JobsCheck(jobs, rules=rules)


def _check_rules(rules: CheckRules) -> None:
    if rules.now.tzinfo is None:
        raise ValueError("CheckRules.now must be aware")
    if rules.chunk_rows < 1:
        raise ValueError("CheckRules.chunk_rows must be at least 1")
    check_mappings(columns=rules.columns, defaults=rules.defaults)
    for attribute, text in rules.defaults.items():
        judged = judge(attribute, pa.array([text], TEXT), rows=1, timezone=rules.timezone)
        if text and judged.faults:
            wording = WORDINGS[judged.faults[0]]
            zone = "" if rules.timezone is None else rules.timezone.key
            raise ConfigurationError(
                f"[defaults] gives {attribute} the value {text[:200]!r}.",
                cause=wording.rule.format(attribute=attribute, timezone=zone),
                remedy="Correct it in [defaults].",
            )


def _changed() -> JobFileError:
    return JobFileError(
        "The file was changed while it was read.",
        cause="What was checked is not what is there now.",
        remedy="Start again when nobody is writing to the file.",
    )


class _temporary_space:  # noqa: N801 - used as a statement, `with _temporary_space():`
    """Turns the system's refusal of a temporary file into `JobFileError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise JobFileError(
                "There is no room for a temporary file.",
                cause=error.strerror or type(error).__name__,
                remedy="Free some space, or point TMPDIR to a folder that has some (16 bytes per row).",
            ) from error
