"""`rehearse`: a job file through a set of bad days at the sandbox, kills included, and the proof of what came out.

Each day is a sandbox, a ledger and a folder of its own. The runs are real processes of the real command line, killed
by the operating system at moments the seed picks, and started again until the file is done. What is proved is read
from the two ends, which know nothing of each other: what the sandbox accepted, and what the ledger says.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.console import asjson
from runner.console.screen import counted, make_console, plain
from runner.console.setting import SANDBOX_SECRET
from runner.errors import ConfigurationError, ExitCode, RunnerError
from runner.ledger.store import Ledger
from runner.model import Balance
from runner.sandbox.books import AcceptedSend
from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread
from runner.settings import ENV_PREFIX, SECRET_VARIABLES

ORG: Final = "rehearsal"
LATENCY_S: Final = 0.02
TIMEOUT_S: Final = 0.6
LATE_S: Final = 0.9
SETTLE_S: Final = 0.8
"""More than what `LATE_S` leaves after `TIMEOUT_S`: by then a request that was given up on is over."""
RUNS_LIMIT: Final = 60
"""A file that is not done after so many runs of one day never will be."""
KILL_LATEST_S: Final = 4.0
PATIENCE_S: Final = 120.0
"""How long a run is waited for before it is called stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One bad day."""

    name: str
    faults: tuple[str, ...] = ()
    kills: bool = False
    taken: int = 0
    """Slots of the ten that other programs of the org use."""


_LOST: Final = ("reset_before=0.02", "reset_during=0.02", "reset_after=0.02", "late_answer=0.01", "drip=0.01")
_BROKEN: Final = (
    *("500_before=0.01", "500_after=0.01", "502_after=0.01", "503_before=0.01", "504_after=0.01", "html_error=0.01"),
    *("redirect=0.01", "empty_201=0.01", "cut_201=0.01", "garbled_201=0.01", "endless_body=0.005"),
)
DAYS: Final = (
    Day(name="a calm day"),
    Day(name="answers get lost", faults=_LOST),
    Day(name="the server breaks", faults=_BROKEN),
    Day(name="others use four of the ten", faults=("throttle=0.01",), taken=4),
    Day(name="tokens expire", faults=("expire_token@7,40", "unauthorized=0.005", "token_500@2")),
    Day(name="the runner is killed", kills=True),
    Day(name="killed while answers get lost", faults=(*_LOST, *_BROKEN), kills=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came out of a day, from both ends."""

    day: str
    rows: int
    runs: int
    kills: int
    faults: int
    accepted: int
    """Names the sandbox accepted."""
    accepted_twice: int
    most_at_once: int
    lost: int
    """Good rows that the sandbox did not accept and the ledger does not call rejected; in doubt ones left out."""
    doubtful: int
    wrong: int
    """Rows whose state or id in the ledger is not what the sandbox says."""
    exit_code: int

    @property
    def holds(self) -> bool:
        """Whether every promise was kept and the file is done."""
        failures = self.accepted_twice + self.lost + self.doubtful + self.wrong
        return not failures and self.most_at_once <= SandboxOptions().max_concurrent


class RehearsalError(RunnerError):
    """A run got stuck or failed in a way no rehearsal allows for."""


def rehearse(file: Path, *, kills: int, seed: int, flags: Sequence[str], as_json: bool) -> ExitCode:
    """Run the file through all days, and print the proof.

    Args:
        file: the job file.
        kills: how often the runner is killed on each of the days with kills.
        seed: of faults and of the moments of the kills.
        flags: for `send`, such as --skip-invalid.
        as_json: the proofs as JSON on stdout.

    Raises:
        RunnerError: the file has problems, or a run got stuck.
    """
    out = make_console(stderr=as_json)
    out.print(f"{plain(str(file))} through {counted(len(DAYS), 'day')} at the sandbox; seed {seed}.")
    proofs: list[Proof] = []
    for number, day in enumerate(DAYS):
        rows = proofs[0].rows if proofs else 0
        proof = live_through(
            day, file, kills=kills if day.kills else 0, rows=rows, seed=seed * 100 + number, flags=flags
        )
        proofs.append(proof)
        verdict = "held" if proof.holds else "BROKEN"
        out.print(f"  {day.name}: {verdict}, {counted(proof.runs, 'run')}, {counted(proof.faults, 'fault')}")
    _show(proofs, out)
    held = all(proof.holds for proof in proofs)
    if as_json:
        asjson.write([asdict(proof) | {"holds": proof.holds} for proof in proofs])
    out.print(
        "Every promise was kept." if held else Text("A promise was broken: please report this.", style="bold red")
    )
    return ExitCode.ALL_SENT if held else ExitCode.SOME_NOT_SENT


