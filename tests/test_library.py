"""The library's functions against a sandbox: the same promises as the command line's, without its prompts."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from console.console_desk import SECRETS, GatedSandbox
from test_public_face import MESSAGE, a_program, a_program_with_a_loop

from runner import (
    ExitCode,
    FileProblemsError,
    Folders,
    LedgerBusyError,
    Scenario,
    SendJob,
    Settings,
    check,
    load_settings,
    results,
    resume,
    send,
    send_async,
)
from runner.errors import ConfigurationError, JobFileError, LedgerError
from runner.ledger.store import Ledger
from runner.sandbox.options import SandboxOptions

EVERYTHING = 1_000_000


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedSandbox]:
    """An org's API, its gate open as long as nobody closes it, and the org's configuration in this folder."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SMS_RUNNER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    thread = GatedSandbox(SandboxOptions(latency_s=0), free=EVERYTHING)
    with thread as url:
        text = f'org = "acme"\nbase_url = "{url}"\n[sending]\nsettle_seconds = 0.1\n'
        (tmp_path / "sms-runner.toml").write_text(text, encoding="utf-8")
        yield thread
    structlog.reset_defaults()


@pytest.fixture
def settings(sandbox: GatedSandbox, tmp_path: Path) -> Settings:
    """The org's, whose sandbox serves."""
    assert sandbox.url
    return load_settings(tmp_path / "sms-runner.toml")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Slots and tokens away from the user's own."""
    return Folders(slots=tmp_path / "slots", tokens=tmp_path / "tokens")


def jobs(count: int, *, first: int = 1, reference: str | None = None) -> list[SendJob]:
    """Sound jobs, each to a contact source of its own."""
    return [
        SendJob(
            message_name=f"Job {number}",
            published_message_id=MESSAGE,
            contact_source_id=4_100_000 + number,
            external_system_reference_id=reference,
        )
        for number in range(first, first + count)
    ]


def test_a_program_gets_ids_for_what_was_sent_and_reasons_for_what_was_not(
    sandbox: GatedSandbox, settings: Settings, folders: Folders, tmp_path: Path
) -> None:
    wish = jobs(1, first=9, reference="sandbox:contact_source_not_found")
    code, told = a_program(tmp_path / "sms-runner.toml", [*jobs(2), *wish], folders)
    assert code is ExitCode.SOME_NOT_SENT
    ids = {accepted.message_name: str(accepted.id) for accepted in sandbox.accepted()}
    assert told == {**ids, "Job 9": "Contact source ID does not exist."}
    assert len(ids) == 2
    bad = [SendJob(message_name="  ", published_message_id=MESSAGE)]
    assert a_program(tmp_path / "sms-runner.toml", bad, folders)[0] is ExitCode.FILE_PROBLEMS
    assert settings.org == "acme"


def test_what_was_sent_is_not_sent_again(sandbox: GatedSandbox, settings: Settings, folders: Folders) -> None:
    assert send(jobs(3), settings=settings, folders=folders).exit_code is ExitCode.ALL_SENT
    before = sandbox.stats().requests
    again = send(jobs(3), settings=settings, folders=folders)
    assert (again.exit_code, again.attempts) == (ExitCode.ALL_SENT, 0)
    assert sandbox.stats().requests == before
    assert send(jobs(5), settings=settings, folders=folders).attempts == 2
    assert resume(settings=settings, folders=folders) is None


def test_a_file_and_mappings_are_sources_too(
    sandbox: GatedSandbox, settings: Settings, folders: Folders, tmp_path: Path
) -> None:
    (tmp_path / "jobs.csv").write_text(f"publishedMessageId,messageName\n{MESSAGE},From a file\n", encoding="utf-8")
    assert send(tmp_path / "jobs.csv", settings=settings, folders=folders).name == "jobs.csv"
    mapping = {"messageName": "From a mapping", "publishedMessageId": MESSAGE, "store": "Ulm"}
    send([mapping], settings=settings, folders=folders)
    assert results(settings=settings)["store"].tolist() == ["Ulm"]
    assert [accepted.message_name for accepted in sandbox.accepted()] == ["From a file", "From a mapping"]


def test_a_bad_job_sends_nothing_unless_it_is_skipped(
    sandbox: GatedSandbox, settings: Settings, folders: Folders
) -> None:
    source = [*jobs(2), SendJob(message_name="Bad", published_message_id="no uuid", contact_source_id=1)]
    with pytest.raises(FileProblemsError) as caught:
        send(source, settings=settings, folders=folders)
    assert (caught.value.count, caught.value.problems[0].code) == (1, "not_a_uuid")
    assert sandbox.stats().accepted == 0
    summary = send(source, settings=settings, folders=folders, skip_invalid=True)
    assert (summary.balance.sent, summary.balance.invalid, summary.exit_code) == (2, 1, ExitCode.SOME_NOT_SENT)


