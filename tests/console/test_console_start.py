from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from console.console_desk import PATIENCE_S, Desk

from runner.sandbox.faults import FaultKind
from runner.sandbox.thread import SandboxThread

SLOW = {"pandas", "sqlalchemy", "aiohttp", "pyarrow", "pydantic", "numpy", "rich"}
LOADED = """
import json, sys
from runner.console.app import main
try:
    main(["--help"])
except SystemExit:
    sys.stderr.write(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_help_is_quick_because_it_loads_nothing_slow(desk: Desk) -> None:
    said = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", LOADED], env=desk.env, cwd=desk.folder, capture_output=True, text=True, check=True
    )
    assert "Usage: " in said.stdout
    assert set(json.loads(said.stderr)) & SLOW == set()


def test_no_command_loads_what_only_developers_have() -> None:
    """A library that plugs itself into a test tool where there is one makes every command slower, and by chance."""
    code = (
        "import sys, runner.console.sending, runner.console.checking, runner.console.resuming, runner.console.logs\n"
        "found = {'hypothesis', 'pytest', 'mypy', '_pytest'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


@pytest.mark.parametrize(
    "arguments",
    [
        ["send"],
        ["send", "jobs.csv", "--limit", "0"],
        ["send", "jobs.csv", "--secret", "x"],
        ["fly"],
        ["show", "latest"],
        ["sandbox", "--fault", "earthquake=1"],
        ["sandbox", "--name-check", "never"],
        ["sandbox", "--jitter-ms", "99"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_with_exit_code_2(desk: Desk, sandbox: SandboxThread, arguments: list[str]) -> None:
    desk.jobs(1)
    said = desk.call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "Traceback" not in said.err
    assert sum(sandbox.stats().requests.values()) == 0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "--config"),
        ("org = ", "TOML"),
        ('pod = "6"', "org"),
        ('org = "x"', "pod"),
        ('org = "x"\npod = "C"', "pod"),
        ('org = "x"\npod = 6\ncolour = 1', "colour"),
        ('org = "x"\nbase_url = "http://example.com"', "http"),
        ('org = "x"\npod = 6\ntimezone = "Mars/Olympus"', "timezone"),
        ('org = "x"\npod = 6\n[sending]\nmax_concurrent = 11', "max_concurrent"),
        ('org = "x"\npod = 6\n[defaults]\nmessageName = "a"', "messageName"),
        ('org = "x"\npod = 6\n[columns]\nStore = "shop"', "shop"),
    ],
)
def test_a_wrong_configuration_is_told_by_its_key(desk: Desk, config: str | None, words: str) -> None:
    if config is not None:
        (desk.folder / "sms-runner.toml").write_text(config, encoding="utf-8")
    said = desk.call("send", desk.jobs(1), "--yes")
    assert said.code == 2
    assert words in said.words
    assert "Traceback" not in said.err


def test_a_configuration_that_is_named_and_not_there_is_an_error(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.call("send", desk.jobs(1), "--yes", "--config", "other.toml").code == 2
    monkeypatch.setenv("SMS_RUNNER_CONFIG", "other.toml")
    assert desk.call("send", "jobs.csv", "--yes").code == 2
    assert sandbox.stats().accepted == 0


@pytest.mark.parametrize("variable", ["SENDING", "COLUMNS", "DEFAULTS", "SENDING__MAX_CONCURRENT", "TIMEZONE"])
@pytest.mark.usefixtures("sandbox")
def test_a_wrong_variable_is_told_by_its_key_without_a_traceback(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"SMS_RUNNER_{variable}", "nonsense")
    said = desk.call("send", desk.jobs(1), "--yes")
    assert said.code == 2
    assert variable.lower().replace("__", ".") in said.words


def test_the_environment_goes_over_the_file_key_by_key(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.configure(sandbox.url, 'defaults = { externalSystemName = "from the file", folder = "kept" }')
    monkeypatch.setenv("SMS_RUNNER_DEFAULTS__externalSystemName", "from the environment")
    monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_CONCURRENT", "2")
    assert desk.call("send", desk.jobs(12), "--yes").code == 0
    body = json.loads(sandbox.accepted()[0].body)
    assert (body["externalSystemName"], body["folder"]) == ("from the environment", "kept")
    assert sandbox.stats().max_concurrent <= 2


@pytest.mark.usefixtures("sandbox")
def test_a_secret_may_come_from_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "refresh").write_text("from a file\n", encoding="utf-8")
    monkeypatch.delenv("SMS_RUNNER_REFRESH_TOKEN")
    monkeypatch.setenv("SMS_RUNNER_REFRESH_TOKEN_FILE", "refresh")
    assert desk.call("send", desk.jobs(1), "--yes").code == 0
    monkeypatch.setenv("SMS_RUNNER_REFRESH_TOKEN_FILE", "missing")
    assert desk.call("send", desk.jobs(2), "--yes").code == 2


def test_the_sandbox_serves_until_it_is_told_to_end(desk: Desk) -> None:
    child = desk.start("sandbox", "--port", "0", "--latency-ms", "0")
    assert child.stdout is not None
    greeting = child.stdout.readline()
    url = next(word for word in greeting.split() if word.startswith("http://")).rstrip(";")
    with urllib.request.urlopen(f"{url}/sandbox/stats", timeout=PATIENCE_S) as answer:  # noqa: S310 - http on loopback
        assert json.load(answer)["accepted"] == 0
    desk.configure(url)
    assert desk.call("send", desk.jobs(2), "--yes").code == 0
    child.send_signal(signal.SIGINT)
    said = desk.ended(child)
    assert (said.code, said.err) == (0, "")
    assert "Accepted 2" in said.out


def test_the_list_of_faults_has_every_fault(desk: Desk) -> None:
    said = desk.call("sandbox", "--faults")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines() if line[:1].strip()] == list(FaultKind)


def test_the_version_is_told(desk: Desk) -> None:
    assert desk.call("--version").out.startswith("sms-runner ")
