"""Every error a person may meet: one root, each with its exit code, its cause and what to do next.

Exceptions of aiohttp, pandas, SQLAlchemy and the operating system are translated to these at the door of the room
that met them. An expected outcome of one job (a refusal, a time-out) is no exception at all: see `model.Outcome`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar

from runner.model import Problem


class ExitCode(IntEnum):
    """What the process says to whoever started it; the README's table is tested against this."""

    ALL_SENT = 0
    """every row was sent, now or before"""
    SOME_NOT_SENT = 1
    """finished; some rows were rejected, or skipped as invalid"""
    USAGE = 2
    """usage or configuration"""
    FILE_PROBLEMS = 3
    """the file has problems; nothing was sent"""
    STOPPED_EARLY = 4
    """stopped early; jobs are pending"""
    SOME_IN_DOUBT = 5
    """finished; some jobs are in doubt"""
    INTERRUPTED = 130
    """interrupted by Ctrl-C (SIGINT); jobs are pending"""
    TERMINATED = 143
    """terminated (SIGTERM, SIGHUP); jobs are pending"""


class RunnerError(Exception):
    """Root of all errors of the runner: what happened, the likely cause, and the remedy."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(self, what: str, *, cause: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        """What happened, as a sentence without a secret in it."""
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.cause, self.remedy) if part)


class ConfigurationError(RunnerError):
    """The configuration, a flag or a secret is missing or wrong."""


class JobFileError(RunnerError):
    """The job file as a whole cannot be read: no such file, no header, wrong kind, wrong encoding."""

    exit_code = ExitCode.FILE_PROBLEMS


class FileProblemsError(RunnerError):
    """Rows of the job file failed their checks, so nothing was sent."""

    exit_code = ExitCode.FILE_PROBLEMS

    def __init__(self, what: str, *, problems: Sequence[Problem], count: int, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.problems = tuple(problems)
        """The first problems, in the file's order."""
        self.count = count
        """How many there are in all."""


class LedgerError(RunnerError):
    """The ledger cannot be used: not a ledger, damaged, from a newer version, or of another org."""


class LedgerBusyError(RunnerError):
    """Another run is at work on this ledger."""

    exit_code = ExitCode.STOPPED_EARLY


class LedgerWriteError(RunnerError):
    """The ledger could not be written: disk full, read-only, or locked. Nothing is sent that is not recorded."""

    exit_code = ExitCode.STOPPED_EARLY


class LedgerLockedError(LedgerWriteError):
    """The ledger could not be written now, since another process is writing to it; it was not touched."""


class OutputError(RunnerError):
    """A results, problems or report file could not be written; the ledger is not touched by this."""


class ApiError(RunnerError):
    """The API could not be used at all; jobs are pending."""

    exit_code = ExitCode.STOPPED_EARLY


class TokenRefusedError(ApiError):
    """The token endpoint refused the credentials, or the API refused a fresh token."""


class TokenUnavailableError(ApiError):
    """The token endpoint could not be reached, or kept failing or throttling."""