def live_through(day: Day, file: Path, *, kills: int = 0, rows: int = 0, seed: int, flags: Sequence[str] = ()) -> Proof:
    """Send the file on one day, killed and started again until it is done.

    Args:
        day: what goes wrong.
        file: the job file.
        kills: how often a run is killed, if the file is not done before.
        rows: how many rows the file has, so that the kills can be spread over them.
        seed: of the faults and of the kills.
        flags: for `send`.

    Raises:
        ConfigurationError: the file cannot be sent as it is; the text is what `send` said.
        RehearsalError: a run got stuck, or ended as none should.
    """
    dice = random.Random(seed)  # noqa: S311 - moments that must replay, no secret
    options = SandboxOptions(
        latency_s=LATENCY_S,
        late_s=LATE_S,
        taken=day.taken,
        name_check="end",
        faults=parse_faults(day.faults),
        seed=seed,
    )
    sandbox = SandboxThread(options)
    with sandbox as url, tempfile.TemporaryDirectory(prefix="sms-runner-") as folder:
        place = Path(folder)
        _configure(place, url)
        argv = [str(file.resolve()), "--yes", *flags]
        common = ["--config", str(place / "org.toml"), "--results", str(place / "results.csv")]
        runs = killed = 0
        command = ["send", *argv, *common]
        while True:
            runs += 1
            requests = dice.randint(1, max(1, 2 * rows // (kills + 1))) if killed < kills else None
            code = _run(command, place, sandbox, requests)
            killed += code is None
            if code in _DONE:
                break
            if code not in _UNDONE or runs >= RUNS_LIMIT:
                raise _ended_wrongly(day, code, runs, place / "output.txt")
            command = ["send", *argv, *common] if dice.random() < 0.5 else ["resume", "--yes", *common]  # noqa: PLR2004
            if not _is_staged(place):
                command = ["send", *argv, *common]
        stats = sandbox.stats()
        balance, wrong = _compare(place, sandbox.accepted())
    return Proof(
        day=day.name,
        rows=balance.rows,
        runs=runs,
        kills=killed,
        faults=sum(stats.faults.values()),
        accepted=stats.accepted - stats.accepted_twice,
        accepted_twice=stats.accepted_twice,
        most_at_once=stats.max_concurrent,
        lost=balance.rows
        - balance.invalid
        - balance.rejected
        - balance.in_doubt
        - (stats.accepted - stats.accepted_twice),
        doubtful=balance.in_doubt,
        wrong=wrong,
        exit_code=int(code),
    )


_DONE: Final = (ExitCode.ALL_SENT, ExitCode.SOME_NOT_SENT)
_UNDONE: Final = (None, ExitCode.STOPPED_EARLY, ExitCode.SOME_IN_DOUBT)
"""None: killed."""


def _run(command: list[str], place: Path, sandbox: SandboxThread, kill_after: int | None) -> int | None:
    """One process; its exit code, or None if it was killed, which is done after so many more requests."""
    output = place / "output.txt"
    process = _context().Process(target=_in_child, args=(command, str(output), _environment(place)), daemon=True)
    process.start()
    try:
        if kill_after is not None:
            seen = sandbox.stats().requests["sendjobs"]
            with contextlib.suppress(TimeoutError):  # fewer requests are left than that, or it waits for settle
                sandbox.until(lambda stats: stats.requests["sendjobs"] >= seen + kill_after, within_s=KILL_LATEST_S)
            if process.exitcode is None:
                process.kill()
                process.join()
                return None
        process.join(PATIENCE_S)
        if process.exitcode is None:
            raise RehearsalError(f"A run did not end within {PATIENCE_S:.0f} s.", remedy="Please report this.")
        return int(process.exitcode)
    finally:
        process.kill()
        process.join()
        process.close()


def _context() -> ForkServerContext | SpawnContext:
    """Processes that start quickly where the system can fork: from a server that has the modules loaded."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runner.console.sending"])
    return context


def _in_child(command: list[str], output: str, environment: dict[str, str]) -> None:
    from runner.console.app import main

    # Not inherited: a process of the fork server has the environment that was there when the server was started.
    os.environ.clear()
    os.environ.update(environment)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor in (1, 2):
        os.dup2(handle, descriptor)
    main(command)


def _configure(place: Path, url: str) -> None:
    (place / "org.toml").write_text(
        f'org = "{ORG}"\nbase_url = "{url}"\nledger = "rehearsal.ledger.db"\n'
        f"[sending]\ntimeout_seconds = {TIMEOUT_S}\nsettle_seconds = {SETTLE_S}\n"
        'max_attempts = 20\nmax_rejected = "100%"\n',
        encoding="utf-8",
    )


def _environment(place: Path) -> dict[str, str]:
    """What the runs see: made-up secrets, folders for slots and tokens of their own, none of the org's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    places = {"XDG_STATE_HOME": str(place / "state"), "XDG_CACHE_HOME": str(place / "cache")}
    return kept | places | dict.fromkeys(SECRET_VARIABLES, SANDBOX_SECRET)


def _is_staged(place: Path) -> bool:
    if not (place / "rehearsal.ledger.db").exists():
        return False
    with Ledger.open(place / "rehearsal.ledger.db", org=ORG, read_only=True) as ledger:
        return ledger.newest_unfinished() is not None


def _compare(place: Path, accepted: Sequence[AcceptedSend]) -> tuple[Balance, int]:
    """The books, and how many rows the ledger tells otherwise than the sandbox."""
    from runner.ledger.results import read_results

    ids = {send.message_name: str(send.id) for send in accepted}
    with Ledger.open(place / "rehearsal.ledger.db", org=ORG, read_only=True) as ledger:
        newest = ledger.newest()
        assert newest is not None  # noqa: S101 - a run has just ended
        results = read_results(ledger, newest.batch_id)
    wrong = 0
    columns = ("messageName", "status", "evidence", "id")
    for name, status, evidence, send_id in zip(*(results[column] for column in columns), strict=True):
        if status == "sent":
            wrong += name not in ids or (evidence == "response" and ids[name] != send_id)
        elif status in ("rejected", "pending"):
            wrong += name in ids
    return newest.balance, wrong


def _ended_wrongly(day: Day, code: int | None, runs: int, output: Path) -> RunnerError:
    said = output.read_text(encoding="utf-8", errors="replace").strip() if output.exists() else ""
    if code in (ExitCode.USAGE, ExitCode.FILE_PROBLEMS):
        return ConfigurationError(f"The file cannot be rehearsed:\n{said}")
    what = f"ended with exit code {code}" if runs < RUNS_LIMIT else f"was not done after {runs} runs"
    return RehearsalError(
        f"On the day “{day.name}” the runner {what}.", cause=said[-2000:], remedy="Please report this."
    )


def _show(proofs: Sequence[Proof], out: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("day", overflow="fold", min_width=31)
    for name in ("kills", "once", "twice", "at once", "lost", "doubt", "wrong"):
        table.add_column(name, justify="right", no_wrap=True)
    for proof in proofs:
        numbers = (
            *(proof.kills, proof.accepted, proof.accepted_twice, proof.most_at_once),
            *(proof.lost, proof.doubtful, proof.wrong),
        )
        table.add_row(Text(proof.day, style="" if proof.holds else "bold red"), *(f"{number:,}" for number in numbers))
    out.print(table)
