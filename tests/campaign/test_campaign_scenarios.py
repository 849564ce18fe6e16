from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.campaign.scenarios import DOCUMENTED, Documented, classify, classify_cut, means_slow_down
from runner.model import (
    Accepted,
    NameTaken,
    Outcome,
    Refused,
    Scenario,
    Throttled,
    Unauthorized,
    Unknown,
)


def outcome_of(status: int, message: str, **known: Any) -> Outcome:
    return classify(status, message, latency_ms=12.5, token="tok-S3CR3T", **known)


def test_the_table_has_the_fourteen_documented_rows_in_order() -> None:
    assert [row.number for row in DOCUMENTED] == list(range(1, 15))
    assert [row.status for row in DOCUMENTED] == [400, 403, 400, 400, 404, 400, 403, 400, 201, 400, 201, 400, 400, 400]
    assert [row.scenario for row in DOCUMENTED] == [
        Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED,
        Scenario.USER_NOT_SMS_ENABLED,
        Scenario.CONTACT_SOURCE_NOT_FOUND,
        Scenario.CONTACT_SOURCE_ACCESS_DENIED,
        Scenario.PUBLISHED_MESSAGE_ID_MISSING,
        Scenario.PUBLISHED_MESSAGE_NOT_FOUND,
        Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG,
        Scenario.PUBLISHED_MESSAGE_NOT_FOUND,
        None,
        Scenario.INVALID_MESSAGE_NAME,
        None,
        Scenario.MESSAGE_NAME_NOT_UNIQUE,
        Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG,
        Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG,
    ]


@pytest.mark.parametrize("row", DOCUMENTED, ids=lambda row: f"row {row.number}")
def test_each_documented_answer_is_told_as_its_row_says(row: Documented) -> None:
    message = (row.message or "").replace("…", "Spring sale")
    outcome = outcome_of(row.status, message, send_id="1" if row.status == 201 else None)
    assert type(outcome) is row.outcome
    if isinstance(outcome, Refused):
        # Rows 2 and 7 answer alike; who calls tells them apart.
        assert outcome.scenario is (Scenario.FORBIDDEN if row.status == 403 else row.scenario)
        assert outcome.message == message
        assert outcome.http_status == row.status


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda text: text.rstrip("."), lambda text: f"field: {text} "]
)
def test_a_message_is_known_in_other_letters_and_among_others(change: Any) -> None:
    for row in DOCUMENTED:
        if row.pattern is not None and row.message is not None:
            outcome = outcome_of(row.status, change(row.message))
            assert type(outcome) is row.outcome
            assert not isinstance(outcome, Refused) or outcome.scenario is row.scenario


def test_the_misspelling_is_known_corrected_too() -> None:
    outcome = outcome_of(400, "Length of External System ReferenceId cannot exceed 2000 characters.")
    assert isinstance(outcome, Refused)
    assert outcome.scenario is Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG


@given(st.text(max_size=50))
@settings(deadline=None)
def test_a_taken_name_is_told_whatever_the_name_says(name: str) -> None:
    assert isinstance(outcome_of(400, f"A SMS with the name: {name} already exists"), NameTaken)


@pytest.mark.parametrize(
    "name",
    ["Too many requests", "concurrent", "Invalid message name", "Contact source access denied", "a\nb", "x" * 9000],
)
def test_a_name_that_reads_like_another_answer_is_still_a_taken_name(name: str) -> None:
    message = f"A SMS with the name: {name} already exists"
    assert isinstance(outcome_of(400, message), NameTaken)
    assert not means_slow_down(400, message)


