from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from console.console_desk import PATIENCE_S, Desk, GatedSandbox, Said, job_names, names

from runner.sandbox.options import SandboxOptions

TEN_OF_FIFTEEN = 15
"""Jobs of the files here: ten are in flight at once, five wait."""

CTRL_C = b"\x03"
UNDER_A_TERMINAL = """
import os, sys
os.close(os.open(sys.argv.pop(1), os.O_RDWR))  # a session's leader gets it as its controlling terminal
from runner.console.app import main
main()
"""


@pytest.fixture
def sandbox(desk: Desk) -> Iterator[GatedSandbox]:
    """The org's API, which grants a token and then holds every send until the gate is opened."""
    thread = GatedSandbox(SandboxOptions(latency_s=0), free=1)
    with thread as url:
        desk.configure(url)
        yield thread


def in_flight(desk: Desk, sandbox: GatedSandbox, *flags: str) -> subprocess.Popen[str]:
    """A send of fifteen jobs of which ten are at the server."""
    child = desk.start("send", desk.jobs(TEN_OF_FIFTEEN), "--yes", *flags)
    sandbox.until(lambda stats: stats.running == 10, within_s=PATIENCE_S)
    return child


class Watched(io.StringIO):
    """A stderr that tells when the run has begun to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()

    def write(self, text: str) -> int:
        """Write, and look."""
        if "run_stopping" in text:
            self.stopping.set()
        return super().write(text)


@contextlib.contextmanager
def signalled(
    sandbox: GatedSandbox, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, *, then: Callable[[], None]
) -> Iterator[None]:
    """Send this process the signal when ten requests are in flight, and do something when the run knows of it."""
    stderr = Watched()
    monkeypatch.setattr(sys, "stderr", stderr)

    def watch() -> None:
        try:
            sandbox.until(lambda stats: stats.running == 10, within_s=PATIENCE_S)
            os.kill(os.getpid(), number)
            assert stderr.stopping.wait(PATIENCE_S), "the signal has no effect"
        except BaseException:
            sandbox.open()  # or the run would wait for ever
            raise
        then()

    before = signal.signal(number, lambda *_: None)  # a signal that nobody takes must not end the tests
    try:
        with ThreadPoolExecutor(1) as thread:
            watching = thread.submit(watch)
            yield
            watching.result()
    finally:
        signal.signal(number, before)


def until_logged(child: subprocess.Popen[str], event: str) -> str:
    """Read stderr up to the line that tells of the event; what was read."""
    assert child.stderr is not None
    read = ""
    while f'"event": "{event}"' not in read:
        line = child.stderr.readline()
        assert line, f"the process ended before {event}: {read}"
        read += line
    return read


def all_sent_once(desk: Desk, sandbox: GatedSandbox) -> None:
    """A resume brings the batch to its end, and the server has every job once."""
    assert desk.call("resume", "--yes").code == 0
    assert names(sandbox) == job_names(range(1, TEN_OF_FIFTEEN + 1))
    assert sandbox.stats().max_concurrent <= 10
    assert desk.states() == {"sent": TEN_OF_FIFTEEN}


def test_one_interrupt_finishes_what_is_in_flight_and_leaves_the_rest_pending(
    desk: Desk, sandbox: GatedSandbox
) -> None:
    child = in_flight(desk, sandbox)
    child.send_signal(signal.SIGINT)
    until_logged(child, "run_stopping")
    assert child.poll() is None, "it waits for its requests"
    sandbox.open()
    said = desk.ended(child)
    assert said.code == 130
    assert "sms-runner resume" in said.words
    assert desk.states() == {"sent": 10, "pending": 5}
    assert sorted(line["status"] for line in desk.results()) == ["pending"] * 5 + ["sent"] * 10
    all_sent_once(desk, sandbox)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_signals_do_the_same_and_exit_with_143(
    desk: Desk, sandbox: GatedSandbox, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with signalled(sandbox, monkeypatch, number, then=sandbox.open):
        assert desk.call("send", desk.jobs(TEN_OF_FIFTEEN), "--yes").code == 143
    assert desk.states() == {"sent": 10, "pending": 5}


def test_two_interrupts_leave_at_once_and_nothing_is_sent_twice_or_lost(
    desk: Desk, sandbox: GatedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signalled(sandbox, monkeypatch, signal.SIGINT, then=lambda: os.kill(os.getpid(), signal.SIGINT)):
        said = desk.call("send", desk.jobs(TEN_OF_FIFTEEN), "--yes")
    assert said.code == 130, "it did not wait: the server has not answered yet"
    assert sandbox.stats().accepted == 0
    assert desk.states() == {"in_doubt": 10, "pending": 5}
    assert "10 jobs in doubt" in said.words
    sandbox.open()
    sandbox.until(lambda stats: stats.accepted == 10)
    all_sent_once(desk, sandbox)
    assert sorted(line["evidence"] for line in desk.results()) == ["name_exists"] * 10 + ["response"] * 5


def test_a_kill_leaves_a_ledger_that_knows_what_may_have_been_sent(desk: Desk, sandbox: GatedSandbox) -> None:
    child = in_flight(desk, sandbox)
    child.kill()
    desk.ended(child)
    found = desk.states()
    assert found["in_doubt"] >= 10
    assert found["in_doubt"] + found.get("pending", 0) == TEN_OF_FIFTEEN
    assert "died after" in " ".join(desk.call("show").out.split())
    sandbox.open()
    sandbox.until(lambda stats: stats.accepted == 10)
    all_sent_once(desk, sandbox)


def test_a_run_can_be_watched_and_a_second_one_is_turned_away_until_it_ends(desk: Desk, sandbox: GatedSandbox) -> None:
    child = in_flight(desk, sandbox)
    shown = desk.call("show", "--json")
    assert shown.code == 0
    assert shown.json["at_work"] is True
    assert shown.json["in_doubt"] >= 10
    assert "at work now" in desk.call("show").out
    assert desk.call("batches", "--json").json[0]["at_work"] is True
    assert desk.call("export", "so_far.csv").code == 0
    other = desk.jobs(1, file="other.csv", first=100)
    turned_away = desk.call("send", other, "--yes")
    assert turned_away.code == 4
    assert str(child.pid) in turned_away.words, "who is at work"
    assert desk.call("resume", "--yes").code == 4
    sandbox.open()
    assert desk.ended(child).code == 0
    assert desk.call("send", other, "--yes").code == 0
    assert names(sandbox) == sorted([*job_names(range(1, 16)), "Job 100"])


def test_an_interrupt_while_a_file_is_staged_leaves_the_ledger_as_it_was(desk: Desk, sandbox: GatedSandbox) -> None:
    child = desk.start("send", desk.jobs(50_000))
    lock = Path(f"{desk.ledger}.lock")
    patience = time.monotonic() + PATIENCE_S
    while not lock.exists() and time.monotonic() < patience:
        time.sleep(0.005)  # looking, not guessing: staging begins when the lock is there, and takes much longer
    child.send_signal(signal.SIGINT)
    said = desk.ended(child)
    assert said.code == 130
    assert said.words == "error: Interrupted; nothing was sent."
    assert desk.call("batches", "--json").json == []
    assert sum(sandbox.stats().requests.values()) == 0
    sandbox.open()
    assert desk.call("send", desk.jobs(1), "--yes").code == 0


def test_ctrl_c_at_the_question_sends_nothing_and_exits_with_130(desk: Desk, sandbox: GatedSandbox) -> None:
    desk.jobs(3)
    said = typed(desk, "send", "jobs.csv", question="Send 3 jobs? [y/N]: ", answer=CTRL_C)
    assert said.code == 130
    assert "nothing was sent" in said.words
    assert sum(sandbox.stats().requests.values()) == 0
    assert desk.call("batches", "--json").json == []


def test_on_a_terminal_a_yes_sends_and_progress_is_drawn(desk: Desk, sandbox: GatedSandbox) -> None:
    sandbox.open()
    desk.jobs(3)
    said = typed(desk, "send", "jobs.csv", question="Send 3 jobs?", answer=b"y\r")
    assert said.code == 0
    assert names(sandbox) == job_names(range(1, 4))
    assert "in flight" in said.out
    assert '"event"' not in said.out, "logs are for people where stderr is a terminal"


def typed(desk: Desk, *arguments: str, question: str, answer: bytes) -> Said:
    """A command on a terminal, where this is typed when it asks."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-c", UNDER_A_TERMINAL, os.ttyname(theirs), *arguments],
        cwd=desk.folder,
        env=desk.env | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while question.encode() not in seen:
            more = _read(ours)
            assert more, f"it did not ask: {seen.decode()}"
            seen += more
        os.write(ours, answer)
        if answer == CTRL_C:
            seen += _pressed_until_heard(ours, before=b"nothing was sent")
        while more := _read(ours):
            seen += more
        child.wait(PATIENCE_S)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return Said(code=child.returncode, out=seen.decode(), err="")


def _pressed_until_heard(terminal: int, *, before: bytes) -> bytes:
    """What is shown up to `before`; Ctrl-C is pressed again, as a person would, when nothing happens for a while.

    One that comes between the question and the moment Python begins to wait for the answer is heard only with the next
    key: there is no Python code between the two that could look for signals. On a busy machine that is long enough.
    """
    seen = b""
    until = time.monotonic() + PATIENCE_S
    while before not in seen and time.monotonic() < until:
        if select.select([terminal], [], [], 3.0)[0]:
            more = _read(terminal)
            if not more:
                break
            seen += more
        else:
            os.write(terminal, CTRL_C)
    return seen


def _read(terminal: int) -> bytes:
    readable, _, _ = select.select([terminal], [], [], PATIENCE_S)
    try:
        return os.read(terminal, 65_536) if readable else b""
    except OSError as error:
        if error.errno == errno.EIO:  # how a terminal says on Linux that nobody has it open any more
            return b""
        raise
