"""The runner for Python programs: check and send a file or jobs, go on with a batch, read the results.

The same rooms as the command line, without its prompts: `send` sends what it is given, so look at `check` first. All
promises hold here too. Functions are synchronous; `send_async` is for programs with an event loop of their own. Logs go
to Python's `logging` under the modules' names, unless the program has set up structlog itself.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from runner.batch.overdue import refuse_overdue
from runner.batch.prepare import Checked, JobSource, check_source, prepare
from runner.batch.run import Folders, Summary, in_event_loop, run_batch
from runner.errors import FileProblemsError, LedgerError
from runner.jobs.checks import CheckRules, FileCheck, check_jobs
from runner.ledger.results import read_results
from runner.ledger.store import Ledger
from runner.model import SendJob
from runner.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Source = str | os.PathLike[str] | Iterable[SendJob | Mapping[str, object]]
"""A job file's path, or jobs: `SendJob` values, or mappings with a file's header names."""


def check(source: Source, *, settings: Settings | None = None, **allowed: bool) -> Checked:
    """Check every row by the documented rules and the guards; nothing is sent or kept.

    Args:
        source: a job file's path, or jobs.
        settings: an org's, for its timezone, defaults and columns; None: none of these.
        allowed: `allow_default_audience`, `allow_repeat_audience`, `allow_past_date`; each False by default.

    Returns:
        How many rows there are and how many are good, and `problems`: their count and the first of them.

    Raises:
        JobFileError: the file as a whole cannot be read.
    """
    return check_source(_opened(source, settings, allowed))


def send(
    source: Source,
    *,
    settings: Settings,
    skip_invalid: bool = False,
    limit: int | None = None,
    name: str = "jobs",
    folders: Folders | None = None,
    **allowed: bool,
) -> Summary:
    """Check, stage and send, each job once; what the ledger knows as sent is not sent again.

    Args:
        source: a job file's path, or jobs.
        settings: the org's, with its credentials (`load_settings`).
        skip_invalid: send the good rows of a source that has bad ones.
        limit: most jobs to work on; None: all.
        name: what the batch is called in the ledger when `source` is no file.
        folders: where slots and tokens are kept; None: the user's own.
        allowed: as for `check`.

    Returns:
        The batch after the run, read back from the ledger: its balance, scenarios, and `exit_code`, which is 0 only
        when every row was sent.

    Raises:
        JobFileError, FileProblemsError: nothing was sent; the latter holds the first problems.
        LedgerBusyError: another run is at work on the ledger.
        LedgerError, LedgerWriteError, ConfigurationError: as their text says.
    """

    async def run() -> Summary:
        return await send_async(
            source,
            settings=settings,
            skip_invalid=skip_invalid,
            limit=limit,
            name=name,
            folders=folders,
            **allowed,
        )

    return in_event_loop(run)


async def send_async(
    source: Source,
    *,
    settings: Settings,
    skip_invalid: bool = False,
    limit: int | None = None,
    name: str = "jobs",
    folders: Folders | None = None,
    **allowed: bool,
) -> Summary:
    """`send` for a program with an event loop. Checking and staging block the loop; sending does not.

    Cancelled: what is in flight is given up on and recorded as in doubt before the cancellation goes on.
    """
    with _at_work(settings) as ledger:
        checked = _opened(source, settings, allowed)
        path = Path(source) if isinstance(source, str | os.PathLike) else None
        with prepare(
            ledger,
            checked,
            name=path.name if path is not None else name,
            origin=str(path.resolve()) if path is not None else name,
            skip_invalid=skip_invalid,
            now_ms=int(time.time() * 1000),
        ) as prepared:
            problems = prepared.problems
            if problems.count and not skip_invalid:
                raise FileProblemsError(
                    f"{problems.rows} rows cannot be sent, so nothing was sent.",
                    problems=problems.first,
                    count=problems.count,
                    remedy="Correct them, or send the good rows with skip_invalid=True.",
                )
            batch_id = prepared.commit()
        return await _run(ledger, batch_id, settings, limit, folders)


def resume(
    *,
    settings: Settings,
    limit: int | None = None,
    folders: Folders | None = None,
    allow_past_date: bool = False,
) -> Summary | None:
    """Go on with the newest unfinished batch, without its file; None when there is none.

    Raises:
        FileProblemsError: pending jobs should have been sent before now; nothing was sent.
        LedgerBusyError, LedgerError, LedgerWriteError, ConfigurationError: as for `send`.
    """
    with _at_work(settings) as ledger:
        batch = ledger.newest_unfinished()
        if batch is None:
            return None
        if not allow_past_date:
            refuse_overdue(ledger, batch, now=datetime.now(UTC))
        batch_id = batch.batch_id

        async def run() -> Summary:
            return await _run(ledger, batch_id, settings, limit, folders)

        return in_event_loop(run)


def results(*, settings: Settings, batch_id: int | None = None) -> pd.DataFrame:
    """The results of a batch, one line per row of its file, in its order; columns as in the results file.

    Args:
        settings: the org's; only its ledger is read.
        batch_id: a batch's number; None: the newest.

    Raises:
        LedgerError: there is no ledger or no such batch.
    """
    with Ledger.open(settings.ledger_path, org=settings.org, read_only=True) as ledger:
        if batch_id is None:
            newest = ledger.newest()
            if newest is None:
                raise LedgerError("The ledger holds no batch yet.", remedy="Send a file first.")
            batch_id = newest.batch_id
        return read_results(ledger, batch_id)


def _opened(source: Source, settings: Settings | None, allowed: Mapping[str, bool]) -> JobSource:
    org: dict[str, Any] = {}
    if settings is not None:
        org = {"timezone": settings.timezone, "defaults": settings.defaults, "columns": settings.columns}
    rules = CheckRules(now=datetime.now(UTC), **org, **dict[str, Any](allowed))
    if isinstance(source, str | os.PathLike):
        return FileCheck(Path(source), rules=rules)
    return check_jobs(source, rules=rules)


async def _run(
    ledger: Ledger, batch_id: int, settings: Settings, limit: int | None, folders: Folders | None
) -> Summary:
    return await run_batch(ledger, batch_id, settings=settings, folders=folders or Folders.of_user(), limit=limit)


@contextlib.contextmanager
def _at_work(settings: Settings) -> Iterator[Ledger]:
    _log_as_libraries_do()
    with Ledger.open(settings.ledger_path, org=settings.org) as ledger, ledger.lock_for_run():
        yield ledger


def _log_as_libraries_do() -> None:
    """Left as it is, structlog would print every event to stdout, which is the program's."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
