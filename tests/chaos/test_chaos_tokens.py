"""Tokens that expire, are refused or are not to be had: renewed once for all, or a stop that leaves all pending."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from chaos.chaos_ground import Ground, accepted, broken_promises, job_names

from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

JOBS = 60
LATER = 3600
"""Seconds a token endpoint asks to be left alone for: more than anybody waits."""


@contextlib.contextmanager
def server(ground: Ground, *faults: str, **options: float) -> Iterator[SandboxThread]:
    """A server with faults; the ground is configured for it."""
    given = {"latency_s": 0.02, "late_s": 0.4, **options}
    with (thread := SandboxThread(SandboxOptions(faults=parse_faults(faults), **given))) as url:  # type: ignore[arg-type]  # seconds all
        ground.configure(url, settle_seconds=0.2)
        yield thread


def test_a_token_that_expires_in_the_middle_is_renewed_once_for_all_workers(ground: Ground) -> None:
    with server(ground, "expire_token@25") as sandbox:
        assert ground.call("send", ground.jobs(JOBS), "--yes").code == 0
        assert broken_promises(ground, sandbox, job_names(JOBS)) == []
        stats = sandbox.stats()
        assert (stats.requests["token"], stats.token_grants) == (2, 2)
        assert stats.requests["sendjobs"] > JOBS, "several requests met the 401"
        assert {evidence for _, evidence, _ in ground.results().values()} == {"response"}


def test_a_token_endpoint_that_fails_twice_and_is_slow_once_only_costs_time(ground: Ground) -> None:
    with server(ground, "token_500@1", "token_limits@2", "token_slow@3") as sandbox:
        said = ground.call("send", ground.jobs(JOBS), "--yes")
        assert said.code == 0
        assert len(said.events("token_request_failed")) == 2
        assert sandbox.stats().requests["token"] == 3
        assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_a_token_endpoint_that_answers_too_late_is_asked_again(ground: Ground) -> None:
    with server(ground, "token_slow@1", late_s=0.8) as sandbox:
        ground.configure(sandbox.url, timeout_seconds=0.5, settle_seconds=0.5)
        assert ground.call("send", ground.jobs(JOBS), "--yes").code == 0
        assert sandbox.stats().requests["token"] == 2
        assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_refused_credentials_stop_at_once_and_leave_everything_pending(ground: Ground) -> None:
    with server(ground, "token_refused@1") as sandbox:
        said = ground.call("send", ground.jobs(JOBS), "--yes")
        assert said.code == 4
        assert "The token endpoint refused" in said.words
        assert "credential" in said.words or "refresh token" in said.words
        assert sandbox.stats().requests == {"token": 1, "sendjobs": 0, "publishedmessages": 0, "other": 0}
        assert ground.balance().pending == JOBS
        assert ground.call("resume", "--yes").code == 0
        assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_a_fresh_token_that_is_refused_stops_the_run_and_leaves_everything_pending(ground: Ground) -> None:
    """Nobody goes round and round between the token endpoint and a 401."""
    with server(ground, "unauthorized=1") as sandbox:
        said = ground.call("send", ground.jobs(JOBS), "--yes")
        assert said.code == 4
        assert "even a new one" in said.words
        assert sandbox.stats().requests["token"] <= 3
        assert sandbox.stats().requests["sendjobs"] <= 30
        assert (ground.balance().pending, accepted(sandbox).total()) == (JOBS, 0)


def test_a_token_endpoint_out_of_order_stops_the_run_with_reason_and_remedy_and_all_pending(ground: Ground) -> None:
    """It asks for an hour's patience, so the backoff ends at its first try; otherwise it lasts for up to a minute."""
    for words in ("HTTP/1.1 503 Service Unavailable", "HTTP/1.1 400 Bad Request"):
        with _grants_nothing(words) as (url, asked):
            ground.configure(url)
            said = ground.call("send", ground.jobs(JOBS), "--yes")
            assert said.code == 4
            assert "Access token limits exceeded" in said.words or "keeps failing" in said.words
            assert "resume" in said.words
            assert len(asked) == 1, "ten workers, one request"
            assert ground.balance().pending == JOBS
    with server(ground) as sandbox:
        assert ground.call("resume", "--yes").code == 0
        assert broken_promises(ground, sandbox, job_names(JOBS)) == []


def test_runs_started_again_and_again_share_one_token(ground: Ground) -> None:
    """A scheduler that starts a run every few minutes is not refused for asking for a token at each start."""
    with server(ground) as sandbox:
        for count in (5, 10, 15):
            assert ground.call("send", ground.jobs(count), "--yes").code == 0
        assert sandbox.stats().requests["token"] == 1


def test_the_governor_settles_near_six_where_others_use_four(ground: Ground) -> None:
    """A refusal for concurrency costs a job nothing, and there are few of them."""
    jobs = 600
    with server(ground, taken=4, latency_s=0.05) as sandbox:
        began = time.monotonic()
        said = ground.call("send", ground.jobs(jobs), "--yes", "-v", "--log-format", "json")
        seconds = time.monotonic() - began
        assert said.code == 0
        assert broken_promises(ground, sandbox, job_names(jobs)) == []
        refused = sandbox.stats().refused
        usable = [change["usable"] for change in said.events("slots_changed")]
        print(f"refused {refused} of {jobs}, usable {usable}, {seconds:.1f} s")  # noqa: T201 - shown where it fails
        assert refused <= 30, "five in a hundred"
        assert usable[-1] in {6, 7}, "six are left; a seventh is tried now and then"
        assert {row[1] for row in ground.results().values()} == {"response"}


@contextlib.contextmanager
def _grants_nothing(status: str) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers everything with this status line and asks to be left alone; its URL, what it was sent."""
    body = b'{"error": "access_denied", "error_description": "Access token limits exceeded"}'
    head = f"{status}\r\nRetry-After: {LATER}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    asked: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = listening.accept()
                with connection:
                    asked.append(connection.recv(65_536))
                    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
