"""A disk that is full, locked or wrong: nothing is sent that is not recorded, and afterwards the run goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.chaos_ground import PATIENCE_S, Ground, accepted, broken_promises, job_names
from console.console_desk import ROOT

from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

JOBS = 200
ROOM_FOR_LOGS = 40_000
"""Bytes a run's outputs never need, and its ledger has long passed when forty jobs are sent."""


@pytest.fixture
def sandbox(ground: Ground) -> Iterator[SandboxThread]:
    """A server slow enough that something can happen in the middle of two hundred jobs."""
    with (thread := SandboxThread(SandboxOptions(latency_s=0.05, name_check="end"))) as url:
        ground.configure(url)
        yield thread


@contextlib.contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Another program writes to the ledger, and takes its time."""
    with contextlib.closing(sqlite3.connect(ledger, timeout=PATIENCE_S, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _sent_requests_are_on_record(ground: Ground, sandbox: SandboxThread) -> None:
    """Whatever the server has got a request for, the ledger calls sent or in doubt."""
    sandbox.until(lambda stats: stats.running == 0, within_s=PATIENCE_S)
    rows = ground.results()
    assert {rows[name][0] for name in accepted(sandbox)} <= {"sent", "in_doubt"}
    assert all(rows[name][0] == "in_doubt" or rows[name][2] for name in accepted(sandbox)), "and sent with its id"


def _results_are_whole_or_absent(ground: Ground) -> None:
    results = ground.folder / "jobs.results.csv"
    assert not results.exists() or results.read_text("utf-8").count("\n") == 1 + JOBS
    assert not list(ground.folder.glob(".*part"))


def test_a_disk_that_is_full_while_the_file_is_staged_sends_nothing(ground: Ground, sandbox: SandboxThread) -> None:
    file = ground.jobs(3000)
    said = ground.call("send", file, "--yes", files_below=200_000)
    assert said.code == 4
    assert "cannot be used" in said.words
    assert "Traceback" not in said.words
    assert sum(sandbox.stats().requests.values()) == 0
    assert not (ground.folder / "jobs.results.csv").exists()
    file = ground.jobs(JOBS)
    assert ground.call("send", file, "--yes").code == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_a_disk_that_is_full_in_the_middle_stops_the_run_and_a_resume_goes_on(
    ground: Ground, sandbox: SandboxThread
) -> None:
    run = ground.start("send", ground.jobs(JOBS), "--yes")
    sandbox.until(lambda stats: stats.accepted >= 40, within_s=PATIENCE_S)
    run.keep_files_below(ROOM_FOR_LOGS)
    said = run.end()
    assert said.code == 4
    assert "Traceback" not in said.err
    assert said.events("result_not_recorded"), "what is known beyond the ledger goes to the log"
    assert accepted(sandbox).total() < JOBS, "it stopped"
    _sent_requests_are_on_record(ground, sandbox)
    _results_are_whole_or_absent(ground)
    assert ground.call("resume", "--yes").code == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_answers_wait_for_a_disk_that_is_full_for_a_moment(ground: Ground, sandbox: SandboxThread) -> None:
    """Nothing new is begun, but what has been answered is written down as soon as there is room."""
    run = ground.start("send", ground.jobs(JOBS), "--yes")
    sandbox.until(lambda stats: stats.accepted >= 40, within_s=PATIENCE_S)
    run.keep_files_below(ROOM_FOR_LOGS)
    run.until(lambda: "run_stopping" in run.said_so_far().err)
    run.let_files_grow()
    said = run.end()
    assert said.code == 4
    assert "cannot be used" in said.words
    books = ground.balance()
    assert (books.in_doubt, books.sent) == (0, accepted(sandbox).total())
    assert {ground.results()[name][1] for name in accepted(sandbox)} == {"response"}, "no answer was lost"
    assert (ground.folder / "jobs.results.csv").exists()
    assert ground.call("resume", "--yes").code == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_a_disk_that_is_really_full_is_called_so_and_the_run_goes_on_when_there_is_room(
    ground: Ground, sandbox: SandboxThread, small_disk: Path
) -> None:
    """The disk fills up in the middle of sending; afterwards comes a file for which there is no room."""
    (small_disk / ground.ledger.name).touch()
    ground.ledger.symlink_to(small_disk / ground.ledger.name)
    run = ground.start("send", ground.jobs(JOBS), "--yes")
    sandbox.until(lambda stats: stats.accepted >= 40, within_s=PATIENCE_S)
    filling = small_disk / "other files"
    with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    run.until(lambda: "the disk is full" in run.said_so_far().err)
    filling.unlink()
    assert run.end().code == 4
    assert ground.balance().in_doubt == 0
    assert ground.call("resume", "--yes").code == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []
    before = sandbox.stats().requests
    said = ground.call("send", ground.jobs(30_000), "--yes")
    assert (said.code, "the disk is full" in said.words) == (4, True)
    assert sandbox.stats().requests == before
    assert ground.balance().sent == JOBS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes that can really be filled."""
    place, mount, unmount = tmp_path / "disk", shutil.which("mount"), shutil.which("umount")
    place.mkdir()
    if mount is None or unmount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603 - as written here
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run([unmount, "--lazy", str(place)], check=True)  # noqa: S603 - as above


