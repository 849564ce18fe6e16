from __future__ import annotations

import pytest
from console.console_desk import Desk

from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread


def wishing(scenario: str, count: int) -> dict[str, list[str]]:
    """The column by which rows ask the sandbox for an outcome."""
    return {"externalSystemReferenceId": [f"sandbox:{scenario}"] * count}


def test_a_run_stops_when_the_first_twenty_outcomes_are_the_same_rejection(desk: Desk, sandbox: SandboxThread) -> None:
    file = desk.jobs(60, extra=wishing("contact_source_not_sms_enabled", 60))
    said = desk.call("send", file, "--yes", "--json")
    assert said.code == 4
    assert said.json["stopped"]["code"] == "same_rejection"
    assert 20 <= said.json["rejected"] < 20 + 10, "what was in flight is finished, and nothing more is begun"
    assert said.json["pending"] == 60 - said.json["rejected"]
    assert sandbox.stats().requests["sendjobs"] == said.json["rejected"]


@pytest.mark.usefixtures("sandbox")
def test_a_run_stops_when_more_jobs_are_rejected_than_allowed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_REJECTED", "3")
    wishes = ["", *wishing("contact_source_not_found", 49)["externalSystemReferenceId"]]
    said = desk.call("send", desk.jobs(50, extra={"externalSystemReferenceId": wishes}), "--yes", "--json")
    assert said.code == 4
    assert said.json["stopped"]["code"] == "max_rejected"
    assert 4 <= said.json["rejected"] < 4 + 10
    assert "max_rejected" in said.json["stopped"]["reason"]


@pytest.mark.usefixtures("sandbox")
def test_a_percentage_may_come_from_the_environment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_REJECTED", "50%")
    assert desk.call("send", desk.jobs(1), "--yes").code == 0
    for wrong in ("many", "150%", "-1"):
        monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_REJECTED", wrong)
        said = desk.call("send", desk.jobs(1), "--yes")
        assert (said.code, "max_rejected" in said.words) == (2, True)


def test_a_refused_token_leaves_everything_pending_with_the_reason(desk: Desk) -> None:
    with SandboxThread(SandboxOptions(latency_s=0, faults=parse_faults(["token_refused=1"]))) as url:
        desk.configure(url)
        said = desk.call("send", desk.jobs(30), "--yes")
    assert said.code == 4
    assert desk.states() == {"pending": 30}
    assert "refresh token" in said.words
    assert {line["status"] for line in desk.results()} == {"pending"}


def test_an_api_that_refuses_even_a_fresh_token_stops_the_run(desk: Desk) -> None:
    with SandboxThread(SandboxOptions(latency_s=0, faults=parse_faults(["unauthorized=1"]))) as url:
        desk.configure(url)
        said = desk.call("send", desk.jobs(30), "--yes", "--json")
    assert said.code == 4
    assert (said.json["pending"], said.json["stopped"]["code"]) == (30, "token_refused")


@pytest.mark.usefixtures("sandbox")
def test_a_user_without_sms_stops_the_run_and_is_told_apart_from_a_message_of_another_org(desk: Desk) -> None:
    file = desk.jobs(60, extra=wishing("user_not_sms_enabled", 60))
    said = desk.call("send", file, "--yes", "--json")
    assert said.code == 4
    assert said.json["stopped"]["code"] == "user_not_sms_enabled"
    assert said.json["rejected"] <= 10
    text = file.read_text(encoding="utf-8").replace("0a5c0000", "ffffffff").replace("Job", "Other")
    file.write_text(text, encoding="utf-8")
    said = desk.call("send", file, "--yes", "--json")
    assert said.json["stopped"]["code"] == "same_rejection"
    rejected = [entry["scenario"] for entry in said.json["scenarios"] if entry["state"] == "rejected"]
    assert rejected == ["published_message_not_in_org"]
