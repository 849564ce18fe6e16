"""What `send`, `resume` and `retry` have in common: the flags, the run itself, its results and its sums."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from runner.batch.run import Live, Summary, in_event_loop, run_batch
from runner.console import asjson
from runner.console.progress import watched
from runner.console.screen import counted, make_console, show_error, show_summary
from runner.console.setting import Setting
from runner.errors import ConfigurationError, ExitCode, OutputError, RunnerError
from runner.ledger.results import export, is_supported
from runner.ledger.store import Ledger
from runner.model import Balance

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


@contextlib.contextmanager
def at_work(setting: Setting) -> Iterator[Ledger]:
    """The org's ledger, for this process alone to write to while the block runs.

    Raises:
        LedgerBusyError: another run is at work on it.
        LedgerError, LedgerWriteError: it is none, or cannot be used.
    """
    with Ledger.open(setting.settings.ledger_path, org=setting.settings.org) as ledger, ledger.lock_for_run():
        yield ledger


@contextlib.contextmanager
def interruptible(told: str) -> Iterator[None]:
    """Raise `CommandInterruptedError`, saying `told`, when Ctrl-C comes in the block."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandInterruptedError(told) from None


def results_path(choices: Choices, file: Path) -> Path:
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


def finish(
    ledger: Ledger,
    batch_id: int,
    setting: Setting,
    choices: Choices,
    out: Console,
    results: Path,
    *,
    before: Balance | None = None,
) -> ExitCode:
    """Run the batch, write its results, sum up. `before`: its books, where they have been counted already."""
    with interruptible("Interrupted; `sms-runner show` tells what was sent, `export` writes the results."):
        return _run_and_tell(ledger, batch_id, setting, choices, out, results, Live(before=before))


def _run_and_tell(
    ledger: Ledger, batch_id: int, setting: Setting, choices: Choices, out: Console, results: Path, live: Live
) -> ExitCode:
    err = make_console(stderr=True)
    try:
        summary = _run(ledger, batch_id, setting, choices, err, live)
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


def _run(ledger: Ledger, batch_id: int, setting: Setting, choices: Choices, err: Console, live: Live) -> Summary:
    async def run() -> Summary:
        return await run_batch(
            ledger, batch_id, settings=setting.settings, folders=setting.folders, limit=choices.limit, live=live
        )

    with watched(live, err, limit=choices.limit):
        return in_event_loop(run)


def _write_results(ledger: Ledger, batch_id: int, results: Path, err: Console) -> bool:
    try:
        export(ledger, batch_id, results)
    except OutputError as error:
        show_error(err, error)
        err.print("The ledger holds the results all the same: `sms-runner export OUT` writes them.")
        return False
    return True


def ask(choices: Choices, out: Console, jobs: int) -> None:
    """Ask whether to send so many jobs, unless --yes has answered already.

    Raises:
        ConfigurationError: there is no terminal to ask on.
        NotConfirmedError, CommandInterruptedError: the answer was no, or Ctrl-C.
    """
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


def estimate(ledger: Ledger, jobs: int, setting: Setting, choices: Choices) -> float:
    """Seconds that sending takes if the API answers as it did lately."""
    latency_ms = ledger.usual_latency_ms()
    latency_s = USUAL_LATENCY_S if latency_ms is None else latency_ms / 1000
    if choices.limit is not None:
        jobs = min(jobs, choices.limit)
    return jobs * latency_s / setting.settings.sending.max_concurrent
