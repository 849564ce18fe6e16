from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from console.console_desk import COLUMNS, Desk, job_names, names

from runner.console import running
from runner.model import ATTRIBUTES
from runner.sandbox.catalogue import message_id
from runner.sandbox.thread import SandboxThread

OUTCOME_COLUMNS = [
    "row",
    "status",
    "id",
    "scenario",
    "http_status",
    "message",
    "attempts",
    "evidence",
    "first_attempt_at",
    "finished_at",
    "latency_ms",
]
"""As the design promises them; not taken from the code."""


def test_a_sound_file_is_sent_whole_and_the_exit_code_says_so(desk: Desk, sandbox: SandboxThread) -> None:
    said = desk.call("send", desk.jobs(25), "--yes")
    assert said.code == 0
    assert names(sandbox) == job_names(range(1, 26))
    assert desk.states() == {"sent": 25}
    assert sandbox.stats().max_concurrent <= 10


def test_a_second_send_of_the_same_file_makes_no_request_at_all(desk: Desk, sandbox: SandboxThread) -> None:
    file = desk.jobs(3)
    desk.call("send", file, "--yes")
    before = sandbox.stats().requests
    said = desk.call("send", file)
    assert said.code == 0, "nothing is to be sent, so nobody has to be asked"
    assert sandbox.stats().requests == before
    assert "3 sent already, not sent again" in said.words
    assert [line["status"] for line in desk.results()] == ["sent"] * 3, "the results are those of the first send"
    assert all(line["id"] for line in desk.results())


def test_an_edited_file_sends_only_what_is_new(desk: Desk, sandbox: SandboxThread) -> None:
    desk.call("send", desk.jobs(3), "--yes")
    before = sandbox.stats().requests["sendjobs"]
    assert desk.call("send", desk.jobs(5), "--yes").code == 0
    assert sandbox.stats().requests["sendjobs"] == before + 2
    assert names(sandbox) == job_names(range(1, 6))


def test_a_sent_name_with_another_payload_sends_nothing_and_says_why(desk: Desk, sandbox: SandboxThread) -> None:
    desk.call("send", desk.jobs(2), "--yes")
    desk.jobs(3, extra={"folder": ["", "Spring", ""]})
    said = desk.call("send", "jobs.csv", "--yes")
    assert said.code == 3
    assert names(sandbox) == job_names(range(1, 3)), "not even the new row is sent"
    assert "row 3, messageName: 'Job 2'" in said.words


def test_a_file_with_a_bad_row_sends_nothing(desk: Desk, sandbox: SandboxThread) -> None:
    file = desk.jobs(2, extra={"preBlockingHours": ["1", "soon"]})
    said = desk.call("send", file, "--yes")
    assert said.code == 3
    assert sandbox.stats().requests == {"sendjobs": 0, "publishedmessages": 0, "token": 0, "other": 0}
    assert "row 3, preBlockingHours: 'soon'" in said.words
    assert not (desk.folder / "jobs.results.csv").exists()


def test_skipped_rows_are_in_the_results_as_they_were_read_and_cost_exit_code_1(
    desk: Desk, sandbox: SandboxThread
) -> None:
    file = desk.jobs(3, extra={"preBlockingHours": ["1", "soon", "2"], "store": ["Ulm", "Jena", "Köln"]})
    assert desk.call("send", file, "--yes", "--skip-invalid").code == 1
    assert names(sandbox) == ["Job 1", "Job 3"]
    bad = desk.results()[1]
    assert (bad["row"], bad["status"], bad["id"], bad["attempts"]) == ("3", "invalid", "", "")
    assert (bad["messageName"], bad["preBlockingHours"], bad["store"]) == ("Job 2", "soon", "Jena")
    assert "preBlockingHours" in bad["message"]
    assert desk.states() == {"invalid": 1, "sent": 2}


