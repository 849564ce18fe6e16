"""SIGKILL at any moment: the next run finishes the file, and each row is accepted exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from chaos.chaos_ground import PATIENCE_S, Ground, broken_promises, job_names
from chaos.chaos_storm import WEATHER, through_a_storm
from console.console_desk import ROOT, GatedSandbox

from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

SEED = int(os.environ.get("CHAOS_SEED", "1"))
KILLS = {"calm": 9, "answers get lost": 8, "the server breaks": 8, "all at once": 8}
JOBS = 45


def test_there_are_thirty_kills_or_more() -> None:
    assert set(KILLS) == set(WEATHER)
    assert sum(KILLS.values()) >= 30


@pytest.mark.parametrize("weather", WEATHER)
def test_killed_over_and_over_each_row_is_accepted_exactly_once(ground: Ground, weather: str) -> None:
    """CHAOS_SEED=… chooses other moments."""
    print(f"CHAOS_SEED={SEED}")  # noqa: T201 - shown where the test fails
    storm = through_a_storm(ground, weather=weather, rows=300, kills=KILLS[weather], seed=SEED)
    print(storm)  # noqa: T201 - as above
    assert storm.kills == KILLS[weather]
    assert (storm.faults > 0) == bool(WEATHER[weather])
    assert storm.broken == ()


@pytest.fixture
def gated() -> Iterator[GatedSandbox]:
    """A server that begins to work on requests and finishes none before its gate is opened."""
    with (thread := GatedSandbox(SandboxOptions(latency_s=0, name_check="end"), free=0)):
        yield thread


def test_killed_while_it_asks_for_a_token_nothing_is_sent_and_nothing_lost(ground: Ground, gated: GatedSandbox) -> None:
    """That is between claim and send as well: the first jobs are claimed on disk, and no request of theirs has left."""
    ground.configure(gated.url)
    run = ground.start("send", ground.jobs(JOBS), "--yes")
    gated.until(lambda stats: stats.requests["token"] == 1, within_s=PATIENCE_S)
    run.until(lambda: ground.in_doubt() > 0)
    assert run.kill()
    assert gated.stats().requests["sendjobs"] == 0
    gated.open()
    assert ground.call("resume", "--yes").code == 0
    assert broken_promises(ground, gated, job_names(JOBS)) == []
    assert {evidence for _, evidence, _ in ground.results().values()} == {"response"}, "no request was ever lost"


def test_killed_before_the_file_is_committed_it_leaves_no_trace(ground: Ground) -> None:
    """The file is staged, shown, and waits for an answer when the process dies."""
    with SandboxThread(SandboxOptions(latency_s=0)) as sandbox_url:
        ground.configure(sandbox_url)
        file = ground.jobs(JOBS)
        ours, theirs = os.openpty()
        child = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "runner", "send", str(file), "--config", f"{ground.folder}/acme-eu.toml"],
            env={**ground.env, "PYTHONPATH": str(ROOT)},
            cwd=ground.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while f"Send {JOBS} jobs?".encode() not in shown:
            shown += os.read(ours, 4096)
        child.kill()
        assert child.wait(PATIENCE_S) == -signal.SIGKILL
        os.close(ours)
        assert not ground.is_staged()
        said = ground.call("resume", "--yes")
        assert (said.code, "Nothing to resume" in said.words) == (0, True)
        assert ground.call("send", file, "--yes").code == 0
        assert ground.balance().sent == JOBS


def test_a_restart_while_the_server_still_works_on_the_dead_runs_requests_stays_within_the_ten(ground: Ground) -> None:
    """The orphans hold their slots until settle, for pending jobs too, and none of them is tried again before that."""
    with (sandbox := SandboxThread(SandboxOptions(latency_s=2, name_check="end"))) as url:
        ground.configure(url, settle_seconds=2.5)
        run = ground.start("send", ground.jobs(JOBS), "--yes")
        sandbox.until(lambda stats: stats.running == 10, within_s=PATIENCE_S)
        assert run.kill()
        assert ground.balance().pending > 0, "there is something that might be sent at once"
        again = ground.start("resume", "--yes", "-v", "--log-format", "json")
        again.until(lambda: "run_started" in again.said_so_far().err)
        assert sandbox.stats().running == 10, "the server works on"
        assert again.end().code == 0
        assert broken_promises(ground, sandbox, job_names(JOBS)) == []
        assert sandbox.stats().refused == 0
        evidence = [evidence for _, evidence, _ in ground.results().values()]
        assert evidence.count("name_exists") == 10, "the orphans' acceptance is known, their ids are not"


def test_a_dead_runs_jobs_wait_for_settle_even_where_its_slots_are_not_known(ground: Ground) -> None:
    """On another machine, or as another user, the slots are other ones; the ledger alone keeps jobs from going twice.

    Four and four are within the ten all the same.
    """
    with (sandbox := SandboxThread(SandboxOptions(latency_s=2, name_check="end"))) as url:
        ground.configure(url, settle_seconds=2.5, max_concurrent=4)
        run = ground.start("send", ground.jobs(20), "--yes")
        sandbox.until(lambda stats: stats.running == 4, within_s=PATIENCE_S)
        assert run.kill()
        pending = ground.balance().pending
        assert pending > 0
        ground.state = "another state"
        again = ground.start("resume", "--yes")
        sandbox.until(lambda stats: stats.running == 8, within_s=PATIENCE_S)
        assert again.end().code == 0
        assert broken_promises(ground, sandbox, job_names(20)) == []
