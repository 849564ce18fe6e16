"""`send`: stage a file, show what sending it would mean, ask, and send."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from runner.batch.prepare import Problems, prepare
from runner.campaign.pods import base_url_of
from runner.console import asjson
from runner.console.checking import open_source
from runner.console.outputs import ProblemsFile, refuse_to_replace
from runner.console.running import Choices, ask, at_work, estimate, finish, interruptible, results_path
from runner.console.screen import (
    counted,
    make_console,
    show_plan,
    show_problems,
)
from runner.console.setting import Setting, opened
from runner.errors import (
    ExitCode,
    FileProblemsError,
)


def send_file(
    file: Path, choices: Choices, *, skip_invalid: bool, problems_path: Path | None, flags: Mapping[str, object]
) -> ExitCode:
    """Send a job file; the exit code tells how it went.

    Raises:
        RunnerError: nothing was sent, or the ledger could not be written.
    """
    out = make_console(stderr=choices.as_json)
    with (
        opened(
            choices.config,
            choices.ledger,
            sandbox=choices.sandbox,
            faults=choices.faults,
            latency_ms=choices.latency_ms,
        ) as setting,
        contextlib.ExitStack() as held,
    ):
        # The ledger outlives this block, but is taken in it: a Ctrl-C in that very moment must be told of as well.
        with interruptible("Interrupted; nothing was sent."):
            setting.settings.credentials()
            source = open_source(file, setting.settings, flags)
            results = results_path(choices, file)
            refuse_to_replace(file, problems_path)
            ledger = held.enter_context(at_work(setting))
            with (
                ProblemsFile.writing(problems_path) as sink,
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
                seconds = estimate(ledger, prepared.plan.to_send, setting, choices)
                host = urlsplit(_base_url(setting)).netloc
                show_plan(out, prepared.plan, org=setting.settings.org, host=host, file=str(file), seconds=seconds)
                if prepared.plan.to_send:
                    ask(choices, out, min(prepared.plan.to_send, choices.limit or prepared.plan.to_send))
                batch_id = prepared.commit()
        return finish(ledger, batch_id, setting, choices, out, results)


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


def _base_url(setting: Setting) -> str:
    return base_url_of(pod=setting.settings.pod, base_url=setting.settings.base_url)


def _now_ms() -> int:
    return int(time.time() * 1000)
