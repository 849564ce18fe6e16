"""The sample files do what the documentation says of them."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from jobs.job_checking import NOW, Checked

from runner.jobs.checks import CheckRules, FileCheck
from runner.jobs.faults import ProblemCode
from runner.model import Scenario

SAMPLES = Path(__file__).parents[2] / "sample_csv"
LISTED = {f"0a5c0000-0000-4000-8000-00000000000{number}" for number in range(1, 7)}


def sample(name: str, timezone: str | None = None) -> Checked:
    zone = None if timezone is None else ZoneInfo(timezone)
    return Checked(FileCheck(SAMPLES / name, rules=CheckRules(now=NOW, timezone=zone)))


def test_the_campaign_is_in_order_and_its_parquet_twin_says_the_same() -> None:
    csv, parquet = sample("campaign.csv"), sample("campaign.parquet")
    assert csv.invalid == []
    assert not csv.check.repeats()
    assert not parquet.check.repeats()
    assert csv.jobs == parquet.jobs
    assert csv.others == parquet.others
    assert csv.check.headers == parquet.check.headers
    assert csv.check.other_columns == ("store", "owner")
    assert len(csv.jobs) == 36
    assert (csv.rows[0], parquet.rows[0]) == (2, 1)
    assert {job.published_message_id for job in csv.jobs} == LISTED


def test_the_scenarios_file_passes_here_and_meets_every_scenario_at_the_sandbox() -> None:
    checked = sample("scenarios.csv")
    assert checked.invalid == []
    assert not checked.check.repeats()
    marks = [job.external_system_reference_id or "" for job in checked.jobs]
    met = {mark.removeprefix("sandbox:") for mark in marks if mark.startswith("sandbox:")}
    assert met == {
        Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED,
        Scenario.CONTACT_SOURCE_NOT_FOUND,
        Scenario.CONTACT_SOURCE_ACCESS_DENIED,
        Scenario.USER_NOT_SMS_ENABLED,
        Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG,
        Scenario.PUBLISHED_MESSAGE_ID_MISSING,
        Scenario.PUBLISHED_MESSAGE_NOT_FOUND,
        Scenario.INVALID_MESSAGE_NAME,
        Scenario.MESSAGE_NAME_NOT_UNIQUE,
        Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG,
        Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG,
    }
    assert marks[-1] == "sandbox:user_not_sms_enabled"  # it stops a run, so it comes last
    foreign = [job for job in checked.jobs if job.published_message_id not in LISTED]
    assert [job.external_system_reference_id for job in foreign] == ["sandbox:published_message_not_in_org"]
    assert foreign[0].published_message_id == "ffffffff-0000-4000-8000-000000000007"
    assert any(name != name.strip() for name in checked.names)
    assert any(not name.isascii() for name in checked.names)


def test_the_problems_file_has_every_problem_a_row_of_csv_can_have() -> None:
    seen = set()
    for timezone in (None, "Europe/Berlin"):
        checked = sample("problems.csv", timezone)
        repeats = checked.check.repeats()
        for row in checked.invalid:
            (code,) = {problem.code for problem in row.problems}
            seen.add(code)
            local = row.cells.get("what", "").startswith("local_time") and timezone is None
            assert row.cells["what"] == code or code == "blank_row" or (local and code == "date_without_offset")
        seen |= {problem.code for problem in repeats.values()}
    assert seen == set(ProblemCode) - {ProblemCode.NOT_UNICODE}
