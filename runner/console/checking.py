"""`check`: every problem of a job file on the screen, as JSON, or in a file of problems."""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Self

from runner.batch.prepare import check_source
from runner.console import asjson
from runner.console.screen import counted, make_console, show_problems
from runner.errors import ExitCode, OutputError
from runner.jobs.checks import CheckRules, FileCheck
from runner.model import Problem
from runner.settings import Settings, config_path, load_settings

PROBLEM_COLUMNS: Final = ("row", "column", "value", "rule", "remedy", "code", "scenario")


def open_source(file: Path, settings: Settings | None, flags: Mapping[str, Any]) -> FileCheck:
    """A job file under the org's rules; without an org under the rules alone.

    Raises:
        JobFileError: the file as a whole cannot be read.
    """
    org: dict[str, Any] = {}
    if settings is not None:
        org = {"timezone": settings.timezone, "defaults": settings.defaults, "columns": settings.columns}
    return FileCheck(file, rules=CheckRules(now=datetime.now(UTC), **org, **flags))


def check_file(
    file: Path,
    *,
    config: Path | None,
    problems_path: Path | None,
    online: bool,
    as_json: bool,
    flags: Mapping[str, Any],
) -> ExitCode:
    """Show what is wrong with a file.

    Raises:
        RunnerError: the file or the configuration cannot be read, or, with `online`, the API not be asked.
    """
    out = make_console(stderr=as_json)
    settings = load_settings(config) if online or config_path(config) is not None else None
    refuse_to_replace(file, problems_path)
    source = open_source(file, settings, flags)
    with ProblemsFile.writing(problems_path) as sink:
        checked = check_source(source, on_problem=sink.write)
    problems = checked.problems
    unknown: dict[str, int] = {}
    if online and settings is not None:
        from runner.console.online import unpublished

        unknown = unpublished(source, settings)
    show_problems(out, problems.first, count=problems.count, file=str(file))
    for message_id, rows in unknown.items():
        out.print(f"{message_id} is not among the org's published messages; {counted(rows, 'row')} would send it.")
    good = f"{counted(checked.rows, 'row')}, {checked.valid:,} good"
    out.print(f"{good}, {checked.rows - checked.valid:,} with problems." if problems.count else f"{good}: no problems.")
    code = ExitCode.FILE_PROBLEMS if problems.count or unknown else ExitCode.ALL_SENT
    if as_json:
        asjson.write(
            asjson.problems(problems, file=file)
            | {"rows": checked.rows, "valid": checked.valid, "unpublished": unknown, "exit_code": int(code)}
        )
    return code


def refuse_to_replace(file: Path, out: Path | None) -> None:
    """See that what is to be written to `out` would not take the place of the job file.

    Raises:
        OutputError: it would.
    """
    if out is not None and out.resolve() == file.resolve():
        raise OutputError(f"{out} is the job file itself and would be lost.", remedy="Name another file to write to.")


class ProblemsFile:
    """Writes every problem as a line of CSV; whole or absent, like all results."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._lines = csv.DictWriter(file, PROBLEM_COLUMNS) if file is not None else None
        self.restart()

    @classmethod
    @contextlib.contextmanager
    def writing(cls, path: Path | None) -> Iterator[Self]:
        """A sink that ends up at `path`, also when the block is left by an error of ours; None: nowhere.

        Raises:
            OutputError: the file cannot be written.
        """
        if path is None:
            yield cls(None)
            return
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
        except OSError as error:
            raise OutputError(
                f"The problems cannot be written to {path}: {error.strerror}.", remedy="Name another by --problems."
            ) from None
        temporary = Path(name)
        try:
            with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:  # noqa: PTH123 - an open descriptor
                sink = cls(file)
                try:
                    yield sink
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"The problems cannot be written to {path}: {error.strerror}.") from None
        except KeyboardInterrupt:
            temporary.unlink(missing_ok=True)
            raise
        except BaseException:
            temporary.replace(path)  # refused for these very problems
            raise
        temporary.replace(path)

    def write(self, problem: Problem) -> None:
        """Add one problem."""
        if self._lines is not None:
            self._lines.writerow(asdict(problem))

    def restart(self) -> None:
        """Forget what was written: the file is being checked anew."""
        if self._file is not None and self._lines is not None:
            self._file.seek(0)
            self._file.truncate()
            self._lines.writeheader()
