from __future__ import annotations

from dataclasses import fields

import orjson
import pytest
from campaign.campaign_fakes import MESSAGE_ID, job
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.campaign.bodies import send_body, send_path
from runner.model import ATTRIBUTES, SendJob

SMS_SEND_JOB_SPECIFICATION = {
    "contactSourceId": "long",
    "externalSystemName": "String",
    "externalSystemReferenceId": "String",
    "messageName": "String",
    "folder": "String",
    "scheduledDate": "Date",
    "preBlockingHours": "int",
}
"""The properties and types of that name in the vendor's service description, where messageName is required."""

PYTHON_TYPES = {"long": int, "int": int, "String": str, "Date": str}

FULL = SendJob(
    message_name="Spring sale",
    published_message_id=MESSAGE_ID,
    contact_source_id=2**63 - 1,
    external_system_name="Campaign",
    external_system_reference_id="ref-1",
    scheduled_date="2025-06-01T09:00:00.000+02:00",
    pre_blocking_hours=24,
    folder="Shared/SMS",
)


def test_a_full_body_has_exactly_the_properties_and_types_of_the_service_description() -> None:
    body = orjson.loads(send_body(FULL))
    assert {name: type(value) for name, value in body.items()} == {
        name: PYTHON_TYPES[kind] for name, kind in SMS_SEND_JOB_SPECIFICATION.items()
    }


def test_every_attribute_of_a_job_but_the_published_id_reaches_the_body_under_its_documented_name() -> None:
    body = orjson.loads(send_body(FULL))
    for documented, python in ATTRIBUTES.items():
        if documented != "publishedMessageId":
            assert body[documented] == getattr(FULL, python)
    assert len(body) == len(fields(SendJob)) - 1


def test_an_absent_attribute_is_left_out_and_the_name_is_always_there() -> None:
    assert send_body(job("x")) == b'{"messageName":"x"}'


def test_zero_and_empty_are_values_and_not_absence() -> None:
    body = orjson.loads(send_body(job("x", contact_source_id=0, pre_blocking_hours=0, folder="")))
    assert body == {"messageName": "x", "contactSourceId": 0, "preBlockingHours": 0, "folder": ""}


@given(st.text(st.characters(codec="utf-8"), min_size=1))
@settings(deadline=None)
def test_a_name_goes_out_byte_for_byte(name: str) -> None:
    body = send_body(job(name))
    assert orjson.loads(body)["messageName"] == name
    assert body.decode("utf-8")


@pytest.mark.parametrize("published_id", ["..", "a/b", "a?b", "a#b", "a b", "a\r\nb", "ü"])
def test_a_published_id_stays_one_segment_of_the_path(published_id: str) -> None:
    path = send_path(published_id)
    assert path.startswith("/rest/channels/sms/publishedmessages/")
    assert path.endswith("/sendjobs")
    assert path.count("/") == 6
    assert path.isascii()
    assert not set(path) & set("?# \r\n")


def test_a_uuid_stands_in_the_path_as_it_is() -> None:
    assert send_path(MESSAGE_ID) == f"/rest/channels/sms/publishedmessages/{MESSAGE_ID}/sendjobs"
