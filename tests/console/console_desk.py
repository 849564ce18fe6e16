"""An operator's desk for the tests of the whole: a folder, an environment, an org whose API is a sandbox of the test.

Commands run either in a process of their own, where signals, terminals and bytes matter, or in this one, which saves
the second that the imports cost.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pytest

from runner.console.app import main
from runner.ledger.store import Ledger
from runner.sandbox.catalogue import message_id
from runner.sandbox.options import SandboxOptions
from runner.sandbox.server import Sandbox
from runner.sandbox.thread import SandboxThread

ORG: Final = "acme-eu"
PATIENCE_S: Final = 30
"""A process that does not come to its end fails its test after so long."""
SECRETS: Final = {
    "SMS_RUNNER_CLIENT_ID": "CLIENT-ID-of-the-test",
    "SMS_RUNNER_CLIENT_SECRET": "CLIENT-S3CR3T-of-the-test",
    "SMS_RUNNER_REFRESH_TOKEN": "REFRESH-S3CR3T-of-the-test",
}
ROOT: Final = Path(__file__).resolve().parents[2]
COLUMNS: Final = ("publishedMessageId", "messageName", "contactSourceId")


class Gate(asyncio.Event):
    """Lets the first requests through and holds the others until it is opened."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self._free = free

    def close(self) -> None:
        """Hold every request from now on."""
        self._free = 0
        self.clear()

    async def wait(self) -> bool:  # type: ignore[override]  # what Event returns is always True as well
        """One request's turn."""
        if self._free > 0:
            self._free -= 1
            return True
        return await super().wait()


class GatedSandbox(SandboxThread):
    """A sandbox in a thread whose requests wait, after the first `free` ones, until `open` is called.

    The access token's request counts like any other.
    """

    def __init__(self, options: SandboxOptions | None = None, *, free: int) -> None:
        super().__init__(options)
        self._gate = Gate(free)
        self._sandbox = Sandbox(options, gate=self._gate)

    def close(self) -> None:
        """Let nothing through from now on."""
        self._ask(self._gate.close)

    def open(self) -> None:
        """Let everything through from now on."""
        self._ask(self._gate.set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command said: its exit code and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON value it must be."""
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """Both outputs with their line breaks and runs of spaces made one space, to look for sentences in."""
        return " ".join((self.out + self.err).split())


@dataclass(kw_only=True)
class Desk:
    """One operator, one org."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    env: dict[str, str] = field(default_factory=dict)
    _children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        """The org's ledger."""
        return self.folder / f"{ORG}.ledger.db"

    @property
    def home(self) -> Path:
        """Where state and caches of this operator go."""
        return self.folder.parent / "home"

    def configure(self, base_url: str, *more: str, org: str = ORG, **sending: float | str) -> None:
        """Write sms-runner.toml; short times unless told otherwise."""
        lines = [f'org = "{org}"', f'base_url = "{base_url}"', f'ledger = "{ORG}.ledger.db"', *more, "[sending]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in {"settle_seconds": 0.1, **sending}.items()]
        (self.folder / "sms-runner.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def jobs(
        self, count: int, *, file: str = "jobs.csv", first: int = 1, extra: Mapping[str, Sequence[str]] | None = None
    ) -> Path:
        """Write a job file of sound rows: Job 1, Job 2, …, each to a contact source of its own."""
        extra = extra or {}
        with (self.folder / file).open("w", encoding="utf-8", newline="") as text:
            lines = csv.writer(text)
            lines.writerow([*COLUMNS, *extra])
            for index in range(count):
                number = first + index
                cells = [extra[column][index] for column in extra]
                lines.writerow([message_id(1 + index % 6), f"Job {number}", 4_100_000 + number, *cells])
        return self.folder / file

    def call(self, *arguments: str | Path) -> Said:
        """A command in this process."""
        self.capture.readouterr()
        code: Any = None
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        said = self.capture.readouterr()
        assert isinstance(code, int), "a command ends with its exit code and nothing else"
        return Said(code=code, out=said.out, err=said.err)

    def run(self, *arguments: str | Path, **env: str) -> Said:
        """A command in a process of its own, to its end."""
        return self.ended(self.start(*arguments, **env))

    def start(self, *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
        """A command in a process of its own, which is under way when this returns."""
        child = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "runner", *map(str, arguments)],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._children.append(child)
        return child

    def ended(self, child: subprocess.Popen[str]) -> Said:
        """Wait for a command's end."""
        out, err = child.communicate(timeout=PATIENCE_S)
        return Said(code=child.returncode, out=out, err=err)

    def results(self, file: str = "jobs.results.csv") -> list[dict[str, str]]:
        """A results file, a line each."""
        with (self.folder / file).open(encoding="utf-8", newline="") as text:
            return list(csv.DictReader(text))

    def states(self, batch: int | None = None) -> dict[str, int]:
        """The books of a batch (None: the newest) as the ledger on disk has them, without its zeros."""
        with Ledger.open(self.ledger, org=ORG, read_only=True) as ledger:
            info = ledger.newest() if batch is None else ledger.batch(batch)
            assert info is not None
            books = info.balance
        assert books.balanced
        states = {state: getattr(books, state) for state in ("invalid", "pending", "in_doubt", "sent", "rejected")}
        return {state: number for state, number in states.items() if number}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.communicate()


def desk_environment(home: Path) -> dict[str, str]:
    """The whole environment of a command: nothing of whoever runs the tests but the way to Python."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "COLUMNS": "80",
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C.UTF-8",
        **SECRETS,
    }


def names(sandbox: SandboxThread) -> list[str]:
    """The names the API has accepted, sorted; one accepted twice is there twice."""
    return sorted(send.message_name for send in sandbox.accepted())


def job_names(numbers: range) -> list[str]:
    """The names of `Desk.jobs`, sorted."""
    return sorted(f"Job {number}" for number in numbers)