def test_a_log_that_nobody_reads_any_more_ends_no_run(ground: Ground, sandbox: SandboxThread) -> None:
    """`send -v … 2>&1 | head`, or a log on a disk that is full: the run goes on without its log."""
    ours, theirs = os.pipe()
    child = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-m", "runner", "send", str(ground.jobs(JOBS)), "--yes", "-v", "--log-format", "json"],
        env={**ground.env, "PYTHONPATH": str(ROOT), "SMS_RUNNER_CONFIG": str(ground.folder / "acme-eu.toml")},
        cwd=ground.folder,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    os.close(ours)
    assert child.wait(PATIENCE_S) == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    "name",
    [
        "jobs.results.csv",
        "new.jsonl",
        "new.parquet",
        "new.xlsx",
    ],
)
def test_a_full_disk_leaves_results_whole_or_absent(ground: Ground, name: str) -> None:
    """Its reader needs 32 KiB beside the ledger, so the limit here is above that and below every format's size."""
    assert ground.call("send", ground.jobs(20 * JOBS), "--yes", "--limit", "10").code == 4
    results = ground.folder / "jobs.results.csv"
    before = results.read_bytes()
    said = ground.call("export", name, files_below=33_000)
    assert (said.code, "could not be written" in said.words) == (2, True)
    assert "Traceback" not in said.words
    assert results.read_bytes() == before
    assert not list(ground.folder.glob("new*"))
    assert not list(ground.folder.glob(".*part"))


def test_a_ledger_locked_for_a_moment_at_the_start_is_waited_for(ground: Ground, sandbox: SandboxThread) -> None:
    assert ground.call("send", ground.jobs(1), "--yes").code == 0
    with locked(ground.ledger):
        run = ground.start("send", ground.jobs(20), "--yes")
        run.wait(1.5)
        assert not run.ended
    assert run.end().code == 0
    assert broken_promises(ground, sandbox, job_names(20)) == []


def test_a_ledger_locked_for_long_at_the_start_sends_nothing(ground: Ground, sandbox: SandboxThread) -> None:
    assert ground.call("send", ground.jobs(1), "--yes").code == 0
    before = sandbox.stats().requests
    with locked(ground.ledger):
        said = ground.call("send", ground.jobs(20), "--yes")
    assert said.code == 4
    assert "another process keeps it locked" in said.words
    assert sandbox.stats().requests == before
    assert ground.call("send", ground.jobs(20), "--yes").code == 0
    assert broken_promises(ground, sandbox, job_names(20)) == []


