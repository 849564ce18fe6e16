"""Options, starting and stopping, and the sandbox in a thread."""

import asyncio
import http.client
import json
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from sandbox.sandbox_client import CREDENTIALS, SENDS, quick

from runner.errors import ConfigurationError
from runner.sandbox.catalogue import message_id
from runner.sandbox.options import SandboxOptions
from runner.sandbox.server import Sandbox
from runner.sandbox.thread import SandboxThread


def post(url: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def send(url: str, name: str) -> int:
    form = "&".join(f"{key}={value.replace(' ', '+')}" for key, value in CREDENTIALS.items())
    _, grant = post(url, "/oauth/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
    headers = {"Authorization": f"Bearer {grant['access_token']}", "Content-Type": "application/json"}
    return post(url, SENDS.format(id=message_id(1)), json.dumps({"messageName": name}), headers)[0]


def test_a_synchronous_caller_has_the_sandbox_in_a_thread_and_none_is_left_after() -> None:
    before = threading.active_count()
    sandbox = SandboxThread(quick())
    with sandbox as url:
        assert url == sandbox.url
        assert send(url, "Sale") == 201
        assert sandbox.stats().accepted == 1
    assert threading.active_count() == before
    assert [entry.message_name for entry in sandbox.accepted()] == ["Sale"]
    with pytest.raises(RuntimeError):
        _ = sandbox.url
    with pytest.raises(OSError, match=r".*"):
        send(url, "Sale")


def test_a_thread_can_be_started_again_and_reset() -> None:
    sandbox = SandboxThread(quick())
    for statuses in ([201, 400], [400, 400]):
        with sandbox as url:
            assert [send(url, "Sale"), send(url, "Sale")] == statuses
            with pytest.raises(RuntimeError, match="already"):
                sandbox.start()
    sandbox.stop()
    sandbox.reset()
    assert sandbox.accepted() == []
    with pytest.raises(RuntimeError, match="not started"):
        sandbox.until(lambda _: True)


def test_a_thread_that_stops_with_a_request_at_work_leaves_nothing_behind() -> None:
    sandbox = SandboxThread(quick("token_slow@1", late_s=3600))
    with sandbox as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("POST", "/oauth/token", "x=y", {"Content-Type": "application/x-www-form-urlencoded"})
        sandbox.until(lambda stats: stats.running == 1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


def test_a_port_that_is_taken_is_said_to_the_caller_of_the_thread() -> None:
    with SandboxThread(quick()) as url:
        port = int(url.rpartition(":")[2])
        before = threading.active_count()
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            SandboxThread(quick(port=port)).start()
        assert threading.active_count() == before


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    async with Sandbox(quick()) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match="EADDRINUSE"):
            await Sandbox(quick(port=port)).start()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_loopback_hosts_serve(host: str) -> None:
    async with Sandbox(quick(host=host)) as sandbox:
        assert await asyncio.to_thread(send, sandbox.url, "Sale") == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "0.0.0.0"},  # noqa: S104 - refused, which is the point
        {"host": "192.168.1.5"},
        {"host": "sandbox.example"},
        {"host": ""},
        {"latency_s": -1.0},
        {"latency_s": float("inf")},
        {"latency_s": float("nan")},
        {"jitter_s": 1.0},
        {"late_s": -1.0},
        {"port": 65_536},
        {"port": -1},
        {"max_concurrent": 0},
        {"taken": 10},
        {"taken": -1},
        {"throttle_status": 503},
        {"retry_after_s": -1},
        {"name_check": "never"},
        {"token_lifetime_s": 0},
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SandboxOptions(**changes)


def run(program: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - a program of our own
        [sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True, timeout=30
    )


def test_options_and_faults_can_be_read_without_a_web_server() -> None:
    """The command line shows both in its help, which must be quick."""
    done = run("""
        import sys, runner.sandbox.options, runner.sandbox.faults
        print("aiohttp" in sys.modules)
    """)
    assert (done.stdout.strip(), done.stderr) == (b"False", b"")


def test_the_sandbox_prints_nothing_even_when_it_is_sent_garbage() -> None:
    done = run("""
        import socket
        from runner.sandbox.thread import SandboxThread

        with SandboxThread() as url:
            host, port = url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"GET / HTTP/1.1\\r\\nthis is no header\\r\\n\\r\\n")
                while connection.recv(4096):
                    pass
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
