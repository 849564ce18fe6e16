"""The rules of a send request, without a server."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.sandbox.answers import Answer
from runner.sandbox.catalogue import message_id
from runner.sandbox.rules import Specification, read_specification

ID = message_id(3)


def read(content: bytes, *, content_type: str = "application/json", path_id: str = ID) -> Specification | Answer:
    return read_specification(content, content_type=content_type, published_message_id=path_id)


def read_body(**attributes: Any) -> Specification | Answer:
    return read(json.dumps({"messageName": "Sale", **attributes}).encode())


def status(reading: Specification | Answer) -> int | None:
    return reading.status if isinstance(reading, Answer) else None


@given(st.text(min_size=1).filter(lambda name: name.strip(" ")))
@settings(max_examples=60, deadline=None)
def test_any_name_but_blanks_is_read_byte_for_byte(name: str) -> None:
    reading = read(json.dumps({"messageName": name}, ensure_ascii=False).encode())
    assert isinstance(reading, Specification)
    assert reading.message_name == name


@pytest.mark.parametrize("name", ["", " ", "     "])
def test_a_name_of_blanks_alone_is_invalid(name: str) -> None:
    reading = read_body(messageName=name)
    assert isinstance(reading, Answer)
    assert (reading.status, b"Invalid message name" in reading.body) == (400, True)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_every_contact_source_of_64_bits_is_taken(number: int) -> None:
    assert isinstance(read_body(contactSourceId=number), Specification)


@given(
    st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),  # noqa: DTZ001 - the zone is drawn beside it
    st.integers(-1439, 1439),
)
@settings(max_examples=40, deadline=None)
def test_every_date_of_rfc_3339_is_taken(moment: datetime, offset_minutes: int) -> None:
    zone = timezone(timedelta(minutes=offset_minutes))
    for form in (moment.replace(tzinfo=zone).isoformat(timespec="milliseconds"), moment.isoformat() + "Z"):
        assert isinstance(read_body(scheduledDate=form), Specification), form


@pytest.mark.parametrize(
    "attributes",
    [
        {"messageName": 7},
        {"messageName": None},
        {"messageName": "half a pair \ud83d"},
        {"contactSourceId": "4711"},
        {"contactSourceId": 4711.0},
        {"contactSourceId": True},
        {"contactSourceId": None},
        {"contactSourceId": 2**63},
        {"contactSourceId": -(2**63) - 1},
        {"preBlockingHours": 2**31},
        {"preBlockingHours": "2"},
        {"preBlockingHours": 1.5},
        {"preBlockingHours": False},
        {"externalSystemName": 5},
        {"externalSystemReferenceId": ["x"]},
        {"folder": {}},
        {"scheduledDate": 1_700_000_000},
        {"scheduledDate": "2026-01-31"},
        {"scheduledDate": "2026-01-31T10:00:00"},
        {"scheduledDate": "2026-01-31 10:00:00Z"},
        {"scheduledDate": "2026-02-30T10:00:00Z"},
        {"scheduledDate": "2026-01-31T24:00:00Z"},
        {"scheduledDate": "2026-01-31T10:00Z"},
        {"scheduledDate": "2026-01-31T10:00:00+0100"},
        {"scheduledDate": "2026-01-31T10:00:00Z\n"},
        {"scheduledDate": "2026-01-31T10:00:0\uff10Z"},
        {"publishedMessageId": ID},
        {"campaignName": "for push only"},
        {"schedulDate": "2026-01-31T10:00:00Z"},
    ],
)
def test_a_fault_of_form_is_named_with_its_attribute(attributes: dict[str, Any]) -> None:
    reading = read_body(**attributes)
    assert isinstance(reading, Answer)
    assert reading.status == 400
    assert list(json.loads(reading.body)["meta"]["fieldErrors"]) == list(attributes)


def test_the_name_is_required() -> None:
    reading = read(b'{"folder": "x"}')
    assert isinstance(reading, Answer)
    assert json.loads(reading.body)["meta"]["fieldErrors"] == {"messageName": ["messageName is required."]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"Sale"',
        b"null",
        b'{"messageName": "a", "messageName": "b"}',
        b'{"messageName": "a", "contactSourceId": NaN}',
        b'{"messageName": "\xff"}',
        '{"messageName": "Sale"}'.encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    assert status(read(content)) == 400


def test_the_body_must_say_that_it_is_json() -> None:
    assert status(read(b'{"messageName": "Sale"}', content_type="text/plain")) == 415


@pytest.mark.parametrize("attribute", ["externalSystemName", "externalSystemReferenceId"])
def test_external_fields_take_2000_characters_and_no_more(attribute: str) -> None:
    assert isinstance(read_body(**{attribute: "ü" * 2000}), Specification)
    assert status(read_body(**{attribute: "ü" * 2001})) == 400


@pytest.mark.parametrize("path_id", ["no-uuid", "0a5c000000004000800000000000000f", ID + "0", " "])
def test_an_id_that_is_no_uuid_is_not_found(path_id: str) -> None:
    reading = read(b'{"messageName": "Sale"}', path_id=path_id)
    assert isinstance(reading, Answer)
    message = json.loads(reading.body)["meta"]["generalErrors"][0]["message"]
    assert message == f"Unable to find published DeliveryDraft with contentId {path_id}"
