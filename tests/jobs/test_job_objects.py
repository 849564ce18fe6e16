"""Jobs made by a program pass the same rules as a file's."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from jobs.job_checking import MESSAGE, NOW, Checked

from runner.errors import JobFileError
from runner.jobs.checks import CheckRules, check_jobs
from runner.model import SendJob


def checked(*jobs: Any, **rules: Any) -> Checked:
    return Checked(check_jobs(jobs, rules=CheckRules(now=NOW, **rules)))


def test_jobs_pass_through_as_they_are() -> None:
    job = SendJob(
        message_name=" NA ",
        published_message_id=MESSAGE,
        contact_source_id=2**63 - 1,
        external_system_name="é",
        external_system_reference_id="r",
        scheduled_date="2031-05-04T09:00:00.000+02:00",
        pre_blocking_hours=0,
        folder="f",
    )
    result = checked(job)
    assert result.jobs == [job]
    assert result.rows == [1]
    assert result.check.kind == "jobs"


def test_mappings_may_use_any_header_a_file_may_use() -> None:
    result = checked(
        {
            "Message Name": "a",
            "published_message_id": UUID(MESSAGE),
            "contactSourceId": Decimal(7),
            "scheduledDate": datetime(2031, 5, 4, 9, tzinfo=UTC),
            "preBlockingHours": 2.0,
            "store": "Berlin",
        },
        {"Message Name": "b", "published_message_id": MESSAGE, "contactSourceId": 8},
    )
    first, second = result.jobs
    assert (first.contact_source_id, first.pre_blocking_hours) == (7, 2)
    assert first.scheduled_date == "2031-05-04T09:00:00.000+00:00"
    assert second.scheduled_date is None
    assert result.others == ['["Berlin"]', '[""]']


def test_rules_guards_and_repeats_apply() -> None:
    def job(name: str, **more: Any) -> SendJob:
        return SendJob(message_name=name, published_message_id=MESSAGE, **more)

    result = checked(
        job("a", contact_source_id=1),
        job("b"),
        job("", contact_source_id=3),
        job("a", contact_source_id=4),
        job("c", contact_source_id=1),
        job("\ud800", contact_source_id=6),
        job("d", contact_source_id=-1),
        chunk_rows=2,
    )
    assert result.codes == [
        (2, "contactSourceId", "blank_contact_source"),
        (3, "messageName", "blank_required"),
        (6, "messageName", "not_unicode"),
        (7, "contactSourceId", "contact_source_out_of_range"),
    ]
    assert {row: problem.code for row, problem in result.check.repeats().items()} == {
        4: "name_twice_in_file",
        5: "audience_twice_in_file",
    }
    assert result.check.rows == 7


def test_a_missing_contact_source_in_all_jobs_is_meant() -> None:
    assert checked(SendJob(message_name="a", published_message_id=MESSAGE)).codes == []


def test_an_iterator_may_be_checked_more_than_once() -> None:
    check = check_jobs(iter([{"messageName": "a", "publishedMessageId": MESSAGE}] * 2), rules=CheckRules(now=NOW))
    assert Checked(check).names == ["a", "a"]
    digest = check.digest
    assert list(check.repeats()) == [2]
    assert Checked(check).names == ["a", "a"]
    assert check.digest == digest


def test_no_jobs_are_no_rows() -> None:
    assert checked().rows == []


def test_a_misspelled_key_is_refused_as_a_misspelled_header_is() -> None:
    with pytest.raises(JobFileError, match="close to scheduledDate"):
        checked({"messageName": "a", "publishedMessageId": MESSAGE, "schedulDate": "x"})
