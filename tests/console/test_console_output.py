from __future__ import annotations

import io
import json
import re
import stat
import sys
from pathlib import Path

import pytest
from console.console_desk import COLUMNS, ORG, SECRETS, Desk

from runner.sandbox.catalogue import message_id
from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

EVIL = "\x1b[2J\x1b]0;owned\x07\u202egnp.csv\x9b31m"
"""Clears the screen, renames the window, writes backwards, colours; in a name it must be shown and not obeyed."""
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def long_lines(text: str) -> list[str]:
    """Lines of more than 80 characters."""
    return [line for line in text.splitlines() if len(line.rstrip()) > 80]


@pytest.mark.usefixtures("sandbox")
def test_json_is_all_there_is_on_stdout(desk: Desk) -> None:
    file = desk.jobs(3, extra={"externalSystemReferenceId": ["", "sandbox:contact_source_not_found", ""]})
    checked = desk.call("check", file, "--json").json
    assert (checked["rows"], checked["valid"], checked["problem_count"], checked["exit_code"]) == (3, 3, 0, 0)
    said = desk.call("send", file, "--yes", "--json")
    sent = said.json
    assert (sent["rows"], sent["sent"], sent["rejected"], sent["exit_code"]) == (3, 2, 1, 1)
    assert said.code == sent["exit_code"]
    assert Path(sent["results"]).name == "jobs.results.csv"
    shown = desk.call("show", "--json").json
    assert {entry["scenario"]: entry["count"] for entry in shown["scenarios"]} == {
        None: 2,
        "contact_source_not_found": 1,
    }
    assert [batch["batch"] for batch in desk.call("batches", "--json").json] == [1]
    assert len(desk.call("messages", "--json").json) == 6


def test_json_tells_of_the_problems_of_a_file_that_is_not_sent(desk: Desk, sandbox: SandboxThread) -> None:
    file = desk.jobs(2, extra={"preBlockingHours": ["1", "soon"]})
    for command in (["check"], ["send", "--yes"]):
        said = desk.call(*command, "--json", file)
        assert said.code == said.json["exit_code"] == 3
        assert [(problem["row"], problem["column"]) for problem in said.json["problems"]] == [(3, "preBlockingHours")]
    assert sandbox.stats().accepted == 0


@pytest.mark.parametrize("command", ["resume", "retry"])
@pytest.mark.usefixtures("sandbox")
def test_json_is_written_too_when_there_is_nothing_to_do(desk: Desk, command: str) -> None:
    desk.call("send", desk.jobs(1), "--yes")
    said = desk.call(command, "--yes", "--json")
    assert said.code == said.json["exit_code"] == 0
    assert said.json["sent"] == 1


@pytest.mark.usefixtures("sandbox")
def test_no_line_is_wider_than_eighty_columns_whatever_the_cells_hold(desk: Desk) -> None:
    long = "Weekend offer, twenty percent off garden furniture and everything that goes with it " * 3
    hours = ["1", "in a very long while that nobody has ever measured, but soon enough for those who wait patiently"]
    desk.jobs(2, file=f"{'long-name-' * 9}.csv", extra={"folder": [long, long], "preBlockingHours": hours})
    name = f"{'long-name-' * 9}.csv"
    reference = ["sandbox:published_message_not_found", "sandbox:contact_source_not_found"]
    desk.jobs(2, extra={"externalSystemReferenceId": reference})
    outputs = [
        desk.call("check", name),
        desk.call("send", name, "--yes", "--skip-invalid"),
        desk.call("send", "jobs.csv", "--yes", "--problems", "p.csv"),
        desk.call("show"),
        desk.call("batches"),
        desk.call("messages"),
        desk.call("send", "jobs.csv", "--yes", "--ledger", "no/such/folder/x.db"),
    ]
    # A path must be copied in one piece, so it alone may be longer.
    wide = [
        line for said in outputs for line in long_lines(said.out + said.err) if not line.startswith(("Results: ", '{"'))
    ]
    assert wide == []


@pytest.mark.usefixtures("sandbox")
def test_escapes_in_names_are_shown_and_not_obeyed(desk: Desk) -> None:
    lines = [f"{message_id(1)},{EVIL},1", f"{message_id(1)},{EVIL} again,soon", f"{message_id(1)},{EVIL},2"]
    name = f"{EVIL.replace('/', '')}.csv"
    (desk.folder / name).write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    reference = ["sandbox:contact_source_not_found"]
    desk.jobs(1, file=f"{EVIL}2.csv", first=9, extra={"externalSystemReferenceId": reference})
    for command in (
        ["check", name],
        ["send", name, "--yes"],
        ["send", name, "--yes", "--skip-invalid", "-vv", "--limit", "1", "--results", "r.csv"],
        ["send", f"{EVIL}2.csv", "--yes", "-vv", "--log-format", "console"],
        ["show"],
        ["batches"],
        ["retry", "--yes"],
        ["show", "1"],
        ["export", f"{EVIL}.jsonl"],
        ["send", f"{EVIL}3.csv", "--yes"],
        ["retry", "--scenario", EVIL],
        ["check", name, "--json"],
        ["batches", "--json"],
    ):
        said = desk.call(*command)
        assert not UNSAFE.search(said.out + said.err), (command, said)


