"""What `--json` writes to stdout: one JSON object, for other tools."""

from __future__ import annotations

import json
import sys
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from runner.console.screen import UNSAFE
from runner.errors import ExitCode
from runner.ledger.entries import BatchInfo, ScenarioCount
from runner.model import Balance

if TYPE_CHECKING:  # for annotations only: these are slow to import
    from runner.batch.prepare import Problems
    from runner.batch.run import Summary


def write(value: object) -> None:
    """Write one JSON value and a line end, as UTF-8 whatever the terminal's encoding, and safe to be shown on one."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str).decode()
    sys.stdout.flush()
    sys.stdout.buffer.write("".join(map(_shown, text)).encode())
    sys.stdout.buffer.flush()


def _shown(char: str) -> str:
    return char if char == "\n" or unicodedata.category(char) not in UNSAFE else json.dumps(char)[1:-1]


def summary(run: Summary, *, results: Path | None, exit_code: ExitCode) -> dict[str, Any]:
    """A batch after a run."""
    return {
        "batch": run.batch_id,
        "file": run.name,
        **balance(run.balance),
        "scenarios": scenarios(run.scenarios),
        "stopped": {"code": run.stopped.code, "reason": run.stopped.reason, "remedy": run.stopped.remedy}
        if run.stopped is not None
        else None,
        "attempts": run.attempts,
        "most_at_once": run.most_at_once,
        "seconds": round(run.seconds, 3),
        "results": str(results) if results is not None else None,
        "exit_code": int(exit_code),
    }


def problems(found: Problems, *, file: Path) -> dict[str, Any]:
    """The problems of a file: how many, and the first."""
    first = [asdict(problem) for problem in found.first]
    return {
        "file": str(file),
        "problem_count": found.count,
        "problem_rows": found.rows,
        "problems": first,
        "exit_code": int(ExitCode.FILE_PROBLEMS),
    }


def batch(info: BatchInfo, *, at_work: bool) -> dict[str, Any]:
    """One batch of the ledger."""
    return {
        "batch": info.batch_id,
        "file": info.name,
        "source": info.source,
        "staged_at_ms": info.created_at,
        **balance(info.balance),
        "at_work": at_work,
        "last_run": asdict(info.last_run) if info.last_run is not None else None,
    }


def scenarios(counts: tuple[ScenarioCount, ...] | list[ScenarioCount]) -> list[dict[str, Any]]:
    """How many rows ended alike."""
    return [asdict(count) for count in counts]


def untouched(info: BatchInfo | None, *, exit_code: ExitCode) -> dict[str, Any]:
    """A command that found nothing to do in a batch (None: in a ledger without one)."""
    found = {"batch": info.batch_id, "file": info.name, **balance(info.balance)} if info is not None else {}
    return {"batch": None, **found, "attempts": 0, "exit_code": int(exit_code)}


def balance(books: Balance) -> dict[str, int]:
    """The books of a batch."""
    return asdict(books)