@pytest.mark.parametrize("status", [409, 422])
def test_a_taken_name_under_another_code_is_not_taken_for_a_plain_refusal(status: int) -> None:
    assert isinstance(outcome_of(status, "A SMS with the name: x already exists"), NameTaken)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, ""),
        (429, "whatever"),
        (400, "Too many concurrent requests"),
        (403, "Concurrent request limit reached for org"),
        (400, "Too many requests, try later"),
        (403, "Rate limit exceeded"),
        (401, "You are being rate-limited"),
        (420, "Throttled"),
        (400, "API limits have been exceeded"),
    ],
)
def test_a_refusal_for_concurrency_is_no_refusal_of_the_job(status: int, message: str) -> None:
    assert outcome_of(status, message, retry_after_s=3.0) == Throttled(
        http_status=status, message=message, retry_after_s=3.0, latency_ms=12.5
    )
    assert means_slow_down(status, message)


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "Folder not found"), (409, "conflict"), (413, ""), (422, "x"), (418, "teapot"), (499, "")],
)
def test_any_other_4xx_is_a_refusal_with_its_message_kept(status: int, message: str) -> None:
    assert outcome_of(status, message) == Refused(
        scenario=Scenario.UNRECOGNIZED, http_status=status, message=message, latency_ms=12.5
    )


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
def test_a_5xx_says_nothing_about_the_job(status: int) -> None:
    said = "A SMS with the name: x already exists"
    assert outcome_of(status, said, retry_after_s=9.0) == Unknown(
        scenario=Scenario.SERVER_ERROR, http_status=status, message=said, retry_after_s=9.0, latency_ms=12.5
    )


@pytest.mark.parametrize("status", [100, 101, 200, 202, 204, 207, 301, 302, 303, 304, 307, 308, 600, 999])
def test_a_redirect_another_2xx_and_codes_that_are_none_leave_the_job_in_doubt(status: int) -> None:
    outcome = outcome_of(status, "")
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (Scenario.UNRECOGNIZED, status)


def test_a_408_leaves_the_job_in_doubt() -> None:
    outcome = outcome_of(408, "too many requests")
    assert isinstance(outcome, Unknown)
    assert outcome.scenario is Scenario.TIMED_OUT


def test_a_401_hands_back_the_token_that_was_refused_and_shows_it_nowhere() -> None:
    outcome = outcome_of(401, "expired")
    assert outcome == Unauthorized(token="tok-S3CR3T", message="expired", latency_ms=12.5)
    assert "S3CR3T" not in repr(outcome)


def test_a_404_means_a_missing_id_only_when_the_api_may_have_said_it() -> None:
    documented = outcome_of(404, "", from_api=True)
    foreign = outcome_of(404, "Not Found", from_api=False)
    assert isinstance(documented, Refused)
    assert documented.scenario is Scenario.PUBLISHED_MESSAGE_ID_MISSING
    assert isinstance(foreign, Refused)
    assert (foreign.scenario, foreign.message) == (Scenario.UNRECOGNIZED, "Not Found")


def test_a_201_is_accepted_with_or_without_its_id() -> None:
    assert outcome_of(201, "", send_id="4396816") == Accepted(send_id="4396816", latency_ms=12.5)
    assert outcome_of(201, "no id") == Accepted(send_id=None, latency_ms=12.5, message="no id")


@given(st.integers(100, 999), st.text(max_size=700), st.booleans())
@settings(deadline=None)
def test_every_answer_has_an_outcome_whose_message_is_fit_to_show(status: int, message: str, from_api: bool) -> None:  # noqa: FBT001 - hypothesis fills it in
    outcome = outcome_of(status, message, from_api=from_api)
    assert len(outcome.message) <= 500
    assert "\n" not in outcome.message
    assert isinstance(outcome, Accepted) == (status == 201)
    if not 400 <= status < 500:
        assert isinstance(outcome, Accepted | Unknown)


@pytest.mark.parametrize("why", [Scenario.TIMED_OUT, Scenario.CONNECTION_LOST, Scenario.UNREADABLE_RESPONSE])
def test_a_cut_answer_means_what_its_code_alone_says(why: Scenario) -> None:
    def cut(status: int) -> Outcome:
        return classify_cut(status, why, "cut off", latency_ms=1.0, retry_after_s=2.0, token="tok-S3CR3T")

    assert cut(201) == Accepted(send_id=None, latency_ms=1.0, message="cut off")
    assert isinstance(cut(401), Unauthorized)
    assert isinstance(cut(429), Throttled)
    # The text could have been that of a name which is ours already.
    for status in (400, 403, 404, 409):
        outcome = cut(status)
        assert isinstance(outcome, Unknown)
        assert (outcome.scenario, outcome.http_status, outcome.retry_after_s) == (why, status, 2.0)
    for status, scenario in ((500, Scenario.SERVER_ERROR), (200, Scenario.UNRECOGNIZED), (302, Scenario.UNRECOGNIZED)):
        outcome = cut(status)
        assert isinstance(outcome, Unknown)
        assert outcome.scenario is scenario