def test_a_limit_leaves_the_rest_pending_and_resume_sends_it_without_the_file(
    desk: Desk, sandbox: SandboxThread
) -> None:
    file = desk.jobs(7)
    said = desk.call("send", file, "--yes", "--limit", "3")
    assert said.code == 4
    assert sandbox.stats().accepted == 3
    assert desk.states() == {"pending": 4, "sent": 3}
    assert [line["status"] for line in desk.results()].count("pending") == 4
    file.unlink()
    assert desk.call("resume", "--yes").code == 0
    assert names(sandbox) == job_names(range(1, 8))
    assert {line["status"] for line in desk.results()} == {"sent"}
    assert desk.call("resume").code == 0, "nothing is left to resume, and everything was sent"


def test_rejected_jobs_are_sent_again_by_retry_and_only_those_of_the_scenario(
    desk: Desk, sandbox: SandboxThread
) -> None:
    wishes = ["sandbox:contact_source_not_found", "sandbox:contact_source_access_denied", "", "x"]
    said = desk.call("send", desk.jobs(4, extra={"externalSystemReferenceId": wishes}), "--yes")
    assert said.code == 1
    assert [line["scenario"] for line in desk.results()][:2] == [
        "contact_source_not_found",
        "contact_source_access_denied",
    ]
    before = sandbox.stats().requests["sendjobs"]
    assert desk.call("retry", "--scenario", "contact_source_not_found", "--yes").code == 1
    assert sandbox.stats().requests["sendjobs"] == before + 1
    assert [line["attempts"] for line in desk.results()] == ["2", "1", "1", "1"]
    assert desk.call("retry", "--scenario", "published_message_not_found", "--yes").code == 1
    assert sandbox.stats().requests["sendjobs"] == before + 1, "no job was rejected like that"
    said = desk.call("retry", "--scenario", "bad_weather", "--yes")
    assert said.code == 2
    assert "contact_source_not_found" in said.words, "what there is to choose from"


@pytest.mark.usefixtures("sandbox")
def test_a_retry_of_what_should_have_been_sent_before_now_changes_nothing(desk: Desk) -> None:
    extra = {
        "scheduledDate": ["2001-01-01T00:00:00Z"],
        "externalSystemReferenceId": ["sandbox:contact_source_not_found"],
    }
    assert desk.call("send", desk.jobs(1, extra=extra), "--yes", "--allow-past-date").code == 1
    said = desk.call("retry", "--yes")
    assert (said.code, desk.states()["rejected"]) == (3, 1)
    assert "--allow-past-date" in said.words


def test_a_retry_that_could_not_write_its_results_changes_nothing(desk: Desk, sandbox: SandboxThread) -> None:
    wish = ["sandbox:contact_source_not_found"]
    desk.call("send", desk.jobs(1, extra={"externalSystemReferenceId": wish}), "--yes")
    before = sandbox.stats().requests
    assert desk.call("retry", "--yes", "--results", "nowhere/at/all.csv").code == 2
    assert desk.states() == {"rejected": 1}
    assert sandbox.stats().requests == before


def test_results_have_the_promised_columns_and_the_ids_of_the_server(desk: Desk, sandbox: SandboxThread) -> None:
    stores = ["Ulm", 'a "quoted" one, with a comma', "two\nlines", "=1+1", "  spaces  "]
    desk.call("send", desk.jobs(5, extra={"store": stores, "id2": ["007", "1e5", "NA", "null", "0.10"]}), "--yes")
    with (desk.folder / "jobs.results.csv").open(encoding="utf-8", newline="") as text:
        header, *lines = list(csv.reader(text))
    assert header == [*OUTCOME_COLUMNS, *ATTRIBUTES, "store", "id2"]
    ids = {send.message_name: str(send.id) for send in sandbox.accepted()}
    results = [dict(zip(header, line, strict=True)) for line in lines]
    assert [line["row"] for line in results] == ["2", "3", "4", "5", "6"]
    assert {line["messageName"]: line["id"] for line in results} == ids
    assert [line["store"] for line in results] == stores, "untouched"
    assert [line["id2"] for line in results] == ["007", "1e5", "NA", "null", "0.10"]
    assert {line["evidence"] for line in results} == {"response"}
    assert {line["http_status"] for line in results} == {"201"}
    assert all(line["finished_at"] >= line["first_attempt_at"] > "2020-" for line in results)
    assert all(line["finished_at"].endswith("Z") for line in results)


