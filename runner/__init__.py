"""Send files of Acoustic Campaign SMS send jobs: every job once, ten requests at a time, each outcome in a ledger.

What a Python program needs stands here; everything else is the runner's own and may change. Names are imported when
they are first used, so that `import runner` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.batch.prepare import Checked
    from runner.batch.run import Folders, Summary
    from runner.errors import ExitCode, FileProblemsError, LedgerBusyError, RunnerError
    from runner.library import check, results, resume, send, send_async
    from runner.model import Balance, Evidence, JobState, Problem, Scenario, SendJob
    from runner.settings import Settings, load_settings

_HOMES = {
    "Balance": "runner.model",
    "Checked": "runner.batch.prepare",
    "Evidence": "runner.model",
    "ExitCode": "runner.errors",
    "FileProblemsError": "runner.errors",
    "Folders": "runner.batch.run",
    "JobState": "runner.model",
    "LedgerBusyError": "runner.errors",
    "Problem": "runner.model",
    "RunnerError": "runner.errors",
    "Scenario": "runner.model",
    "SendJob": "runner.model",
    "Settings": "runner.settings",
    "Summary": "runner.batch.run",
    "check": "runner.library",
    "load_settings": "runner.settings",
    "results": "runner.library",
    "resume": "runner.library",
    "send": "runner.library",
    "send_async": "runner.library",
}

__all__ = [
    "Balance",
    "Checked",
    "Evidence",
    "ExitCode",
    "FileProblemsError",
    "Folders",
    "JobState",
    "LedgerBusyError",
    "Problem",
    "RunnerError",
    "Scenario",
    "SendJob",
    "Settings",
    "Summary",
    "check",
    "load_settings",
    "results",
    "resume",
    "send",
    "send_async",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
