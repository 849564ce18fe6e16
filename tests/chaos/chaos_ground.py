"""The ground of the chaos tests: real processes of the real command line, against a server in the test's own process.

A run here is what an operator starts, but for the second that Python's imports take: it is forked from a process that
has them done. It can be killed by the operating system, stopped from writing, and looked at from both ends, which know
nothing of each other: what the server accepted, and what the ledger on disk says.
"""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing
import os
import resource
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from console.console_desk import SECRETS

from runner.ledger.results import read_results
from runner.ledger.store import Ledger
from runner.model import Balance
from runner.sandbox.catalogue import message_id
from runner.sandbox.thread import SandboxThread

ORG: Final = "acme-eu"
PATIENCE_S: Final = 60.0
"""A run that does not come to its end within this time fails its test."""
ALL_OF_US: Final = 10
"""Requests the org may have at the server at one moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a run ended: its exit code (negative: killed by that signal) and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Both outputs with their line breaks and runs of spaces made one space, to look for sentences in."""
        return " ".join((self.out + self.err).split())

    def events(self, name: str) -> list[dict[str, object]]:
        """The log's lines of that event."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]


class Run:
    """One process of the command line."""

    def __init__(self, process: ForkServerProcess, out: Path, err: Path) -> None:
        self._process = process
        self._out = out
        self._err = err

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is over."""
        return self._process.exitcode is not None

    def kill(self) -> bool:
        """SIGKILL; whether that is what ended it."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode == -signal.SIGKILL

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> None:
        """Let it work for so long, or until it is over."""
        self._process.join(seconds)

    def keep_files_below(self, size: int) -> None:
        """From now on no file of the process may grow beyond `size` bytes, as on a disk that has become full."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def let_files_grow(self) -> None:
        """There is room again."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def said_so_far(self) -> Said:
        """What it has said up to now; the code is 0 while it runs."""
        out, err = (path.read_text("utf-8") if path.exists() else "" for path in (self._out, self._err))
        return Said(code=self._process.exitcode or 0, out=out, err=err)

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until `reached()` is true of the world; asked every hundredth of a second, and once more at the end."""
        latest = time.monotonic() + PATIENCE_S
        while not reached():
            assert not self.ended or reached(), f"it ended before that: {self.said_so_far()}"
            assert time.monotonic() < latest, f"it never came to that: {self.said_so_far()}"
            time.sleep(0.01)

    def end(self) -> Said:
        """Wait for its end."""
        self._process.join(PATIENCE_S)
        assert self.ended, f"the run is stuck: {self.said_so_far()}"
        return self.said_so_far()


