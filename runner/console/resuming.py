"""`resume` and `retry`: go on with what the ledger holds. No file is read, so none of what reads files is imported."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from runner.batch.overdue import refuse_overdue
from runner.batch.run import verdict
from runner.console import asjson
from runner.console.running import Choices, ask, at_work, estimate, finish, results_path
from runner.console.screen import counted, duration, make_console, plain
from runner.console.setting import Setting, chosen_batch, opened
from runner.errors import ConfigurationError, ExitCode
from runner.ledger.entries import BatchInfo
from runner.ledger.store import Ledger
from runner.model import JobState, Scenario


def resume_batch(choices: Choices, *, allow_past_date: bool) -> ExitCode:
    """Go on with the newest unfinished batch.

    Raises:
        RunnerError: as `send_file`; there is nothing to resume.
    """
    out = make_console(stderr=choices.as_json)
    with opened(choices.config, choices.ledger, sandbox=choices.sandbox) as setting, at_work(setting) as ledger:
        batch = ledger.newest_unfinished()
        if batch is None:
            out.print("Nothing to resume: no batch has jobs pending or in doubt.")
            return _nothing_done(ledger.newest(), choices)
        return _go_on(ledger, batch, setting, choices, out, allow_past_date=allow_past_date)


def retry_batch(choices: Choices, *, batch_id: int | None, scenario: str | None, allow_past_date: bool) -> ExitCode:
    """Make rejected jobs of a batch pending again and send them.

    Raises:
        RunnerError: as `send_file`; there is no such batch or scenario.
    """
    if scenario is not None and scenario not in set(Scenario):
        raise ConfigurationError(
            f"There is no scenario {scenario!r}.", remedy=f"The scenarios are: {', '.join(Scenario)}."
        )
    out = make_console(stderr=choices.as_json)
    with opened(choices.config, choices.ledger, sandbox=choices.sandbox) as setting, at_work(setting) as ledger:
        batch = chosen_batch(ledger, batch_id)
        wanted = None if scenario is None else Scenario(scenario)
        rejected = sum(
            count.count
            for count in ledger.scenarios(batch.batch_id)
            if count.state is JobState.REJECTED and wanted in (None, count.scenario)
        )
        if not rejected:
            out.print(f"Nothing to retry: batch {batch.batch_id} has no job rejected{f' as {wanted}' * bool(wanted)}.")
            return _nothing_done(batch, choices)
        setting.settings.credentials()
        results_path(choices, Path(batch.source))  # what can go wrong goes wrong before anything is made pending
        if not allow_past_date:
            refuse_overdue(ledger, batch, now=datetime.now(UTC), state=JobState.REJECTED)
        out.print(
            f"Batch {batch.batch_id}, {plain(batch.name)}: {counted(rejected, 'rejected job')} to be tried again."
        )
        ask(choices, out, rejected)
        ledger.make_retryable(batch.batch_id, scenario=wanted, now_ms=_now_ms())
        return _go_on(
            ledger, ledger.batch(batch.batch_id), setting, choices, out, allow_past_date=allow_past_date, asked=True
        )


def _go_on(
    ledger: Ledger,
    batch: BatchInfo,
    setting: Setting,
    choices: Choices,
    out: Console,
    *,
    allow_past_date: bool,
    asked: bool = False,
) -> ExitCode:
    setting.settings.credentials()
    results = results_path(choices, Path(batch.source))
    books = batch.balance
    if not allow_past_date:
        refuse_overdue(ledger, batch, now=datetime.now(UTC))
    todo = books.pending + books.in_doubt
    seconds = estimate(ledger, todo, setting, choices)
    if not asked:
        out.print(f"Batch {batch.batch_id}, {plain(batch.name)}, org {plain(setting.settings.org)}:")
        out.print(
            f"  {books.pending:,} pending and {books.in_doubt:,} in doubt to send, about {duration(seconds)}; "
            f"{books.sent:,} of {books.rows:,} sent already."
        )
        ask(choices, out, min(todo, choices.limit or todo))
    return finish(ledger, batch.batch_id, setting, choices, out, results, before=books)


def _nothing_done(batch: BatchInfo | None, choices: Choices) -> ExitCode:
    code = ExitCode.ALL_SENT if batch is None else verdict(batch.balance, None)
    if choices.as_json:
        asjson.write(asjson.untouched(batch, exit_code=code))
    return code


def _now_ms() -> int:
    return int(time.time() * 1000)
