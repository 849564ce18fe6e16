"""The command line `sms-runner`: what can be asked for, and how each answer becomes an exit code.

Commands are thin: they read flags, and a module of this room does the work. Only typer is imported up front.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from runner.console.ending import ended_cleanly_when_terminated, flush_what_can_be
from runner.console.flags import (
    AsJson,
    BatchNumber,
    Config,
    DefaultAudience,
    Delimiter,
    Encoding,
    JobFile,
    LedgerFile,
    Limit,
    LogFormat,
    PastDate,
    ProblemsFile,
    RepeatAudience,
    Results,
    Sandbox,
    SkipInvalid,
    Verbose,
    Yes,
)
from runner.console.loading import loading
from runner.errors import ExitCode, RunnerError

app = typer.Typer(
    name="sms-runner",
    help="Send a file of Acoustic Campaign SMS send jobs: every job once, ten requests at a time, every outcome in a "
    "ledger.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _logs(log_format: str, verbose: int) -> None:
    with loading():
        from runner.console.logs import configure_logs

    if log_format not in ("auto", "console", "json"):
        raise typer.BadParameter("auto, console or json", param_hint="--log-format")
    configure_logs(log_format=log_format, verbose=verbose)  # type: ignore[arg-type]  # checked above


@app.command()
def check(
    file: JobFile,
    *,
    config: Config = None,
    allow_default_audience: DefaultAudience = False,
    allow_repeat_audience: RepeatAudience = False,
    allow_past_date: PastDate = False,
    problems: ProblemsFile = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    online: Annotated[bool, typer.Option("--online", help="Also ask the org which messages are published.")] = False,
    as_json: AsJson = False,
    log_format: LogFormat = "auto",
    verbose: Verbose = 0,
) -> None:
    """Show every problem of a job file; nothing is sent, and no configuration is needed."""
    with loading():
        from runner.console.checking import check_file

    _logs(log_format, verbose)
    _exit(
        check_file(
            file,
            config=config,
            problems_path=problems,
            online=online,
            as_json=as_json,
            flags={
                "allow_default_audience": allow_default_audience,
                "allow_repeat_audience": allow_repeat_audience,
                "allow_past_date": allow_past_date,
                "encoding": encoding,
                "delimiter": delimiter,
            },
        )
    )


@app.command()
def send(
    file: JobFile,
    *,
    config: Config = None,
    ledger: LedgerFile = None,
    results: Results = None,
    yes: Yes = False,
    limit: Limit = None,
    skip_invalid: SkipInvalid = False,
    allow_default_audience: DefaultAudience = False,
    allow_repeat_audience: RepeatAudience = False,
    allow_past_date: PastDate = False,
    problems: ProblemsFile = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    sandbox: Sandbox = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help="With --sandbox: what goes wrong; see `sandbox --help`.", show_default=False
        ),
    ] = None,
    latency_ms: Annotated[
        float, typer.Option("--latency-ms", min=0, help="With --sandbox: how long each request takes.")
    ] = 100.0,
    as_json: AsJson = False,
    log_format: LogFormat = "auto",
    verbose: Verbose = 0,
) -> None:
    """Check a job file, show the plan, ask, send, and write the results. Continues what the ledger already knows."""
    with loading():
        from runner.console.running import Choices
        from runner.console.sending import send_file

    _logs(log_format, verbose)
    choices = Choices(
        config=config,
        ledger=ledger,
        results=results,
        yes=yes,
        limit=limit,
        as_json=as_json,
        sandbox=sandbox,
        faults=tuple(fault or ()),
        latency_ms=latency_ms,
    )
    _exit(
        send_file(
            file,
            choices,
            skip_invalid=skip_invalid,
            problems_path=problems,
            flags={
                "allow_default_audience": allow_default_audience,
                "allow_repeat_audience": allow_repeat_audience,
                "allow_past_date": allow_past_date,
                "encoding": encoding,
                "delimiter": delimiter,
            },
        )
    )


@app.command()
def resume(
    *,
    config: Config = None,
    ledger: LedgerFile = None,
    results: Results = None,
    yes: Yes = False,
    limit: Limit = None,
    allow_past_date: PastDate = False,
    sandbox: Sandbox = False,
    as_json: AsJson = False,
    log_format: LogFormat = "auto",
    verbose: Verbose = 0,
) -> None:
    """Go on with the newest unfinished batch, without its file."""
    with loading():
        from runner.console.resuming import resume_batch
        from runner.console.running import Choices

    _logs(log_format, verbose)
    choices = Choices(
        config=config, ledger=ledger, results=results, yes=yes, limit=limit, as_json=as_json, sandbox=sandbox
    )
    _exit(resume_batch(choices, allow_past_date=allow_past_date))


@app.command()
def retry(
    *,
    scenario: Annotated[
        str | None,
        typer.Option(metavar="S", help="Only the jobs rejected with this scenario.", show_default=False),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", help="A batch's number; default: the newest.", show_default=False)
    ] = None,
    config: Config = None,
    ledger: LedgerFile = None,
    results: Results = None,
    yes: Yes = False,
    limit: Limit = None,
    allow_past_date: PastDate = False,
    sandbox: Sandbox = False,
    as_json: AsJson = False,
    log_format: LogFormat = "auto",
    verbose: Verbose = 0,
) -> None:
    """Make rejected jobs pending again and send them."""
    with loading():
        from runner.console.resuming import retry_batch
        from runner.console.running import Choices

    _logs(log_format, verbose)
    choices = Choices(
        config=config, ledger=ledger, results=results, yes=yes, limit=limit, as_json=as_json, sandbox=sandbox
    )
    _exit(retry_batch(choices, batch_id=batch, scenario=scenario, allow_past_date=allow_past_date))


@app.command()
def batches(
    *, config: Config = None, ledger: LedgerFile = None, sandbox: Sandbox = False, as_json: AsJson = False
) -> None:
    """List the batches of the ledger; safe while a run is going on."""
    with loading():
        from runner.console.looking import list_batches

    _logs("auto", 0)
    list_batches(config=config, ledger=ledger, sandbox=sandbox, as_json=as_json)


@app.command()
def show(
    batch: BatchNumber = None,
    *,
    config: Config = None,
    ledger: LedgerFile = None,
    sandbox: Sandbox = False,
    as_json: AsJson = False,
) -> None:
    """Show one batch: its sums, its scenarios and what to do next; safe while a run is going on."""
    with loading():
        from runner.console.looking import show_one

    _logs("auto", 0)
    show_one(batch, config=config, ledger=ledger, sandbox=sandbox, as_json=as_json)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .csv, .parquet, .xlsx or .jsonl file.")],
    batch: BatchNumber = None,
    *,
    config: Config = None,
    ledger: LedgerFile = None,
    sandbox: Sandbox = False,
) -> None:
    """Write the results of a batch to a file, in the job file's order."""
    with loading():
        from runner.console.looking import export_results

    _logs("auto", 0)
    export_results(out, batch, config=config, ledger=ledger, sandbox=sandbox)


