from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from console.console_desk import Desk, Said, names

from runner.batch import bookkeeper
from runner.errors import LedgerWriteError
from runner.ledger.sqlite import Database
from runner.sandbox.thread import SandboxThread

LOOKING = (["show"], ["batches"], ["export", "out.csv"])


def refused(said: Said, code: int) -> str:
    """The error of a command that was refused in plain words."""
    assert said.code == code, said
    assert "Traceback" not in said.err
    assert said.err.startswith("error: ")
    assert len(said.err.strip().splitlines()) >= 2, "what happened, and what to do"
    return said.words


@pytest.mark.usefixtures("sandbox")
def test_a_ledger_of_another_org_is_left_alone(desk: Desk) -> None:
    desk.call("send", desk.jobs(2), "--yes")
    desk.configure("http://127.0.0.1:9", org="acme-us")
    for command in (["send", "jobs.csv", "--yes"], ["resume", "--yes"], ["retry", "--yes"], *LOOKING):
        words = refused(desk.call(*command), 2)
        assert '"acme-eu"' in words
        assert '"acme-us"' in words


def test_a_ledger_of_a_newer_version_is_left_alone(desk: Desk, sandbox: SandboxThread) -> None:
    desk.call("send", desk.jobs(2), "--yes")
    with sqlite3.connect(desk.ledger) as connection:
        connection.execute("UPDATE ledger_info SET schema_version = 999")
    connection.close()
    before = sandbox.stats().requests
    for command in (["send", desk.jobs(3), "--yes"], ["resume", "--yes"], *LOOKING):
        assert "999" in refused(desk.call(*command), 2)
    assert sandbox.stats().requests == before


@pytest.mark.parametrize("content", [b"not a ledger at all, but notes\n" * 200, b""], ids=["text", "empty"])
def test_a_file_that_is_no_ledger_is_never_written_to(desk: Desk, sandbox: SandboxThread, content: bytes) -> None:
    desk.ledger.write_bytes(content)
    for command in LOOKING:
        refused(desk.call(*command), 2)
    assert desk.ledger.read_bytes() == content
    if content:
        refused(desk.call("send", desk.jobs(1), "--yes"), 2)
        assert desk.ledger.read_bytes() == content
        assert sandbox.stats().accepted == 0


@pytest.mark.usefixtures("sandbox")
def test_a_database_of_another_program_is_never_written_to(desk: Desk) -> None:
    with sqlite3.connect(desk.ledger) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    content = desk.ledger.read_bytes()
    refused(desk.call("send", desk.jobs(1), "--yes"), 2)
    assert desk.ledger.read_bytes() == content


@pytest.mark.usefixtures("sandbox")
def test_a_look_at_a_ledger_that_is_not_there_makes_none(desk: Desk) -> None:
    for command in LOOKING:
        assert "sms-runner send" in refused(desk.call(*command), 2)
    assert not desk.ledger.exists()


@pytest.mark.usefixtures("sandbox")
def test_a_batch_that_is_not_there_is_told(desk: Desk) -> None:
    desk.call("send", desk.jobs(1), "--yes")
    for command in (["show", "7"], ["export", "out.csv", "7"], ["retry", "--batch", "7", "--yes"]):
        assert "7" in refused(desk.call(*command), 2)


@pytest.mark.usefixtures("sandbox")
def test_an_empty_ledger_is_no_fault(desk: Desk) -> None:
    desk.call("send", desk.jobs(1, extra={"preBlockingHours": ["x"]}), "--yes")
    assert desk.ledger.exists()
    assert desk.call("batches").out.strip() == "The ledger holds no batch yet."
    assert desk.call("resume", "--yes").code == 0
    for command in (["show"], ["export", "out.csv"], ["retry", "--yes"]):
        assert "no batch" in refused(desk.call(*command), 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_sent(desk: Desk, sandbox: SandboxThread) -> None:
    folder = desk.folder / "locked"
    folder.mkdir(mode=0o500)
    refused(desk.call("send", desk.jobs(1), "--yes", "--ledger", "locked/x.ledger.db"), 4)
    assert sandbox.stats().accepted == 0


def test_a_folder_that_is_not_there_is_told_before_anything_is_sent(desk: Desk, sandbox: SandboxThread) -> None:
    assert desk.call("send", desk.jobs(1), "--yes", "--ledger", "nowhere/x.ledger.db").code in {2, 4}
    assert sandbox.stats().accepted == 0
    assert not (desk.folder / "nowhere").exists()


def test_a_ledger_that_cannot_be_written_stops_the_run_and_what_was_sent_is_never_sent_again(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from the moment when the first acceptance is to be written down."""
    real = Database.writing_hot

    def full(database: Database, **how: Any) -> object:
        if sandbox.stats().accepted:
            raise LedgerWriteError("The disk is full.", remedy="Make room, then `sms-runner resume`.")
        return real(database, **how)

    desk.jobs(100)
    with monkeypatch.context() as disk:
        disk.setattr(Database, "writing_hot", full)
        disk.setattr(bookkeeper, "WRITE_AGAIN_S", 0.01)
        said = desk.call("send", "jobs.csv", "--yes")
    assert said.code == 4
    assert "Traceback" not in said.err
    accepted = names(sandbox)
    assert 0 < len(accepted) < 100
    assert desk.states()["in_doubt"] >= len(accepted), "what was sent without a record is in doubt on disk"
    assert desk.call("resume", "--yes").code == 0
    assert sandbox.stats().accepted_twice == 0
    assert len(names(sandbox)) == 100


@pytest.mark.usefixtures("sandbox")
def test_the_ledgers_place_is_that_of_the_configuration_and_a_flags_that_of_the_command(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = desk.jobs(1)
    monkeypatch.chdir(elsewhere)
    config = str(desk.folder / "sms-runner.toml")
    assert desk.call("send", file, "--yes", "--config", config).code == 0
    assert desk.ledger.exists()
    assert list(elsewhere.iterdir()) == []
    assert desk.call("send", file, "--yes", "--config", config, "--ledger", "mine.db", "--results", "r.csv").code == 1
    assert (elsewhere / "mine.db").exists()
    monkeypatch.setenv("SMS_RUNNER_CONFIG", config)
    assert desk.call("batches", "--json").json[0]["sent"] == 1