def test_results_can_be_had_as_parquet_xlsx_and_json_lines(desk: Desk, sandbox: SandboxThread) -> None:
    file = desk.jobs(3)
    desk.call("send", file, "--yes", "--results", "r.parquet")
    assert not (desk.folder / "jobs.results.csv").exists()
    desk.call("export", "r.xlsx")
    desk.call("export", "r.jsonl", "1")
    ids = {send.message_name: str(send.id) for send in sandbox.accepted()}
    parquet = pd.read_parquet(desk.folder / "r.parquet")
    assert list(parquet.columns) == [*OUTCOME_COLUMNS, *ATTRIBUTES]
    assert dict(zip(parquet["messageName"], parquet["id"], strict=True)) == ids
    sheet = openpyxl.load_workbook(desk.folder / "r.xlsx").active
    assert sheet is not None
    head, *rows = sheet.iter_rows(values_only=True)
    assert list(head) == [*OUTCOME_COLUMNS, *ATTRIBUTES]
    assert {row[head.index("messageName")]: row[head.index("id")] for row in rows} == ids
    lines = [json.loads(line) for line in (desk.folder / "r.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["messageName"]: line["id"] for line in lines} == ids
    assert [line["row"] for line in lines] == [2, 3, 4]


@pytest.mark.parametrize("results", ["nowhere/results.csv", "results.docx", "jobs.csv", "locked/results.csv"], ids=str)
def test_results_that_cannot_be_written_are_an_error_before_anything_is_sent(
    desk: Desk, sandbox: SandboxThread, results: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = desk.jobs(2)
    content = file.read_bytes()
    locked = desk.folder / "locked"
    locked.mkdir()
    # Whoever is root may write everywhere, so the answer about this folder is given for it.
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and real(path, mode))
    said = desk.call("send", file, "--yes", "--results", results)
    assert said.code == 2
    assert "Results cannot be written" in said.words
    assert sandbox.stats().accepted == 0
    assert file.read_bytes() == content


@pytest.mark.usefixtures("sandbox")
def test_the_plan_is_shown_before_anybody_is_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = desk.folder / "plan.csv"
    lines = [
        ",".join([*COLUMNS, "scheduledDate"]),
        f"{message_id(1)},One,4711,2099-05-01T09:00:00+02:00",
        f"{message_id(1)},Two,4712,",
        f"{message_id(2)},Three,4712,2099-06-01T09:00:00+02:00",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    said = desk.call("send", file)
    plan = said.out[: said.out.index("Send 3 jobs?")]
    for fact in ("acme-eu at 127.0.0.1:", "plan.csv", "2 " + message_id(1)[:0], "4712", "1 at once", "2 scheduled"):
        assert fact in " ".join(plan.split())
    assert "2099-05-01T09:00+02:00 to 2099-06-01T09:00+02:00" in " ".join(plan.split())


class Terminal(io.StringIO):
    """Somebody at a keyboard who has typed this already."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 2), ("n\n", 4, 0), ("\n", 4, 0), ("", 130, 0)])
def test_only_a_yes_sends(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, sent: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert desk.call("send", desk.jobs(2)).code == code
    assert sandbox.stats().accepted == sent
    if not sent:
        assert desk.call("batches", "--json").json == [], "whoever says no leaves no trace"


def test_without_a_terminal_nothing_is_sent_unless_yes_was_said(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    said = desk.call("send", desk.jobs(2))
    assert said.code == 2
    assert "--yes" in said.words
    assert sum(sandbox.stats().requests.values()) == 0
    assert desk.call("batches", "--json").json == []


def test_a_rehearsal_touches_neither_the_orgs_api_nor_its_ledger_nor_its_caches(
    desk: Desk, sandbox: SandboxThread
) -> None:
    said = desk.call("send", desk.jobs(3), "--sandbox", "--latency-ms", "0", "--yes", "--json")
    assert said.code == 0
    assert said.json["sent"] == 3
    assert sum(sandbox.stats().requests.values()) == 0
    assert not desk.ledger.exists()
    assert list(desk.home.rglob("*")) == []
    assert desk.call("show", "--sandbox", "--json").json["sent"] == 3
    assert desk.call("send", "jobs.csv", "--yes", "--results", "real.csv").code == 0
    assert names(sandbox) == job_names(range(1, 4)), "the real send is not held to be done already"


def test_faults_without_a_sandbox_are_refused(desk: Desk, sandbox: SandboxThread) -> None:
    assert desk.call("send", desk.jobs(1), "--yes", "--fault", "throttle=1").code == 2
    assert sum(sandbox.stats().requests.values()) == 0


def test_an_unreadable_answer_counts_as_sent_and_is_told(desk: Desk) -> None:
    faults = ["--fault", "empty_201@2", "--fault", "throttle@3"]
    said = desk.call("send", desk.jobs(4), "--sandbox", "--latency-ms", "0", "--yes", *faults)
    assert said.code == 0
    assert sorted(line["evidence"] for line in desk.results()) == ["response"] * 3 + ["unreadable_response"]


def test_what_stays_unknown_is_in_doubt_with_exit_code_5_and_a_resume_settles_it(desk: Desk) -> None:
    desk.configure("http://127.0.0.1:9", max_attempts=1, settle_seconds=0.05)
    said = desk.call(
        "send", desk.jobs(3), "--sandbox", "--latency-ms", "0", "--yes", "--fault", "502_before@2", "--json"
    )
    assert said.code == 5
    assert (said.json["sent"], said.json["in_doubt"], said.json["exit_code"]) == (2, 1, 5)
    again = desk.call("resume", "--sandbox", "--yes", "--json")
    assert again.code == 0
    assert again.json["sent"] == 3


def test_an_interrupt_after_the_last_send_does_not_claim_that_nothing_was_sent(
    desk: Desk, sandbox: SandboxThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "export", interrupted)
    said = desk.call("send", desk.jobs(2), "--yes")
    assert said.code == 130
    assert "nothing was sent" not in said.words
    assert "sms-runner show" in said.words
    assert sandbox.stats().accepted == 2


def test_what_should_have_been_sent_before_now_is_not_sent_later_unasked(desk: Desk, sandbox: SandboxThread) -> None:
    dates = ["2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"]
    file = desk.jobs(2, extra={"scheduledDate": dates})
    assert desk.call("send", file, "--yes", "--limit", "1", "--allow-past-date").code == 4
    said = desk.call("resume", "--yes")
    assert said.code == 3
    assert "rows 3" in said.words
    assert sandbox.stats().accepted == 1
    assert desk.call("resume", "--yes", "--allow-past-date").code == 0


def test_a_batch_whose_folder_is_gone_can_be_resumed_with_its_results_elsewhere(
    desk: Desk, sandbox: SandboxThread
) -> None:
    folder = desk.folder / "gone"
    folder.mkdir()
    file = desk.jobs(2, file="gone/jobs.csv")
    assert desk.call("send", file, "--yes", "--limit", "1").code == 4
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    said = desk.call("resume", "--yes")
    assert (said.code, "--results" in said.words) == (2, True)
    assert sandbox.stats().accepted == 1
    assert desk.call("resume", "--yes", "--results", "r.csv").code == 0
    assert [line["status"] for line in desk.results("r.csv")] == ["sent", "sent"]
