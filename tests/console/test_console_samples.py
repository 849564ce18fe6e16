from __future__ import annotations

import json
import shutil

import pytest
from console.console_desk import ROOT, Desk

from runner.sandbox.thread import SandboxThread

SAMPLES = ROOT / "sample_csv"


def test_every_row_of_the_scenario_tour_gets_the_scenario_it_asks_for(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among them all documented outcomes that a well-formed file can meet."""
    monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_REJECTED", "100")
    said = desk.call("send", SAMPLES / "scenarios.csv", "--yes", "--results", "tour.csv", "--json")
    results = desk.results("tour.csv")
    wanted = {
        line["messageName"]: line["externalSystemReferenceId"].removeprefix("sandbox:")
        if line["externalSystemReferenceId"].startswith("sandbox:")
        else ""
        for line in results
    }
    assert {line["messageName"]: line["scenario"] for line in results} == wanted
    assert {line["status"] for line in results if not wanted[line["messageName"]]} == {"sent"}
    assert len(set(wanted.values())) > 10
    assert said.code == 1
    assert (said.json["pending"], said.json["in_doubt"]) == (0, 0)
    names = {send.message_name for send in sandbox.accepted()}
    assert "  Tour 16 spaces around the name  " in names, "byte for byte"


def test_the_parquet_twin_of_the_sample_sends_the_same_bodies(desk: Desk, sandbox: SandboxThread) -> None:
    bodies = []
    for kind in ("csv", "parquet"):
        flags = ["--yes", "--ledger", f"{kind}.db", "--results", f"{kind}.csv"]
        assert desk.call("send", SAMPLES / f"campaign.{kind}", *flags).code == 0
        sent = [json.loads(send.body) | {"path": send.published_message_id} for send in sandbox.accepted()]
        bodies.append(sorted(sent, key=lambda body: str(body["messageName"])))
        sandbox.reset()
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) == 36


def test_the_demonstration_of_the_makefile_leaves_what_it_says(desk: Desk) -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").split("demo: setup")[1].split("\n\n")[0].splitlines()
    commands = [line.split("/sms-runner ")[1].split() for line in lines if "/sms-runner " in line]
    assert [command[0] for command in commands] == ["send", "show"]
    shutil.copy(SAMPLES / "campaign.csv", desk.folder)
    for command in commands:
        said = desk.call(*command)
        assert (said.code, said.err) == (0, "")
    assert len(desk.results("campaign.results.csv")) == 36
    assert desk.call("send", "campaign.csv", "--sandbox").code == 0, "a second send sends nothing, so nobody is asked"