@pytest.mark.usefixtures("sandbox")
def test_logs_are_json_lines_with_event_names_where_stderr_is_no_terminal(desk: Desk) -> None:
    said = desk.call("send", desk.jobs(2), "--yes", "--json", "-v")
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    told = [event["event"] for event in events]
    assert [event for event in told if event.startswith("run_")] == ["run_started", "run_ended"]
    assert all({"level", "timestamp"} <= event.keys() for event in events)
    assert events[-1]["reason"] == "finished"
    readable = desk.call("send", desk.jobs(2, first=9), "--yes", "-v", "--log-format", "console")
    assert "run_started" in readable.err
    assert '"event"' not in readable.err
    quiet = desk.call("send", desk.jobs(2, first=20), "--yes")
    assert quiet.err == ""
    assert desk.call("send", "jobs.csv", "--log-format", "xml").code == 2


@pytest.mark.usefixtures("sandbox")
def test_a_terminal_that_knows_few_letters_is_no_reason_to_fail(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.jobs(1, file="Räumung ✓.csv", extra={"preBlockingHours": ["später …"]})
    desk.jobs(1, file="Köln ✓.csv")
    for arguments in (["check", "Räumung ✓.csv"], ["send", "Köln ✓.csv", "--yes"], ["show"], ["batches"]):
        shown = io.BytesIO()
        with monkeypatch.context() as terminal:
            terminal.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
            assert desk.call(*arguments).code in {0, 3}
            sys.stdout.flush()
            assert b"\\u2713.csv" in shown.getvalue()


def everything_written(desk: Desk) -> dict[str, str]:
    """Every file of the operator's by its path, but the one that is there to hold the token."""
    return {
        str(path): path.read_bytes().decode("utf-8", "replace")
        for path in desk.folder.parent.rglob("*")
        if path.is_file() and path.parent.name != "tokens"
    }


FAULTS = (
    "",
    "token_500@1",
    "token_limits@1",
    "token_refused=1",
    "expire_token@1,4",
    "unauthorized=1",
    "reset_after@1 502_after@2 redirect@3 html_error@4 throttle@5",
)


def test_no_secret_is_ever_shown_logged_or_written_but_the_token_in_its_own_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over runs that go well and runs whose tokens, answers and connections fail, with everything logged."""
    said: list[str] = []
    granted: set[str] = set()
    for number, faults in enumerate(FAULTS):
        options = SandboxOptions(latency_s=0, late_s=0.01, faults=parse_faults([faults]))
        with SandboxThread(options) as url:
            desk.configure(url, max_attempts=2)
            file = desk.jobs(6, file=f"jobs{number}.csv", first=10 * number)
            run = desk.call("send", file, "--yes", "-vv", "--problems", f"p{number}.csv")
            said.append(run.out + run.err)
            assert "run_ended" in run.err, faults
            for path in (desk.home / "cache").rglob("token-*.json"):
                granted.add(json.loads(path.read_bytes())["access_token"])
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    said.append(desk.call("show").out + desk.call("batches", "--json").out)
    monkeypatch.delenv("SMS_RUNNER_CLIENT_ID")
    refused = desk.call("send", file, "--yes")
    assert (refused.code, "SMS_RUNNER_CLIENT_ID" in refused.err) == (2, True)
    said.append(refused.err)
    assert len(granted) > 2, "there were tokens to be found"
    secrets = granted | {SECRETS["SMS_RUNNER_CLIENT_SECRET"], SECRETS["SMS_RUNNER_REFRESH_TOKEN"]}
    for name, text in {**everything_written(desk), **{f"output {i}": text for i, text in enumerate(said)}}.items():
        found = [secret for secret in secrets if secret in text]
        assert not found, f"{found} in {name}"


def test_secrets_in_the_wrong_places_are_not_repeated(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ('refresh_token = "T0P-S3CR3T"', 'client_secret = ["T0P-S3CR3T"]', 'Client_Secret = "T0P-S3CR3T"'):
        desk.configure("http://127.0.0.1:9", line)
        said = desk.call("send", desk.jobs(1), "--yes")
        assert said.code == 2
        assert "T0P-S3CR3T" not in said.err, line
    desk.configure("http://user:T0P-S3CR3T@127.0.0.1:9")
    said = desk.call("batches")
    assert said.code == 2
    assert "T0P-S3CR3T" not in said.err
    desk.configure("http://127.0.0.1:9")
    monkeypatch.setenv("SMS_RUNNER_CLIENT_SECRET__X", "T0P-S3CR3T")
    assert "T0P-S3CR3T" not in desk.call("batches").err


@pytest.mark.usefixtures("sandbox")
def test_the_ledger_is_for_its_owner_alone(desk: Desk) -> None:
    desk.call("send", desk.jobs(2), "--yes", "--limit", "1")
    kept = [path for path in desk.folder.iterdir() if path.name.startswith(f"{ORG}.ledger.db")]
    assert desk.ledger in kept
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