def test_a_resume_does_not_send_unasked_what_should_have_been_sent_before_now(
    sandbox: GatedSandbox, settings: Settings, folders: Folders
) -> None:
    past = [
        SendJob(
            message_name=f"Late {number}",
            published_message_id=MESSAGE,
            contact_source_id=number,
            scheduled_date="2001-01-01T00:00:00.000+00:00",
        )
        for number in (1, 2)
    ]
    send(past, settings=settings, folders=folders, limit=1, allow_past_date=True)
    with pytest.raises(FileProblemsError, match="before now"):
        resume(settings=settings, folders=folders)
    assert sandbox.stats().accepted == 1
    summary = resume(settings=settings, folders=folders, allow_past_date=True)
    assert summary is not None
    assert summary.exit_code == ExitCode.ALL_SENT


def test_a_limit_and_resume(sandbox: GatedSandbox, settings: Settings, folders: Folders) -> None:
    summary = send(jobs(5), settings=settings, folders=folders, limit=2)
    assert (summary.exit_code, summary.balance.pending) == (ExitCode.STOPPED_EARLY, 3)
    rest = resume(settings=settings, folders=folders)
    assert rest is not None
    assert (rest.exit_code, rest.balance.sent) == (ExitCode.ALL_SENT, 5)
    assert sandbox.stats().accepted_twice == 0


def test_logs_go_to_logging_and_stdout_stays_the_programs(
    settings: Settings,
    folders: Folders,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "runner"):
        send(jobs(1), settings=settings, folders=folders)
    told = [record for record in caplog.records if record.name == "runner.batch.run"]
    assert ["event='run_started'" in told[0].message, "event='run_ended'" in told[-1].message] == [True, True]
    assert capsys.readouterr() == ("", "")


def test_the_programs_own_signal_handlers_are_there_again_afterwards(settings: Settings, folders: Folders) -> None:
    def own(*_: object) -> None:
        """What the program does when it is told to end."""

    before = {number: signal.signal(number, own) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        send(jobs(1), settings=settings, folders=folders)
        assert {number: signal.getsignal(number) for number in before} == dict.fromkeys(before, own)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_guards_hold_here_too_and_are_lifted_by_name(settings: Settings) -> None:
    twice = [SendJob(message_name=name, published_message_id=MESSAGE, contact_source_id=1) for name in ("One", "Two")]
    assert [problem.code for problem in check(twice, settings=settings).problems.first] == ["audience_twice_in_file"]
    assert check(twice, settings=settings, allow_repeat_audience=True).problems.count == 0


def test_errors_say_what_is_wrong(settings: Settings, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LedgerError):
        results(settings=settings)
    with pytest.raises(JobFileError):
        check("nowhere.csv")
    with (
        Ledger.open(settings.ledger_path, org=settings.org) as ledger,
        ledger.lock_for_run(),
        pytest.raises(LedgerBusyError),
    ):
        send(jobs(1), settings=settings, folders=folders)
    monkeypatch.delenv("SMS_RUNNER_CLIENT_SECRET")
    with pytest.raises(ConfigurationError, match="SMS_RUNNER_CLIENT_SECRET"):
        send(jobs(1), settings=load_settings(), folders=folders)


async def test_a_program_with_a_loop_of_its_own(sandbox: GatedSandbox, settings: Settings, folders: Folders) -> None:
    assert await a_program_with_a_loop(settings, jobs(3), folders) is ExitCode.ALL_SENT
    assert sandbox.stats().accepted == 3


async def test_a_cancelled_send_is_in_doubt_and_a_resume_makes_it_sent_once(
    sandbox: GatedSandbox, settings: Settings, folders: Folders
) -> None:
    await send_async(jobs(1, first=100), settings=settings, folders=folders)  # a token is in the cache from now on
    sandbox.close()
    sending = asyncio.create_task(send_async(jobs(4), settings=settings, folders=folders))
    await asyncio.to_thread(sandbox.until, lambda stats: stats.running == 4)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert set(results(settings=settings)["status"]) == {"in_doubt"}
    sandbox.open()
    await asyncio.to_thread(sandbox.until, lambda stats: stats.accepted == 5)
    rest = await asyncio.to_thread(resume, settings=settings, folders=folders)
    assert rest is not None
    assert rest.exit_code is ExitCode.ALL_SENT
    assert set(results(settings=settings)["evidence"]) == {"name_exists"}
    assert sandbox.stats().accepted_twice == 0
    assert Scenario.MESSAGE_NAME_NOT_UNIQUE not in {
        count.scenario for count in rest.scenarios if count.state == "rejected"
    }
