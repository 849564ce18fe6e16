"""What `from runner import …` gives: short, sorted, explained, and used here as a program would, checked by mypy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from console.console_desk import ROOT, desk_environment

import runner
from runner import (
    Balance,
    Checked,
    Evidence,
    ExitCode,
    FileProblemsError,
    Folders,
    JobState,
    LedgerBusyError,
    Problem,
    RunnerError,
    Scenario,
    SendJob,
    Settings,
    Summary,
    check,
    load_settings,
    results,
    resume,
    send,
    send_async,
)

MESSAGE = "0a5c0000-0000-4000-8000-000000000001"


def a_program(config: Path, jobs: list[SendJob], folders: Folders) -> tuple[ExitCode, dict[str, str]]:
    """Checks and sends jobs, goes on where that was interrupted; the exit code, and each job's id or its problem."""
    settings: Settings = load_settings(config)
    checked: Checked = check(jobs, settings=settings)
    if checked.problems.count:
        return ExitCode.FILE_PROBLEMS, {str(problem.value): _told(problem) for problem in checked.problems.first}
    try:
        summary: Summary | None = send(jobs, settings=settings, name="a program's", folders=folders)
        while summary is not None and summary.exit_code is ExitCode.STOPPED_EARLY:
            summary = resume(settings=settings, folders=folders)
    except (FileProblemsError, LedgerBusyError) as error:
        return error.exit_code, {}
    except RunnerError as error:
        return error.exit_code, {"why": error.what}
    if summary is None:
        return ExitCode.ALL_SENT, {}
    books: Balance = summary.balance
    assert books.balanced
    frame = results(settings=settings, batch_id=summary.batch_id)
    done = frame[(frame["status"] == JobState.SENT) & (frame["evidence"] == Evidence.RESPONSE)]
    refused = frame[frame["scenario"] == Scenario.CONTACT_SOURCE_NOT_FOUND]
    told = dict(zip(done["messageName"], done["id"], strict=True))
    return summary.exit_code, told | dict(zip(refused["messageName"], refused["message"], strict=True))


async def a_program_with_a_loop(settings: Settings, jobs: list[SendJob], folders: Folders) -> ExitCode:
    """The same for a program with an event loop of its own."""
    summary = await send_async(jobs, settings=settings, folders=folders)
    return summary.exit_code


def _told(problem: Problem) -> str:
    return f"{problem.rule} {problem.remedy}"


def test_the_face_is_sorted_and_everything_on_it_is_there_and_explained() -> None:
    assert sorted(runner.__all__) == runner.__all__
    assert dir(runner) == runner.__all__
    for name in runner.__all__:
        assert getattr(runner, name).__doc__, name


def test_this_file_uses_all_of_it() -> None:
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set(runner.__all__) <= used


def test_a_name_that_is_not_on_the_face_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="send_twice"):
        _ = runner.send_twice


def test_importing_it_costs_next_to_nothing(tmp_path: Path) -> None:
    code = "import sys, runner; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    env = desk_environment(tmp_path) | {"PYTHONPATH": str(ROOT)}
    loaded = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)  # noqa: S603
    assert not set(ast.literal_eval(loaded.stdout)) & {
        "pandas",
        "sqlalchemy",
        "aiohttp",
        "pyarrow",
        "pydantic",
        "typer",
    }