@app.command()
def messages(
    *, config: Config = None, as_json: AsJson = False, log_format: LogFormat = "auto", verbose: Verbose = 0
) -> None:
    """List the org's published messages."""
    with loading():
        from runner.console.looking import list_messages

    _logs(log_format, verbose)
    list_messages(config=config, as_json=as_json)


@app.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8180,
    latency_ms: Annotated[float, typer.Option(min=0, help="How long each request takes.")] = 50.0,
    jitter_ms: Annotated[float, typer.Option(min=0, help="Each request takes up to so much more or less.")] = 0.0,
    late_seconds: Annotated[float, typer.Option(min=0, help="How long the late faults take.")] = 35.0,
    taken: Annotated[int, typer.Option(min=0, max=9, help="Slots of the ten that other programs use.")] = 0,
    name_check: Annotated[
        str, typer.Option(metavar="WHEN", help="Names are checked on `arrival` or committed at the `end`.")
    ] = "arrival",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help="KIND=PROBABILITY, KIND@N[,N...] or seed=N; may be repeated.", show_default=False
        ),
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="List the kinds of faults and end.")] = False,
) -> None:
    """Serve a Campaign API on loopback, for rehearsals and tests, until interrupted."""
    with loading():
        from runner.console.sandboxing import list_faults, serve

    _logs("auto", 0)
    if faults:
        list_faults()
        return
    serve(
        faults=fault or [],
        knobs={
            "port": port,
            "latency_s": latency_ms / 1000,
            "jitter_s": jitter_ms / 1000,
            "late_s": late_seconds,
            "taken": taken,
            "name_check": name_check,
        },
    )


@app.command()
def rehearse(
    file: JobFile,
    *,
    kills: Annotated[int, typer.Option(min=0, help="How often the runner is killed on each day with kills.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the faults and of the moments of the kills.")] = 1,
    skip_invalid: SkipInvalid = False,
    allow_default_audience: DefaultAudience = False,
    allow_repeat_audience: RepeatAudience = False,
    allow_past_date: PastDate = False,
    as_json: AsJson = False,
) -> None:
    """Run a file through a set of bad days at the sandbox, kills included, and print the proof."""
    with loading():
        from runner.console.rehearsing import rehearse as rehearse_file

    _logs("auto", 0)
    chosen = {
        "--skip-invalid": skip_invalid,
        "--allow-default-audience": allow_default_audience,
        "--allow-repeat-audience": allow_repeat_audience,
        "--allow-past-date": allow_past_date,
    }
    flags = [name for name, wanted in chosen.items() if wanted]
    _exit(rehearse_file(file, kills=kills, seed=seed, flags=flags, as_json=as_json))


def _version(value: bool) -> None:  # noqa: FBT001 - typer's signature for a flag's callback
    if value:
        from importlib.metadata import version

        typer.echo(f"sms-runner {version('acoustic-sms-runner')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    pass


def _exit(code: ExitCode) -> None:
    raise typer.Exit(int(code))


def main(argv: list[str] | None = None) -> Any:  # noqa: ANN401 - never returns, but for typer's own types
    """Run the command line and end the process with its exit code; no input ends in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names are of any script, and terminals not
    try:
        with ended_cleanly_when_terminated():
            app(args=argv)
    except RunnerError as error:
        from runner.console.screen import make_console, show_error

        show_error(make_console(stderr=True), error)
        sys.exit(int(error.exit_code))
    finally:
        flush_what_can_be()


if __name__ == "__main__":
    main()
