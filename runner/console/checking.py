"""`check`: every problem of a job file on the screen, as JSON, or in a file of problems."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.batch.prepare import check_source
from runner.console import asjson
from runner.console.outputs import ProblemsFile, refuse_to_replace
from runner.console.screen import counted, make_console, show_problems
from runner.errors import ExitCode
from runner.jobs.checks import CheckRules, FileCheck
from runner.settings import Settings, config_path, load_settings


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