@dataclass(kw_only=True)
class Ground:
    """One operator's folder, with the caches and the state beside it."""

    folder: Path
    home: Path
    state: str = "state"
    """Below `home`; another one is another machine as far as slots go."""
    _runs: list[Run] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        """The org's usual ledger."""
        return self.folder / f"{ORG}.ledger.db"

    @property
    def env(self) -> dict[str, str]:
        """The whole environment of a run: nothing of whoever runs the tests but the way to programs."""
        places = {"HOME": ".", "XDG_STATE_HOME": self.state, "XDG_CACHE_HOME": "cache"}
        return {
            "PATH": os.environ["PATH"],
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            **{name: str(self.home / place) for name, place in places.items()},
            **SECRETS,
        }

    def configure(self, base_url: str, *, name: str = ORG, **sending: float | str) -> Path:
        """Write `<name>.toml` for the org, with the ledger `<name>.ledger.db`; short times unless told otherwise."""
        sending = {"timeout_seconds": 5, "settle_seconds": 0.3, "max_rejected": "100%", **sending}
        lines = [f'org = "{ORG}"', f'base_url = "{base_url}"', f'ledger = "{name}.ledger.db"', "[sending]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in sending.items()]
        config = self.folder / f"{name}.toml"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return config

    def jobs(self, count: int, *, file: str = "jobs.csv", word: str = "Job") -> Path:
        """Write a job file of sound rows: `<word> 1`, `<word> 2`, …, each to a contact source of its own."""
        path = self.folder / file
        with path.open("w", encoding="utf-8", newline="") as text:
            lines = csv.writer(text)
            lines.writerow(["publishedMessageId", "messageName", "contactSourceId"])
            for number in range(1, count + 1):
                lines.writerow([message_id(1 + number % 6), f"{word} {number}", 4_100_000 + number])
        return path

    def start(self, *arguments: str | Path, name: str = ORG, files_below: int | None = None) -> Run:
        """Start a command with the configuration `<name>.toml`, its outputs in files.

        With `files_below` no file of the process may grow beyond so many bytes, from its first moment on.
        """
        number = len(self._runs)
        out, err = self.folder / f"run-{number}.out", self.folder / f"run-{number}.err"
        given = [str(argument) for argument in arguments]
        config = self.folder / f"{name}.toml"
        env = {**self.env, "SMS_RUNNER_CONFIG": str(config)} if config.exists() else self.env
        process = _forkserver().Process(
            target=_in_child, args=(given, str(self.folder), env, str(out), str(err), files_below), daemon=True
        )
        process.start()
        self._runs.append(run := Run(process, out, err))
        return run

    def call(self, *arguments: str | Path, name: str = ORG, files_below: int | None = None) -> Said:
        """A command to its end."""
        return self.start(*arguments, name=name, files_below=files_below).end()

    def close(self) -> None:
        """Leave no process behind."""
        for run in self._runs:
            run.kill()

    def balance(self, *, name: str = ORG) -> Balance:
        """The books of the newest batch, read from the disk."""
        with self._read(name) as ledger:
            newest = ledger.newest()
        assert newest is not None, "nothing is staged"
        return newest.balance

    def is_staged(self, *, name: str = ORG) -> bool:
        """Whether the ledger holds a batch that is not done."""
        if not (self.folder / f"{name}.ledger.db").exists():
            return False
        with self._read(name) as ledger:
            return ledger.newest_unfinished() is not None

    def in_doubt(self, *, name: str = ORG) -> int:
        """How many jobs the ledger on disk holds as in doubt, by plain SQL: a claim, or an outcome nobody knows."""
        path = self.folder / f"{name}.ledger.db"
        if not path.exists():
            return 0
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            try:
                return int(database.execute("SELECT count(*) FROM jobs WHERE state = 'in_doubt'").fetchone()[0])
            except sqlite3.OperationalError:
                return 0  # its tables are not made yet

    def results(self, *, name: str = ORG) -> dict[str, tuple[str, str, str]]:
        """Each row's messageName -> status, evidence and id (empty: none), from the ledger on disk."""
        with self._read(name) as ledger:
            newest = ledger.newest()
            assert newest is not None, "nothing is staged"
            table = read_results(ledger, newest.batch_id)
        columns = [table[column].fillna("") for column in ("messageName", "status", "evidence", "id")]
        return {job: (status, evidence, send_id) for job, status, evidence, send_id in zip(*columns, strict=True)}

    @contextlib.contextmanager
    def _read(self, name: str) -> Iterator[Ledger]:
        with Ledger.open(self.folder / f"{name}.ledger.db", org=ORG, read_only=True) as ledger:
            yield ledger


def accepted(sandbox: SandboxThread) -> Counter[str]:
    """The names the server has accepted, and how often each."""
    return Counter(send.message_name for send in sandbox.accepted())


def job_names(count: int, *, word: str = "Job") -> set[str]:
    """The names of `Ground.jobs`."""
    return {f"{word} {number}" for number in range(1, count + 1)}


def broken_promises(
    ground: Ground, sandbox: SandboxThread, names: set[str], *, name: str = ORG, at_most: int = ALL_OF_US
) -> list[str]:
    """What is wrong when all of `names` should have been sent, each sentence one broken promise; judged at both ends.

    Waits until the server works on nothing any more.
    """
    sandbox.until(lambda stats: stats.running == 0, within_s=PATIENCE_S)
    stats, times = sandbox.stats(), accepted(sandbox)
    ids = {send.message_name: str(send.id) for send in sandbox.accepted()}
    books, rows = ground.balance(name=name), ground.results(name=name)
    twice = sorted(job for job, count in times.items() if count > 1)
    lost = sorted(names - times.keys())
    unsaid = sorted(job for job in names if rows.get(job, ("nowhere", "", ""))[0] != "sent")
    wrong = sorted(job for job in names if job in rows and _tells_otherwise(rows[job], ids.get(job)))
    found = {
        f"accepted twice: {twice[:5]}": bool(twice),
        f"never accepted: {lost[:5]}": bool(lost),
        f"not told as sent: {unsaid[:5]}": bool(unsaid),
        f"another id or evidence than the server's: {wrong[:5]}": bool(wrong),
        f"at the server at once: {stats.max_concurrent}": stats.max_concurrent > at_most,
        f"the books do not balance: {books}": not books.balanced or books.rows != len(rows),
    }
    return [what for what, is_broken in found.items() if is_broken]


def _tells_otherwise(row: tuple[str, str, str], send_id: str | None) -> bool:
    _, evidence, told = row
    return told != (send_id if evidence == "response" else "")


def _forkserver() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runner.console.sending", "runner.console.rehearsing"])
    return context


def _in_child(
    arguments: list[str], folder: str, env: Mapping[str, str], out: str, err: str, files_below: int | None
) -> None:
    from runner.console.app import main  # noqa: PLC0415 - loaded already in the process this one is forked from

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, descriptor)
        os.close(handle)
    if files_below is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (files_below, resource.RLIM_INFINITY))
    main(arguments)
