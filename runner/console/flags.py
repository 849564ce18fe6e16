"""The flags and arguments that several commands share, each with its help, so that it reads the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JobFile = Annotated[Path, typer.Argument(metavar="FILE", help="The job file: .csv or .parquet.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="TOML",
        help="The org's configuration; default: SMS_RUNNER_CONFIG, then sms-runner.toml here.",
        show_default=False,
    ),
]
LedgerFile = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="The ledger, instead of the configuration's.", show_default=False),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where the results go (.csv .parquet .xlsx .jsonl); default: beside the input.",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Send without asking; needed where there is no terminal.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Work on at most N jobs.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout; everything else goes to stderr.")]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Rehearse: send to a sandbox, with a ledger of its own.")]
SkipInvalid = Annotated[bool, typer.Option("--skip-invalid", help="Send the good rows of a file that has bad ones.")]
DefaultAudience = Annotated[
    bool,
    typer.Option("--allow-default-audience", help="Allow a blank contactSourceId: the message's own audience gets it."),
]
RepeatAudience = Annotated[
    bool,
    typer.Option("--allow-repeat-audience", help="Allow the same message to the same audience at the same time twice."),
]
PastDate = Annotated[bool, typer.Option("--allow-past-date", help="Allow scheduled dates that have gone by.")]
ProblemsFile = Annotated[
    Path | None,
    typer.Option("--problems", metavar="FILE", help="Write every problem to a CSV file.", show_default=False),
]
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The file's encoding, if it is neither UTF-8 nor UTF-16.", show_default=False),
]
Delimiter = Annotated[
    str | None, typer.Option(metavar="CHAR", help="The file's delimiter; default: sniffed.", show_default=False)
]
BatchNumber = Annotated[
    int | None, typer.Argument(metavar="[BATCH]", help="A batch's number; default: the newest.", show_default=False)
]
LogFormat = Annotated[
    str, typer.Option("--log-format", metavar="FORMAT", help="Logs on stderr: auto, console or json.")
]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log more; twice: everything.")]