def test_a_ledger_locked_for_a_moment_in_the_middle_is_waited_for(ground: Ground, sandbox: SandboxThread) -> None:
    run = ground.start("send", ground.jobs(JOBS), "--yes")
    sandbox.until(lambda stats: stats.accepted >= 40, within_s=PATIENCE_S)
    with locked(ground.ledger):
        run.wait(1.5)
        assert not run.ended
    assert run.end().code == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_a_ledger_locked_for_long_in_the_middle_stops_the_run_and_loses_no_answer(
    ground: Ground, sandbox: SandboxThread
) -> None:
    run = ground.start("send", ground.jobs(JOBS), "--yes")
    sandbox.until(lambda stats: stats.accepted >= 40, within_s=PATIENCE_S)
    with locked(ground.ledger):
        run.until(lambda: "run_stopping" in run.said_so_far().err)
        seen = accepted(sandbox).total()
    said = run.end()
    assert said.code == 4
    assert "another process keeps it locked" in said.words
    assert accepted(sandbox).total() == seen < JOBS, "nothing is sent whose claim cannot be written"
    books = ground.balance()
    assert (books.in_doubt, books.sent) == (0, seen)
    assert ground.call("resume", "--yes").code == 0
    assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_a_ledger_that_is_cut_off_is_refused_and_left_as_it_is(ground: Ground, sandbox: SandboxThread) -> None:
    assert ground.call("send", ground.jobs(JOBS), "--yes").code == 0
    before, whole = sandbox.stats().requests, ground.ledger.read_bytes()
    for size in (len(whole) // 2, 4096, 1000, 100, 10):
        ground.ledger.write_bytes(whole[:size])
        for command in (["send", "jobs.csv", "--yes"], ["resume", "--yes"], ["show"]):
            said = ground.call(*command)
            assert said.code == 2, f"{command} of {size} bytes: {said}"
            assert "Traceback" not in said.words
        assert ground.ledger.read_bytes()[:size] == whole[:size]
    assert sandbox.stats().requests == before, "a ledger that is not sound knows nothing of what was sent"
    ground.ledger.write_bytes(whole)
    assert ground.call("send", "jobs.csv", "--yes").code == 0
    assert sandbox.stats().requests == before


@pytest.mark.parametrize(
    "content",
    [b"messageName,publishedMessageId\n", b"PK\x03\x04" + bytes(600), b"x" * 4096],
    ids=["csv", "zip", "text"],
)
def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(
    ground: Ground, sandbox: SandboxThread, content: bytes
) -> None:
    ground.ledger.write_bytes(content)
    said = ground.call("send", ground.jobs(3), "--yes")
    assert (said.code, "is not a ledger of this program" in said.words) == (2, True)
    assert ground.ledger.read_bytes() == content
    assert sum(sandbox.stats().requests.values()) == 0


def test_a_ledger_of_a_newer_version_is_refused(ground: Ground, sandbox: SandboxThread) -> None:
    assert ground.call("send", ground.jobs(3), "--yes").code == 0
    before = sandbox.stats().requests
    with contextlib.closing(sqlite3.connect(ground.ledger)) as database, database:
        database.execute("UPDATE ledger_info SET schema_version = schema_version + 1")
    said = ground.call("send", ground.jobs(5), "--yes")
    assert said.code == 2
    assert "newer" in said.words
    assert sandbox.stats().requests == before


def test_a_ledger_in_a_folder_that_is_not_there_is_told_by_its_name(ground: Ground, sandbox: SandboxThread) -> None:
    """What a read-only folder is to others, a missing one, or a file in its place, is to root as well."""
    (ground.folder / "file").write_text("in the way", encoding="utf-8")
    for ledger in ("missing/x.ledger.db", "file/x.ledger.db", "."):
        said = ground.call("send", ground.jobs(3), "--yes", "--ledger", ledger)
        assert said.code in (2, 4)
        assert "ledger" in said.words
        assert "Traceback" not in said.words
    assert sum(sandbox.stats().requests.values()) == 0
