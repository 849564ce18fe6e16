"""`send`, `resume` and `retry`: stage, show, ask, send, sum up, write the results."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import typer
from rich.console import Console

from runner.batch.prepare import Problems, prepare
from runner.batch.run import Live, Summary, run_batch, verdict
from runner.campaign.pods import base_url_of
from runner.console import asjson
from runner.console.checking import ProblemsFile, open_source, refuse_to_replace
from runner.console.progress import watched
from runner.console.screen import (
    counted,
    duration,
    make_console,
    plain,
    show_error,
    show_plan,
    show_problems,
    show_summary,
)
from runner.console.setting import Setting, opened
from runner.errors import (
    ConfigurationError,
    ExitCode,
    FileProblemsError,
    LedgerError,
    OutputError,
    RunnerError,
)
from runner.ledger.entries import BatchInfo
from runner.ledger.results import export, is_supported
from runner.ledger.store import Ledger
from runner.model import JobState, Scenario

USUAL_LATENCY_S: Final = 0.5
"""What one request is taken to need, for the estimate, while the ledger knows nothing better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The flags that all commands share which send."""

    config: Path | None = None
    ledger: Path | None = None
    results: Path | None = None
    yes: bool = False
    limit: int | None = None
    as_json: bool = False
    sandbox: bool = False
    faults: tuple[str, ...] = ()
    latency_ms: float = 100.0


class NotConfirmedError(RunnerError):
    """The operator said no; nothing was sent."""

    exit_code = ExitCode.STOPPED_EARLY


class CommandInterruptedError(RunnerError):
    """Ctrl-C outside of a run, which has ways of its own to end; said here, since typer would end without a word."""

    exit_code = ExitCode.INTERRUPTED


def send_file(
    file: Path, choices: Choices, *, skip_invalid: bool, problems_path: Path | None, flags: Mapping[str, object]
) -> ExitCode:
    """Send a job file; the exit code tells how it went.

    Raises:
        RunnerError: nothing was sent, or the ledger could not be written.
    """
    out = make_console(stderr=choices.as_json)
    with opened(
        choices.config, choices.ledger, sandbox=choices.sandbox, faults=choices.faults, latency_ms=choices.latency_ms
    ) as setting:
        setting.settings.credentials()
        source = open_source(file, setting.settings, flags)
        results = _results_path(choices, file)
        refuse_to_replace(file, problems_path)
        with _at_work(setting) as ledger, ProblemsFile.writing(problems_path) as sink:
            with (
                _interruptible("Interrupted; nothing was sent."),
                prepare(
                    ledger,
                    source,
                    name=file.name,
                    origin=str(file.resolve()),
                    skip_invalid=skip_invalid,
                    now_ms=_now_ms(),
                    on_problem=sink.write,
                    on_restart=sink.restart,
                ) as prepared,
            ):
                _refuse_problems(prepared.problems, file, out, choices, skip_invalid=skip_invalid)
                seconds = _estimate(ledger, prepared.plan.to_send, setting, choices)
                host = urlsplit(_base_url(setting)).netloc
                show_plan(out, prepared.plan, org=setting.settings.org, host=host, file=str(file), seconds=seconds)
                if prepared.plan.to_send:
                    _ask(choices, out, min(prepared.plan.to_send, choices.limit or prepared.plan.to_send))
                batch_id = prepared.commit()
            return _finish(ledger, batch_id, setting, choices, out, results)


def resume_batch(choices: Choices, *, allow_past_date: bool) -> ExitCode:
    """Go on with the newest unfinished batch.

    Raises:
        RunnerError: as `send_file`; there is nothing to resume.
    """
    out = make_console(stderr=choices.as_json)
    with opened(choices.config, choices.ledger, sandbox=choices.sandbox) as setting, _at_work(setting) as ledger:
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
    with opened(choices.config, choices.ledger, sandbox=choices.sandbox) as setting, _at_work(setting) as ledger:
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
        _results_path(choices, Path(batch.source))  # what can go wrong goes wrong before anything is made pending
        if not allow_past_date:
            _refuse_past_dates(ledger, batch, JobState.REJECTED)
        out.print(
            f"Batch {batch.batch_id}, {plain(batch.name)}: {counted(rejected, 'rejected job')} to be tried again."
        )
        _ask(choices, out, rejected)
        ledger.make_retryable(batch.batch_id, scenario=wanted, now_ms=_now_ms())
        return _go_on(
            ledger, ledger.batch(batch.batch_id), setting, choices, out, allow_past_date=allow_past_date, asked=True
        )


def chosen_batch(ledger: Ledger, batch_id: int | None) -> BatchInfo:
    """The batch of that number, or the newest.

    Raises:
        LedgerError: there is none.
    """
    if batch_id is not None:
        return ledger.batch(batch_id)
    newest = ledger.newest()
    if newest is None:
        raise LedgerError("The ledger holds no batch yet.", remedy="`sms-runner send FILE` makes one.")
    return newest


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
    results = _results_path(choices, Path(batch.source))
    books = batch.balance
    if not allow_past_date:
        _refuse_past_dates(ledger, batch, JobState.PENDING)
    todo = books.pending + books.in_doubt
    seconds = _estimate(ledger, todo, setting, choices)
    if not asked:
        out.print(f"Batch {batch.batch_id}, {plain(batch.name)}, org {plain(setting.settings.org)}:")
        out.print(
            f"  {books.pending:,} pending and {books.in_doubt:,} in doubt to send, about {duration(seconds)}; "
            f"{books.sent:,} of {books.rows:,} sent already."
        )
        _ask(choices, out, min(todo, choices.limit or todo))
    return _finish(ledger, batch.batch_id, setting, choices, out, results)


def _finish(ledger: Ledger, batch_id: int, setting: Setting, choices: Choices, out: Console, results: Path) -> ExitCode:
    """Run the batch, write its results, sum up."""
    with _interruptible("Interrupted; `sms-runner show` tells what was sent, `export` writes the results."):
        return _run_and_tell(ledger, batch_id, setting, choices, out, results)


def _run_and_tell(
    ledger: Ledger, batch_id: int, setting: Setting, choices: Choices, out: Console, results: Path
) -> ExitCode:
    err = make_console(stderr=True)
    try:
        summary = _run(ledger, batch_id, setting, choices, err)
    except BaseException:
        # The ledger tells the truth even now; whoever looks at the results must not see those of an earlier run.
        _write_results(ledger, batch_id, results, err)
        raise
    written = _write_results(ledger, batch_id, results, err)
    show_summary(out, summary, results=str(results) if written else None)
    code = summary.exit_code if written else (summary.exit_code or ExitCode.USAGE)
    if choices.as_json:
        asjson.write(asjson.summary(summary, results=results if written else None, exit_code=code))
    return code


def _run(ledger: Ledger, batch_id: int, setting: Setting, choices: Choices, err: Console) -> Summary:
    live = Live()

    async def run() -> Summary:
        return await run_batch(
            ledger, batch_id, settings=setting.settings, folders=setting.folders, limit=choices.limit, live=live
        )

    with watched(live, err, limit=choices.limit):
        return anyio.run(run, backend_options={"use_uvloop": _has_uvloop()})


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401 - only whether it is there
    except ImportError:
        return False
    return True


def _write_results(ledger: Ledger, batch_id: int, results: Path, err: Console) -> bool:
    try:
        export(ledger, batch_id, results)
    except OutputError as error:
        show_error(err, error)
        err.print("The ledger holds the results all the same: `sms-runner export OUT` writes them.")
        return False
    return True


@contextlib.contextmanager
def _at_work(setting: Setting) -> Iterator[Ledger]:
    with Ledger.open(setting.settings.ledger_path, org=setting.settings.org) as ledger, ledger.lock_for_run():
        yield ledger


def _refuse_past_dates(ledger: Ledger, batch: BatchInfo, state: JobState) -> None:
    """Raise `FileProblemsError` if jobs of the batch in this state should have been sent before now."""
    past = ledger.past_dates(batch.batch_id, now=datetime.now(UTC), state=state)
    if not past.count:
        return
    rows = ", ".join(str(row) for row in past.first_rows)
    raise FileProblemsError(
        f"{counted(past.count, f'{state} job')} of batch {batch.batch_id}, {batch.name}, should have been sent "
        f"before now (rows {rows}{', …' if past.count > len(past.first_rows) else ''}).",
        problems=(),
        count=past.count,
        remedy="Nothing was sent. Give those rows a new scheduledDate in the file and send it, or add "
        "--allow-past-date to send them now.",
    )


@contextlib.contextmanager
def _interruptible(told: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise CommandInterruptedError(told) from None


def _refuse_problems(problems: Problems, file: Path, out: Console, choices: Choices, *, skip_invalid: bool) -> None:
    if not problems.count:
        return
    if choices.as_json and not skip_invalid:
        asjson.write(asjson.problems(problems, file=file))
    show_problems(out, problems.first, count=problems.count, file=str(file))
    if not skip_invalid:
        raise FileProblemsError(
            f"{counted(problems.rows, 'row')} of {file} cannot be sent, so nothing was sent.",
            problems=problems.first,
            count=problems.count,
            remedy="Correct the file, or send its good rows with --skip-invalid.",
        )


def _ask(choices: Choices, out: Console, jobs: int) -> None:
    if choices.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "There is no terminal to ask on, so nothing was sent.", remedy="Add --yes to send without being asked."
        )
    out.print()
    try:
        agreed = typer.confirm(f"Send {counted(jobs, 'job')}?", default=False, err=choices.as_json)
    except typer.Abort:
        raise CommandInterruptedError("Interrupted; nothing was sent.") from None
    if not agreed:
        raise NotConfirmedError("Nothing was sent.", remedy="Run the command again when you are ready.")


def _estimate(ledger: Ledger, jobs: int, setting: Setting, choices: Choices) -> float:
    """Seconds that sending takes if the API answers as it did lately."""
    latency_ms = ledger.usual_latency_ms()
    latency_s = USUAL_LATENCY_S if latency_ms is None else latency_ms / 1000
    if choices.limit is not None:
        jobs = min(jobs, choices.limit)
    return jobs * latency_s / setting.settings.sending.max_concurrent


def _results_path(choices: Choices, file: Path) -> Path:
    """Where the results go, seen to be possible before anything is sent.

    Raises:
        OutputError: the file would be the input, has no known ending, or its folder cannot be written.
    """
    results = choices.results if choices.results is not None else file.with_name(f"{file.stem}.results.csv")
    if not is_supported(results):
        raise OutputError(
            f"Results cannot be written to {results}: the ending is not known.",
            remedy="The endings are .csv, .parquet, .xlsx and .jsonl.",
        )
    folder = results.resolve().parent
    if results.resolve() == file.resolve() or not (folder.is_dir() and os.access(folder, os.W_OK)):
        cause = (
            "it is the job file itself"
            if folder.is_dir() and os.access(folder, os.W_OK)
            else (f"the folder {folder} is not there or cannot be written")
        )
        raise OutputError(f"Results cannot be written to {results}: {cause}.", remedy="Name another by --results.")
    return results


def _nothing_done(batch: BatchInfo | None, choices: Choices) -> ExitCode:
    code = ExitCode.ALL_SENT if batch is None else verdict(batch.balance, None)
    if choices.as_json:
        asjson.write(asjson.untouched(batch, exit_code=code))
    return code


def _base_url(setting: Setting) -> str:
    return base_url_of(pod=setting.settings.pod, base_url=setting.settings.base_url)


def _now_ms() -> int:
    return int(time.time() * 1000)
